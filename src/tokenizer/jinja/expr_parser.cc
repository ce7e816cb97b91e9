#include <algorithm>

#include "tokenizer/jinja/parser.h"

namespace ruvllm::jinja {
std::unexpected<Error> too_deep(int32_t line) {
  return syntax_error(line, concat("nested deeper than ", kMaxNesting));
}

ExprPtr ExprParser::make(ExprKind kind, int32_t line) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  return expr;
}

Result<ExprPtr> ExprParser::finish(ExprPtr expr) {
  int depth = 0;
  const auto consider = [&depth](const ExprPtr& child) {
    if (child != nullptr) depth = std::max<int>(depth, child->depth);
  };
  for (const ExprPtr& child : expr->children) consider(child);
  if (expr->call != nullptr) {
    for (const ExprPtr& child : expr->call->positional) consider(child);
    for (const auto& [name, child] : expr->call->named) consider(child);
    consider(expr->call->spread);
    consider(expr->call->named_spread);
  }
  if (depth + 1 > kMaxNesting) return too_deep(expr->line);
  expr->depth = static_cast<int16_t>(depth + 1);
  return expr;
}

bool ExprParser::skip_operator(std::string_view symbol) {
  if (!current().is_operator(symbol)) return false;
  take();
  return true;
}

bool ExprParser::skip_name(std::string_view name) {
  if (!current().is_name(name)) return false;
  take();
  return true;
}

std::unexpected<Error> ExprParser::unexpected_token(std::string_view wanted) const {
  return syntax_error(current().line,
                      concat("expected ", wanted, ", got '", current().describe(), "'"));
}

Status ExprParser::expect_operator(std::string_view symbol) {
  if (skip_operator(symbol)) return {};
  return unexpected_token(concat("token '", symbol, "'"));
}

Status ExprParser::expect_name(std::string_view name) {
  if (skip_name(name)) return {};
  return unexpected_token(concat("'", name, "'"));
}

Result<std::string> ExprParser::expect_any_name() {
  if (!current().is(TokenKind::kName)) return unexpected_token("a name");
  return take().text;
}

Symbol ExprParser::symbol_of(std::string_view name) {
  std::vector<std::string>& symbols = program_.symbols;
  const auto found = std::find(symbols.begin(), symbols.end(), name);
  if (found != symbols.end()) return static_cast<Symbol>(found - symbols.begin());
  symbols.emplace_back(name);
  return static_cast<Symbol>(symbols.size() - 1);
}

Value ExprParser::constant_string(std::string text) {
  auto object = std::make_unique<StringObject>(std::move(text));
  object->refs = -1;
  Value value(Kind::kString, object.get());
  program_.constants.push_back(std::move(object));
  return value;
}

Result<ExprPtr> ExprParser::parse_expression(bool condition) {
  const Nested nested(nesting_);
  if (nested.too_deep()) return too_deep(current().line);
  RUVLLM_ASSIGN(ExprPtr expr, parse_or());
  while (condition && current().is_name("if")) {
    ExprPtr choice = make(ExprKind::kCondition, take().line);
    RUVLLM_ASSIGN(ExprPtr test, parse_or());
    choice->children.push_back(std::move(test));
    choice->children.push_back(std::move(expr));
    if (skip_name("else")) {
      RUVLLM_ASSIGN(ExprPtr otherwise, parse_expression());
      choice->children.push_back(std::move(otherwise));
    }
    RUVLLM_ASSIGN(expr, finish(std::move(choice)));
  }
  return expr;
}

Result<ExprPtr> ExprParser::parse_or() {
  RUVLLM_ASSIGN(ExprPtr left, parse_and());
  while (current().is_name("or")) {
    ExprPtr node = make(ExprKind::kOr, take().line);
    RUVLLM_ASSIGN(ExprPtr right, parse_and());
    node->children.push_back(std::move(left));
    node->children.push_back(std::move(right));
    RUVLLM_ASSIGN(left, finish(std::move(node)));
  }
  return left;
}

Result<ExprPtr> ExprParser::parse_and() {
  RUVLLM_ASSIGN(ExprPtr left, parse_not());
  while (current().is_name("and")) {
    ExprPtr node = make(ExprKind::kAnd, take().line);
    RUVLLM_ASSIGN(ExprPtr right, parse_not());
    node->children.push_back(std::move(left));
    node->children.push_back(std::move(right));
    RUVLLM_ASSIGN(left, finish(std::move(node)));
  }
  return left;
}

Result<ExprPtr> ExprParser::parse_not() {
  if (!current().is_name("not")) return parse_compare();
  const Nested nested(nesting_);
  if (nested.too_deep()) return too_deep(current().line);
  ExprPtr node = make(ExprKind::kNot, take().line);
  RUVLLM_ASSIGN(ExprPtr operand, parse_not());
  node->children.push_back(std::move(operand));
  return finish(std::move(node));
}

