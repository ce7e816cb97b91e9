#include "tokenizer/jinja/parser.h"

#include <algorithm>
#include <initializer_list>

namespace ruvllm::jinja {
namespace {

using Names = std::initializer_list<std::string_view>;

class StatementParser : public ExprParser {
 public:
  using ExprParser::ExprParser;

  Result<Block> run() {
    RUVLLM_ASSIGN(Block block, parse_block({}));
    return block;
  }

 private:
  // Statements up to one of the end tags, whose name token becomes current; none: up to the end.
  Result<Block> parse_block(Names ends) {
    Block block;
    if (++nesting_ > kMaxNesting) {
      return syntax_error(current().line, concat("nested deeper than ", kMaxNesting));
    }
    while (true) {
      const Token& token = current();
      if (token.is(TokenKind::kEnd)) {
        if (ends.size() != 0) return missing_end(ends);
        break;
      }
      if (token.is(TokenKind::kData)) {
        Stmt data = make_stmt(StmtKind::kData, token.line);
        data.text = take().text;
        block.push_back(std::move(data));
      } else if (token.is(TokenKind::kVariableBegin)) {
        Stmt print = make_stmt(StmtKind::kPrint, take().line);
        RUVLLM_ASSIGN(ExprPtr expr, parse_tuple({}));
        print.exprs.push_back(std::move(expr));
        if (!current().is(TokenKind::kVariableEnd))
          return unexpected_token("the end of the print statement");
        take();
        block.push_back(std::move(print));
      } else {
        take();  // {%
        if (current().is(TokenKind::kName) &&
            std::find(ends.begin(), ends.end(), current().text) != ends.end()) {
          break;
        }
        RUVLLM_TRY(parse_statement(block, ends));
        if (!current().is(TokenKind::kBlockEnd))
          return unexpected_token("the end of the statement block");
        take();
      }
    }
    --nesting_;
    return block;
  }

  std::unexpected<Error> missing_end(Names ends) const {
    std::string wanted;
    for (const std::string_view end : ends)
      wanted += concat(wanted.empty() ? "'" : " or '", end, "'");
    return syntax_error(current().line, concat("Unexpected end of template. Jinja was looking for ",
                                               "the following tags: ", wanted, "."));
  }

  // The rest of an opening tag, then its body.
  Result<std::unique_ptr<Block>> parse_body(Names ends) {
    skip_operator(":");
    if (!current().is(TokenKind::kBlockEnd))
      return unexpected_token("the end of the statement block");
    take();
    RUVLLM_ASSIGN(Block block, parse_block(ends));
    return std::make_unique<Block>(std::move(block));
  }

  static Stmt make_stmt(StmtKind kind, int32_t line) {
    Stmt stmt;
    stmt.kind = kind;
    stmt.line = line;
    return stmt;
  }

  Status parse_statement(Block& block, Names ends) {
    if (!current().is(TokenKind::kName)) return syntax_error(current().line, "tag name expected");
    using Parse = Result<Stmt> (StatementParser::*)();
    struct Tag {
      std::string_view name;
      Parse parse;
    };
    static constexpr Tag kTags[] = {
        {"if", &StatementParser::parse_if},
        {"for", &StatementParser::parse_for},
        {"set", &StatementParser::parse_set},
        {"macro", &StatementParser::parse_macro},
        {"call", &StatementParser::parse_call_block},
        {"filter", &StatementParser::parse_filter_block},
        {"with", &StatementParser::parse_with},
        {"print", &StatementParser::parse_print},
        {"block", &StatementParser::parse_named_block},
        {"autoescape", &StatementParser::parse_autoescape},
        {"generation", &StatementParser::parse_generation},
        {"break", &StatementParser::parse_break},
        {"continue", &StatementParser::parse_break},
        {"include", &StatementParser::parse_refused},
        {"import", &StatementParser::parse_refused},
        {"from", &StatementParser::parse_refused},
        {"extends", &StatementParser::parse_refused},
    };
    for (const Tag& tag : kTags) {
      if (current().text != tag.name) continue;
      RUVLLM_ASSIGN(Stmt stmt, (this->*tag.parse)());
      block.push_back(std::move(stmt));
      return {};
    }
    std::string message = concat("Encountered unknown tag '", printable(current().text), "'.");
    if (ends.size() != 0) message += concat(" Looking for '", *ends.begin(), "'.");
    return syntax_error(current().line, message);
  }

  Result<Stmt> parse_if() {
    Stmt stmt = make_stmt(StmtKind::kIf, take().line);
    TupleStyle style;
    style.condition = false;
    while (true) {
      RUVLLM_ASSIGN(ExprPtr test, parse_tuple(style));
      stmt.exprs.push_back(std::move(test));
      RUVLLM_ASSIGN(std::unique_ptr<Block> body, parse_body({"elif", "else", "endif"}));
      stmt.blocks.push_back(std::move(body));
      const std::string end = take().text;
      if (end == "else") {
        RUVLLM_ASSIGN(body, parse_body({"endif"}));
        stmt.blocks.push_back(std::move(body));
        take();
      }
      if (end != "elif") return stmt;
    }
  }

