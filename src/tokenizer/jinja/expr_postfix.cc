// What follows an operand: attributes and subscripts, calls, filters and tests.
#include "tokenizer/jinja/parser.h"

namespace ruvllm::jinja {

Result<ExprPtr> ExprParser::parse_postfix(ExprPtr expr) {
  while (true) {
    if (current().is_operator(".") || current().is_operator("[")) {
      RUVLLM_ASSIGN(expr, parse_subscript(std::move(expr)));
    } else if (current().is_operator("(")) {
      RUVLLM_ASSIGN(expr, parse_call(std::move(expr)));
    } else {
      return expr;
    }
  }
}

Result<ExprPtr> ExprParser::parse_filter_chain(ExprPtr expr) {
  while (true) {
    if (current().is_operator("|")) {
      RUVLLM_ASSIGN(expr, parse_filters(std::move(expr), false));
    } else if (current().is_name("is")) {
      RUVLLM_ASSIGN(expr, parse_test(std::move(expr)));
    } else if (current().is_operator("(")) {
      RUVLLM_ASSIGN(expr, parse_call(std::move(expr)));
    } else {
      return expr;
    }
  }
}

Result<ExprPtr> ExprParser::parse_subscript(ExprPtr expr) {
  const Token opening = take();
  if (opening.text == ".") {
    const Token name = take();
    if (name.is(TokenKind::kName)) {
      ExprPtr node = make(ExprKind::kAttribute, opening.line);
      node->value = constant_string(name.text);
      node->children.push_back(std::move(expr));
      return finish(std::move(node));
    }
    const auto index = name.integer.to_int64();
    if (!name.is(TokenKind::kInteger) || !index) {
      return syntax_error(name.line, "expected name or number");
    }
    ExprPtr node = make(ExprKind::kItem, opening.line);
    ExprPtr key = make(ExprKind::kConstant, name.line);
    key->value = Value(*index);
    node->children.push_back(std::move(expr));
    node->children.push_back(std::move(key));
    return finish(std::move(node));
  }
  const Nested nested(nesting_);
  if (nested.too_deep()) return too_deep(opening.line);
  return parse_subscript_part(std::move(expr));
}

// What stands between [ and ]: an index, a slice, or several indices that make a tuple.
Result<ExprPtr> ExprParser::parse_subscript_part(ExprPtr object) {
  const int32_t line = current().line;
  std::vector<ExprPtr> indices;
  ExprPtr slice;
  while (!current().is_operator("]")) {
    if (!indices.empty() || slice != nullptr) RUVLLM_TRY(expect_operator(","));
    ExprPtr part;
    if (!current().is_operator(":")) {
      RUVLLM_ASSIGN(part, parse_expression());
      if (!current().is_operator(":")) {
        indices.push_back(std::move(part));
        continue;
      }
    }
    if (slice != nullptr || !indices.empty()) {
      return syntax_error(line, "a slice among several subscripts is not supported");
    }
    slice = make(ExprKind::kSlice, line);
    slice->children.push_back(nullptr);
    slice->children.push_back(std::move(part));
    for (int i = 0; i < 2; ++i) {
      ExprPtr bound;
      if (skip_operator(":") && !current().is_operator("]") && !current().is_operator(",") &&
          !current().is_operator(":")) {
        RUVLLM_ASSIGN(bound, parse_expression());
      }
      slice->children.push_back(std::move(bound));
    }
  }
  RUVLLM_TRY(expect_operator("]"));
  if (slice != nullptr) {
    if (!indices.empty()) {
      return syntax_error(line, "a slice among several subscripts is not supported");
    }
    slice->children[0] = std::move(object);
    return finish(std::move(slice));
  }
  ExprPtr node = make(ExprKind::kItem, line);
  node->children.push_back(std::move(object));
  if (indices.size() == 1) {
    node->children.push_back(std::move(indices[0]));
  } else {
    ExprPtr tuple = make(ExprKind::kTuple, line);
    tuple->children = std::move(indices);
    RUVLLM_ASSIGN(tuple, finish(std::move(tuple)));
    node->children.push_back(std::move(tuple));
  }
  return finish(std::move(node));
}

Result<std::unique_ptr<CallSite>> ExprParser::parse_arguments() {
  const int32_t line = current().line;
  RUVLLM_TRY(expect_operator("("));
  const Nested nested(nesting_);
  if (nested.too_deep()) return too_deep(line);
  auto site = std::make_unique<CallSite>();
  const auto invalid = [line] {
    return syntax_error(line, "invalid syntax for function call expression");
  };
  bool first = true;
  while (!current().is_operator(")")) {
    if (!first) {
      RUVLLM_TRY(expect_operator(","));
      if (current().is_operator(")")) break;
    }
    first = false;
    if (skip_operator("*")) {
      if (site->spread != nullptr || site->named_spread != nullptr) return invalid();
      RUVLLM_ASSIGN(site->spread, parse_expression());
    } else if (skip_operator("**")) {
      if (site->named_spread != nullptr) return invalid();
      RUVLLM_ASSIGN(site->named_spread, parse_expression());
    } else if (current().is(TokenKind::kName) && ahead().is_operator("=")) {
      if (site->named_spread != nullptr) return invalid();
      std::string name = take().text;
      take();
      for (const auto& [other, value] : site->named) {
        if (other.text() == name)
          return syntax_error(line, concat("keyword argument repeated: ", name));
      }
      RUVLLM_ASSIGN(ExprPtr value, parse_expression());
      site->named.emplace_back(constant_string(std::move(name)), std::move(value));
    } else {
      if (site->spread != nullptr || site->named_spread != nullptr || !site->named.empty()) {
        return invalid();
      }
      RUVLLM_ASSIGN(ExprPtr value, parse_expression());
      site->positional.push_back(std::move(value));
    }
  }
  RUVLLM_TRY(expect_operator(")"));
  return site;
}

Result<ExprPtr> ExprParser::parse_call(ExprPtr callee) {
  ExprPtr node = make(ExprKind::kCall, current().line);
  node->children.push_back(std::move(callee));
  RUVLLM_ASSIGN(node->call, parse_arguments());
  return finish(std::move(node));
}

Result<std::string> ExprParser::parse_dotted_name() {
  RUVLLM_ASSIGN(std::string name, expect_any_name());
  while (skip_operator(".")) {
    RUVLLM_ASSIGN(const std::string part, expect_any_name());
    name += '.';
    name += part;
  }
  return name;
}

Result<ExprPtr> ExprParser::parse_filters(ExprPtr input, bool first_inline) {
  while (first_inline || current().is_operator("|")) {
    if (!first_inline) take();
    first_inline = false;
    ExprPtr node = make(ExprKind::kFilter, current().line);
    RUVLLM_ASSIGN(std::string name, parse_dotted_name());
    node->builtin = find_filter(name);
    node->value = constant_string(std::move(name));
    if (current().is_operator("(")) {
      RUVLLM_ASSIGN(node->call, parse_arguments());
    }
    node->children.push_back(std::move(input));
    RUVLLM_ASSIGN(input, finish(std::move(node)));
  }
  return input;
}

Result<ExprPtr> ExprParser::parse_test(ExprPtr expr) {
  ExprPtr node = make(ExprKind::kTest, take().line);
  const bool negated = skip_name("not");
  RUVLLM_ASSIGN(std::string name, parse_dotted_name());
  node->builtin = find_test(name);
  node->value = constant_string(std::move(name));
  node->children.push_back(std::move(expr));
  const Token& next = current();
  const bool argument =
      next.is(TokenKind::kString) || next.is(TokenKind::kInteger) || next.is(TokenKind::kFloat) ||
      next.is_operator("[") || next.is_operator("{") ||
      (next.is(TokenKind::kName) && next.text != "else" && next.text != "or" && next.text != "and");
  if (next.is_operator("(")) {
    RUVLLM_ASSIGN(node->call, parse_arguments());
  } else if (argument) {
    if (next.is_name("is"))
      return syntax_error(next.line, "You cannot chain multiple tests with is");
    node->call = std::make_unique<CallSite>();
    RUVLLM_ASSIGN(ExprPtr value, parse_primary(false));
    RUVLLM_ASSIGN(value, parse_postfix(std::move(value)));
    node->call->positional.push_back(std::move(value));
  }
  const int32_t line = node->line;
  RUVLLM_ASSIGN(node, finish(std::move(node)));
  if (!negated) return node;
  ExprPtr inverse = make(ExprKind::kNot, line);
  inverse->children.push_back(std::move(node));
  return finish(std::move(inverse));
}

}  // namespace ruvllm::jinja