Result<ExprPtr> ExprParser::parse_compare() {
  RUVLLM_ASSIGN(ExprPtr first, parse_sum());
  ExprPtr node;
  constexpr std::pair<std::string_view, CompareOp> kOperators[] = {
      {"==", CompareOp::kEq}, {"!=", CompareOp::kNe}, {"<", CompareOp::kLt},
      {"<=", CompareOp::kLe}, {">", CompareOp::kGt},  {">=", CompareOp::kGe}};
  while (true) {
    const int32_t line = current().line;
    const auto* found = std::find_if(std::begin(kOperators), std::end(kOperators),
                                     [&](auto& row) { return current().is_operator(row.first); });
    CompareOp op = CompareOp::kIn;
    if (found != std::end(kOperators)) {
      op = found->second;
      take();
    } else if (current().is_name("not") && ahead().is_name("in")) {
      op = CompareOp::kNotIn;
      take();
      take();
    } else if (!skip_name("in")) {
      break;
    }
    if (node == nullptr) {
      node = make(ExprKind::kCompare, line);
      node->children.push_back(std::move(first));
    }
    RUVLLM_ASSIGN(ExprPtr operand, parse_sum());
    node->children.push_back(std::move(operand));
    node->compare_ops.push_back(op);
  }
  if (node == nullptr) return first;
  return finish(std::move(node));
}

Result<ExprPtr> ExprParser::parse_sum() {
  RUVLLM_ASSIGN(ExprPtr left, parse_concat());
  while (current().is_operator("+") || current().is_operator("-")) {
    const Token symbol = take();
    ExprPtr node = make(ExprKind::kBinary, symbol.line);
    node->op = symbol.text == "+" ? BinaryOp::kAdd : BinaryOp::kSub;
    RUVLLM_ASSIGN(ExprPtr right, parse_concat());
    node->children.push_back(std::move(left));
    node->children.push_back(std::move(right));
    RUVLLM_ASSIGN(left, finish(std::move(node)));
  }
  return left;
}

Result<ExprPtr> ExprParser::parse_concat() {
  RUVLLM_ASSIGN(ExprPtr first, parse_product());
  if (!current().is_operator("~")) return first;
  ExprPtr node = make(ExprKind::kConcat, current().line);
  node->children.push_back(std::move(first));
  while (skip_operator("~")) {
    RUVLLM_ASSIGN(ExprPtr next, parse_product());
    node->children.push_back(std::move(next));
  }
  return finish(std::move(node));
}

Result<ExprPtr> ExprParser::parse_product() {
  RUVLLM_ASSIGN(ExprPtr left, parse_power());
  constexpr std::pair<std::string_view, BinaryOp> kOperators[] = {{"*", BinaryOp::kMul},
                                                                  {"/", BinaryOp::kDiv},
                                                                  {"//", BinaryOp::kFloorDiv},
                                                                  {"%", BinaryOp::kMod}};
  while (true) {
    const auto* found = std::find_if(std::begin(kOperators), std::end(kOperators),
                                     [&](auto& row) { return current().is_operator(row.first); });
    if (found == std::end(kOperators)) return left;
    ExprPtr node = make(ExprKind::kBinary, take().line);
    node->op = found->second;
    RUVLLM_ASSIGN(ExprPtr right, parse_power());
    node->children.push_back(std::move(left));
    node->children.push_back(std::move(right));
    RUVLLM_ASSIGN(left, finish(std::move(node)));
  }
}

// Left to right, and below the signs: -2 ** 2 is 4, as the original has it.
Result<ExprPtr> ExprParser::parse_power() {
  RUVLLM_ASSIGN(ExprPtr left, parse_unary(true));
  while (current().is_operator("**")) {
    ExprPtr node = make(ExprKind::kBinary, take().line);
    node->op = BinaryOp::kPow;
    RUVLLM_ASSIGN(ExprPtr right, parse_unary(true));
    node->children.push_back(std::move(left));
    node->children.push_back(std::move(right));
    RUVLLM_ASSIGN(left, finish(std::move(node)));
  }
  return left;
}

Result<ExprPtr> ExprParser::parse_unary(bool with_filters) {
  ExprPtr node;
  if (current().is_operator("-") || current().is_operator("+")) {
    const Nested nested(nesting_);
    if (nested.too_deep()) return too_deep(current().line);
    const Token sign = take();
    node = make(sign.text == "-" ? ExprKind::kNegate : ExprKind::kPlus, sign.line);
    RUVLLM_ASSIGN(ExprPtr operand, parse_unary(false));
    node->children.push_back(std::move(operand));
    RUVLLM_ASSIGN(node, finish(std::move(node)));
  } else {
    RUVLLM_ASSIGN(node, parse_primary(false));
  }
  RUVLLM_ASSIGN(node, parse_postfix(std::move(node)));
  if (!with_filters) return node;
  return parse_filter_chain(std::move(node));
}