  Result<Stmt> parse_for() {
    Stmt stmt = make_stmt(StmtKind::kFor, take().line);
    RUVLLM_ASSIGN(ExprPtr target, parse_target("in", false));
    RUVLLM_TRY(check_loop_target(*target));
    stmt.targets.push_back(std::move(target));
    RUVLLM_TRY(expect_name("in"));
    TupleStyle style;
    style.condition = false;
    style.stop_name = "recursive";
    RUVLLM_ASSIGN(ExprPtr iterable, parse_tuple(style));
    stmt.exprs.push_back(std::move(iterable));
    ExprPtr test;
    if (skip_name("if")) {
      RUVLLM_ASSIGN(test, parse_expression());
    }
    stmt.exprs.push_back(std::move(test));
    stmt.recursive = skip_name("recursive");
    ++loops_;
    ++loop_bodies_;
    RUVLLM_ASSIGN(std::unique_ptr<Block> body, parse_body({"endfor", "else"}));
    --loops_;
    --loop_bodies_;
    stmt.blocks.push_back(std::move(body));
    if (take().text == "else") {
      RUVLLM_ASSIGN(body, parse_body({"endfor"}));
      take();
      stmt.blocks.push_back(std::move(body));
    }
    return stmt;
  }

  Status check_loop_target(const Expr& target) {
    if (target.kind == ExprKind::kName && program_.symbols[target.symbol] == "loop") {
      return syntax_error(target.line, "Can't assign to special loop variable in for-loop target");
    }
    for (const ExprPtr& child : target.children) RUVLLM_TRY(check_loop_target(*child));
    return {};
  }

  // What may be assigned to: names, tuples of them and, for set, name.attribute.
  Result<ExprPtr> parse_target(std::string_view stop_name, bool with_attribute) {
    TupleStyle style;
    style.targets = true;
    style.with_attribute = with_attribute;
    style.stop_name = stop_name;
    RUVLLM_ASSIGN(ExprPtr target, parse_tuple(style));
    RUVLLM_TRY(check_target(*target));
    return target;
  }

  static Status check_target(const Expr& target) {
    switch (target.kind) {
      case ExprKind::kName:
      case ExprKind::kAttributeTarget:
        return {};
      case ExprKind::kTuple:
        for (const ExprPtr& child : target.children) RUVLLM_TRY(check_target(*child));
        return {};
      default:
        return syntax_error(target.line, "can't assign to this expression");
    }
  }

  Result<Stmt> parse_set() {
    const int32_t line = take().line;
    RUVLLM_ASSIGN(ExprPtr target, parse_target({}, true));
    if (loop_bodies_ > 0) RUVLLM_TRY(check_loop_target(*target));
    Stmt stmt = make_stmt(StmtKind::kSet, line);
    stmt.targets.push_back(std::move(target));
    if (skip_operator("=")) {
      RUVLLM_ASSIGN(ExprPtr value, parse_tuple({}));
      stmt.exprs.push_back(std::move(value));
      return stmt;
    }
    stmt.kind = StmtKind::kSetBlock;
    RUVLLM_ASSIGN(ExprPtr filters, parse_filters(nullptr, false));
    stmt.exprs.push_back(std::move(filters));
    RUVLLM_ASSIGN(std::unique_ptr<Block> body, parse_body({"endset"}));
    take();
    stmt.blocks.push_back(std::move(body));
    return stmt;
  }

  // (a, b=1)
  Status parse_signature(MacroDecl& macro) {
    RUVLLM_TRY(expect_operator("("));
    while (!current().is_operator(")")) {
      if (!macro.parameters.empty()) RUVLLM_TRY(expect_operator(","));
      RUVLLM_ASSIGN(const std::string name, parse_plain_name());
      const Symbol symbol = symbol_of(name);
      if (std::find(macro.parameters.begin(), macro.parameters.end(), symbol) !=
          macro.parameters.end()) {
        return syntax_error(current().line, concat("duplicate argument '", name, "'"));
      }
      macro.parameters.push_back(symbol);
      if (skip_operator("=")) {
        RUVLLM_ASSIGN(ExprPtr value, parse_expression());
        macro.defaults.push_back(std::move(value));
      } else if (!macro.defaults.empty()) {
        return syntax_error(current().line, "non-default argument follows default argument");
      }
    }
    return expect_operator(")");
  }

