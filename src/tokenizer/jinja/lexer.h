// Template text to tokens, with the white-space rules of a chat template's environment already
// applied: trim_blocks, lstrip_blocks, - and + in tags, one newline at the very end dropped, line
// ends made "\n". Comments are gone; raw blocks are data.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ruvllm/result.h"
#include "tokenizer/jinja/value.h"

namespace ruvllm::jinja {

enum class TokenKind : uint8_t {
  kData,           // text to print
  kVariableBegin,  // {{
  kVariableEnd,
  kBlockBegin,  // {%
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  int32_t line = 1;
  std::string text;  // data, name, string value, operator
  double real = 0;   // kFloat
  BigInt integer;    // kInteger

  bool is(TokenKind wanted) const { return kind == wanted; }
  bool is_operator(std::string_view symbol) const {
    return kind == TokenKind::kOperator && text == symbol;
  }
  bool is_name(std::string_view name) const { return kind == TokenKind::kName && text == name; }
  std::string describe() const;
};

// The last token is kEnd. Errors name the line.
Result<std::vector<Token>> tokenize(std::string_view source);

std::unexpected<Error> syntax_error(int32_t line, std::string_view message);

}  // namespace ruvllm::jinja