Result<ExprPtr> ExprParser::parse_name(bool with_attribute) {
  const Token token = take();
  ExprPtr node = make(ExprKind::kConstant, token.line);
  const std::string& name = token.text;
  if (name == "true" || name == "True") {
    node->value = Value(true);
  } else if (name == "false" || name == "False") {
    node->value = Value(false);
  } else if (name == "none" || name == "None") {
    node->value = Value::none();
  } else if (with_attribute && skip_operator(".")) {
    node->kind = ExprKind::kAttributeTarget;
    node->symbol = symbol_of(name);
    RUVLLM_ASSIGN(std::string attribute, expect_any_name());
    node->value = constant_string(std::move(attribute));
  } else {
    node->kind = ExprKind::kName;
    node->symbol = symbol_of(name);
    for (MacroUse& use : macros_) {
      use.caller = use.caller || name == "caller";
      use.kwargs = use.kwargs || name == "kwargs";
      use.varargs = use.varargs || name == "varargs";
    }
  }
  return node;
}

Result<ExprPtr> ExprParser::parse_primary(bool with_attribute) {
  switch (current().kind) {
    case TokenKind::kName:
      return parse_name(with_attribute);
    case TokenKind::kString: {
      ExprPtr node = make(ExprKind::kConstant, current().line);
      std::string text;
      while (current().is(TokenKind::kString)) text += take().text;
      node->value = constant_string(std::move(text));
      return node;
    }
    case TokenKind::kInteger: {
      const Token token = take();
      ExprPtr node = make(ExprKind::kConstant, token.line);
      if (const auto small = token.integer.to_int64()) {
        node->value = Value(*small);
      } else {
        auto object = std::make_unique<BigIntObject>(token.integer);
        object->refs = -1;
        node->value = Value(Kind::kBigInt, object.get());
        program_.constants.push_back(std::move(object));
      }
      return node;
    }
    case TokenKind::kFloat: {
      ExprPtr node = make(ExprKind::kConstant, current().line);
      node->value = Value(take().real);
      return node;
    }
    default:
      break;
  }
  const Nested nested(nesting_);
  if (nested.too_deep()) return too_deep(current().line);
  if (skip_operator("(")) {
    TupleStyle style;
    style.parentheses = true;
    RUVLLM_ASSIGN(ExprPtr node, parse_tuple(style));
    RUVLLM_TRY(expect_operator(")"));
    return node;
  }
  if (current().is_operator("[")) return parse_list();
  if (current().is_operator("{")) return parse_dict();
  return syntax_error(current().line, concat("unexpected '", current().describe(), "'"));
}

Result<ExprPtr> ExprParser::parse_tuple(const TupleStyle& style) {
  ExprPtr tuple = make(ExprKind::kTuple, current().line);
  bool is_tuple = false;
  while (true) {
    if (!tuple->children.empty()) RUVLLM_TRY(expect_operator(","));
    const bool at_end = current().is(TokenKind::kVariableEnd) ||
                        current().is(TokenKind::kBlockEnd) || current().is_operator(")") ||
                        (!style.stop_name.empty() && current().is_name(style.stop_name));
    if (at_end) break;
    ExprPtr item;
    if (style.targets) {
      RUVLLM_ASSIGN(item, parse_primary(style.with_attribute));
    } else {
      RUVLLM_ASSIGN(item, parse_expression(style.condition));
    }
    tuple->children.push_back(std::move(item));
    if (!current().is_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) {
    if (!tuple->children.empty()) return std::move(tuple->children[0]);
    if (!style.parentheses) return unexpected_token("an expression");
  }
  return finish(std::move(tuple));
}

Result<ExprPtr> ExprParser::parse_list() {
  ExprPtr node = make(ExprKind::kList, take().line);
  while (!current().is_operator("]")) {
    if (!node->children.empty()) RUVLLM_TRY(expect_operator(","));
    if (current().is_operator("]")) break;
    RUVLLM_ASSIGN(ExprPtr item, parse_expression());
    node->children.push_back(std::move(item));
  }
  RUVLLM_TRY(expect_operator("]"));
  return finish(std::move(node));
}

Result<ExprPtr> ExprParser::parse_dict() {
  ExprPtr node = make(ExprKind::kDict, take().line);
  while (!current().is_operator("}")) {
    if (!node->children.empty()) RUVLLM_TRY(expect_operator(","));
    if (current().is_operator("}")) break;
    RUVLLM_ASSIGN(ExprPtr key, parse_expression());
    RUVLLM_TRY(expect_operator(":"));
    RUVLLM_ASSIGN(ExprPtr value, parse_expression());
    node->children.push_back(std::move(key));
    node->children.push_back(std::move(value));
  }
  RUVLLM_TRY(expect_operator("}"));
  return finish(std::move(node));
}

}  // namespace ruvllm::jinja