  Result<std::string> parse_plain_name() {
    RUVLLM_ASSIGN(std::string name, expect_any_name());
    for (const std::string_view reserved : {"true", "false", "none", "True", "False", "None"}) {
      if (name == reserved)
        return syntax_error(current().line, concat("can't assign to '", name, "'"));
    }
    return name;
  }

  // The body of a macro or call block; what its names are is the macro's own affair.
  Result<std::unique_ptr<Block>> parse_macro_body(MacroDecl& macro, Names ends) {
    macros_.emplace_back();
    const int loops = std::exchange(loops_, 0);
    RUVLLM_ASSIGN(std::unique_ptr<Block> body, parse_body(ends));
    take();
    loops_ = loops;
    const MacroUse use = macros_.back();
    macros_.pop_back();
    const auto declared = [&](std::string_view name) {
      return std::find(macro.parameters.begin(), macro.parameters.end(), symbol_of(name)) !=
             macro.parameters.end();
    };
    macro.uses_caller = use.caller && !declared("caller");
    macro.uses_kwargs = use.kwargs && !declared("kwargs");
    macro.uses_varargs = use.varargs && !declared("varargs");
    macro.body = body.get();
    return body;
  }

  Result<Stmt> parse_macro() {
    Stmt stmt = make_stmt(StmtKind::kMacro, take().line);
    stmt.macro = std::make_unique<MacroDecl>();
    RUVLLM_ASSIGN(stmt.macro->name, parse_plain_name());
    stmt.symbol = symbol_of(stmt.macro->name);
    RUVLLM_TRY(parse_signature(*stmt.macro));
    RUVLLM_ASSIGN(std::unique_ptr<Block> body, parse_macro_body(*stmt.macro, {"endmacro"}));
    stmt.blocks.push_back(std::move(body));
    return stmt;
  }

  Result<Stmt> parse_call_block() {
    Stmt stmt = make_stmt(StmtKind::kCallBlock, take().line);
    stmt.macro = std::make_unique<MacroDecl>();
    if (current().is_operator("(")) RUVLLM_TRY(parse_signature(*stmt.macro));
    RUVLLM_ASSIGN(ExprPtr call, parse_expression());
    if (call->kind != ExprKind::kCall) return syntax_error(stmt.line, "expected call");
    stmt.exprs.push_back(std::move(call));
    RUVLLM_ASSIGN(std::unique_ptr<Block> body, parse_macro_body(*stmt.macro, {"endcall"}));
    stmt.blocks.push_back(std::move(body));
    return stmt;
  }

  Result<Stmt> parse_filter_block() {
    Stmt stmt = make_stmt(StmtKind::kFilterBlock, take().line);
    RUVLLM_ASSIGN(ExprPtr filters, parse_filters(nullptr, true));
    stmt.exprs.push_back(std::move(filters));
    return scoped_body(std::move(stmt), {"endfilter"});
  }

  Result<Stmt> scoped_body(Stmt stmt, Names ends) {
    RUVLLM_ASSIGN(std::unique_ptr<Block> body, parse_body(ends));
    take();
    stmt.blocks.push_back(std::move(body));
    return stmt;
  }

  Result<Stmt> parse_with() {
    Stmt stmt = make_stmt(StmtKind::kWith, take().line);
    while (!current().is(TokenKind::kBlockEnd)) {
      if (!stmt.targets.empty()) RUVLLM_TRY(expect_operator(","));
      RUVLLM_ASSIGN(ExprPtr target, parse_target({}, false));
      RUVLLM_TRY(expect_operator("="));
      RUVLLM_ASSIGN(ExprPtr value, parse_expression());
      stmt.targets.push_back(std::move(target));
      stmt.exprs.push_back(std::move(value));
    }
    return scoped_body(std::move(stmt), {"endwith"});
  }

  Result<Stmt> parse_print() {
    Stmt stmt = make_stmt(StmtKind::kPrint, take().line);
    while (!current().is(TokenKind::kBlockEnd)) {
      if (!stmt.exprs.empty()) RUVLLM_TRY(expect_operator(","));
      RUVLLM_ASSIGN(ExprPtr value, parse_expression());
      stmt.exprs.push_back(std::move(value));
    }
    return stmt;
  }

  Result<Stmt> parse_named_block() {
    Stmt stmt = make_stmt(StmtKind::kNamedBlock, take().line);
    RUVLLM_ASSIGN(std::string name, expect_any_name());
    if (std::find(block_names_.begin(), block_names_.end(), name) != block_names_.end()) {
      return syntax_error(stmt.line, concat("block '", name, "' defined twice"));
    }
    block_names_.push_back(name);
    stmt.scoped = skip_name("scoped");
    skip_name("required");
    // A block is a function of its own: loops around it are not its.
    const int loops = std::exchange(loops_, 0);
    RUVLLM_ASSIGN(stmt, scoped_body(std::move(stmt), {"endblock"}));
    loops_ = loops;
    skip_name(name);
    return stmt;
  }

