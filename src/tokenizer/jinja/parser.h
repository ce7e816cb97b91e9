// Tokens to the tree of ast.h. ExprParser knows expressions (expr_parser.cc; expr_postfix.cc what
// follows an operand), StatementParser (parser.cc) adds the tags. Both share one cursor over the
// tokens and one symbol table. Depth is bounded: a template nested deeper than kMaxNesting is
// refused.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/lexer.h"

namespace ruvllm::jinja {

inline constexpr int kMaxNesting = 200;  // of expressions, and of statements

// Counts one level of the parser's own recursion.
class Nested {
 public:
  explicit Nested(int& depth) : depth_(depth) { ++depth_; }
  ~Nested() { --depth_; }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;
  bool too_deep() const { return depth_ > kMaxNesting; }

 private:
  int& depth_;
};
std::unexpected<Error> too_deep(int32_t line);

class ExprParser {
 public:
  ExprParser(std::vector<Token> tokens, Template& program)
      : tokens_(std::move(tokens)), program_(program) {}

 protected:
  // Which macro-level names a macro's body mentions; one entry per macro being parsed.
  struct MacroUse {
    bool caller = false, kwargs = false, varargs = false;
  };
  struct TupleStyle {
    bool condition = true;        // whether `a if b else c` may stand here
    bool targets = false;         // only primaries: something to assign to
    bool with_attribute = false;  // targets may be name.attribute
    bool parentheses = false;     // () is an empty tuple
    std::string_view stop_name;   // a name that ends the tuple
  };

  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }
  bool skip_operator(std::string_view symbol);
  bool skip_name(std::string_view name);
  Status expect_operator(std::string_view symbol);
  Status expect_name(std::string_view name);
  Result<std::string> expect_any_name();
  std::unexpected<Error> unexpected_token(std::string_view wanted) const;

  Symbol symbol_of(std::string_view name);
  Value constant_string(std::string text);

  Result<ExprPtr> parse_expression(bool condition = true);
  Result<ExprPtr> parse_tuple(const TupleStyle& style);
  // Filters behind a set or filter tag; children[0] of the innermost stays null.
  Result<ExprPtr> parse_filters(ExprPtr input, bool first_inline);

  static Result<ExprPtr> finish(ExprPtr expr);  // computes and bounds the depth
  static ExprPtr make(ExprKind kind, int32_t line);

  std::vector<Token> tokens_;
  Template& program_;
  size_t at_ = 0;
  int nesting_ = 0;
  std::vector<MacroUse> macros_;

 private:
  Result<ExprPtr> parse_or();
  Result<ExprPtr> parse_and();
  Result<ExprPtr> parse_not();
  Result<ExprPtr> parse_compare();
  Result<ExprPtr> parse_sum();
  Result<ExprPtr> parse_concat();
  Result<ExprPtr> parse_product();
  Result<ExprPtr> parse_power();
  Result<ExprPtr> parse_unary(bool with_filters);
  Result<ExprPtr> parse_primary(bool with_attribute);
  Result<ExprPtr> parse_name(bool with_attribute);
  Result<ExprPtr> parse_list();
  Result<ExprPtr> parse_dict();
  Result<ExprPtr> parse_postfix(ExprPtr expr);
  Result<ExprPtr> parse_filter_chain(ExprPtr expr);
  Result<ExprPtr> parse_subscript(ExprPtr expr);
  Result<ExprPtr> parse_subscript_part(ExprPtr object);
  Result<ExprPtr> parse_call(ExprPtr callee);
  Result<ExprPtr> parse_test(ExprPtr expr);
  Result<std::unique_ptr<CallSite>> parse_arguments();
  Result<std::string> parse_dotted_name();
};

}  // namespace ruvllm::jinja