  // Only switching it off, which it is, is supported.
  Result<Stmt> parse_autoescape() {
    Stmt stmt = make_stmt(StmtKind::kScope, take().line);
    RUVLLM_ASSIGN(const ExprPtr on, parse_expression());
    RUVLLM_ASSIGN(stmt, scoped_body(std::move(stmt), {"endautoescape"}));
    if (on->kind != ExprKind::kConstant || truth(on->value)) {
      stmt = make_stmt(StmtKind::kRefuse, stmt.line);
      stmt.text = "the tag 'autoescape' is supported only with false: prompts are not HTML";
    }
    return stmt;
  }

  // Marks what the assistant said, for training; to rendering it is a scope.
  Result<Stmt> parse_generation() {
    const int loops = std::exchange(loops_, 0);
    Stmt stmt = make_stmt(StmtKind::kScope, take().line);
    RUVLLM_ASSIGN(stmt, scoped_body(std::move(stmt), {"endgeneration"}));
    loops_ = loops;
    return stmt;
  }

  Result<Stmt> parse_break() {
    const Token token = take();
    if (loops_ == 0) return syntax_error(token.line, concat("'", token.text, "' outside loop"));
    return make_stmt(token.text == "break" ? StmtKind::kBreak : StmtKind::kContinue, token.line);
  }

  Result<Stmt> parse_refused() {
    const Token tag = take();
    while (!current().is(TokenKind::kBlockEnd) && !current().is(TokenKind::kEnd)) take();
    Stmt stmt = make_stmt(StmtKind::kRefuse, tag.line);
    stmt.text = concat("the tag '", tag.text,
                       "' is refused: a chat template is one text and loads no others");
    return stmt;
  }

  int loops_ = 0;        // loops that break and continue may refer to
  int loop_bodies_ = 0;  // loops whose `loop` must not be assigned
  std::vector<std::string> block_names_;
};

// Filters and tests that do not exist are an error of the template, wherever they stand; but below
// an `if` (tag or expression) only when they run. A body of its own begins afresh.
class NameCheck {
 public:
  static Status block(const Block& statements, bool soft) {
    for (const Stmt& stmt : statements) RUVLLM_TRY(statement(stmt, soft));
    return {};
  }

 private:
  static Status statement(const Stmt& stmt, bool soft) {
    const bool is_if = stmt.kind == StmtKind::kIf;
    const bool captured = stmt.kind == StmtKind::kFilterBlock || stmt.kind == StmtKind::kSetBlock;
    for (size_t i = 0; i < stmt.exprs.size(); ++i) {
      const bool loop_test = stmt.kind == StmtKind::kFor && i == 1;
      RUVLLM_TRY(expression(stmt.exprs[i].get(), is_if || (soft && !captured && !loop_test)));
    }
    if (stmt.macro != nullptr) {
      for (const ExprPtr& value : stmt.macro->defaults) RUVLLM_TRY(expression(value.get(), false));
    }
    for (const auto& body : stmt.blocks) RUVLLM_TRY(block(*body, is_if));
    return {};
  }

  static Status expression(const Expr* expr, bool soft) {
    if (expr == nullptr) return {};
    const bool filter = expr->kind == ExprKind::kFilter;
    if (!soft && (filter || expr->kind == ExprKind::kTest) && expr->builtin == nullptr) {
      return syntax_error(expr->line, concat("No ", filter ? "filter" : "test", " named '",
                                             printable(expr->value.text()), "'."));
    }
    soft = soft || expr->kind == ExprKind::kCondition;
    for (const ExprPtr& child : expr->children) RUVLLM_TRY(expression(child.get(), soft));
    if (expr->call == nullptr) return {};
    for (const ExprPtr& child : expr->call->positional) RUVLLM_TRY(expression(child.get(), soft));
    for (const auto& [name, child] : expr->call->named) RUVLLM_TRY(expression(child.get(), soft));
    RUVLLM_TRY(expression(expr->call->spread.get(), soft));
    return expression(expr->call->named_spread.get(), soft);
  }
};

}  // namespace

Result<std::unique_ptr<Template>> parse_template(std::string_view source) {
  auto program = std::make_unique<Template>();
  program->symbols = {"loop", "caller", "kwargs", "varargs"};
  program->loop = 0;
  program->caller = 1;
  program->kwargs = 2;
  program->varargs = 3;
  RUVLLM_ASSIGN(std::vector<Token> tokens, tokenize(source));
  StatementParser parser(std::move(tokens), *program);
  RUVLLM_ASSIGN(program->body, parser.run());
  RUVLLM_TRY(NameCheck::block(program->body, false));
  return program;
}

}  // namespace ruvllm::jinja
