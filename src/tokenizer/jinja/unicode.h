// Characters as Python's str sees them: UTF-8 to code points, properties, case mappings.
//
// Pure functions on tables made from Python's own data; no locale, any thread. Text is well-formed
// UTF-8, except that a lone surrogate may stand as its three bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ruvllm::jinja {

enum CharProperty : uint32_t {
  kAlpha = 1 << 0,
  kDecimal = 1 << 1,
  kDigit = 1 << 2,
  kNumeric = 1 << 3,
  kSpace = 1 << 4,
  kPrintable = 1 << 5,
  kUpper = 1 << 6,
  kLower = 1 << 7,
  kTitle = 1 << 8,
  kIdentifierStart = 1 << 9,
  kIdentifierPart = 1 << 10,
};
inline constexpr uint32_t kAlnum = kAlpha | kDecimal | kDigit | kNumeric;
inline constexpr uint32_t kCased = kUpper | kLower | kTitle;

uint32_t char_properties(char32_t c);
inline bool char_is(char32_t c, uint32_t any_of) {
  return (char_properties(c) & any_of) != 0;
}
inline bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f);
  return char_is(c, kSpace);
}

bool is_ascii(std::string_view text);
// Number of code points.
size_t count_chars(std::string_view text);
// The code point at byte `position`, which moves past it.
char32_t next_char(std::string_view text, size_t& position);
// The code point that ends before byte `position`, which moves to its start.
char32_t previous_char(std::string_view text, size_t& position);
void append_char(std::string& out, char32_t c);
std::vector<char32_t> to_chars(std::string_view text);
std::string from_chars(const std::vector<char32_t>& chars);
// Strict: no surrogates, nothing overlong.
bool is_valid_utf8(std::string_view text);

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string to_title(std::string_view text);
std::string to_capitalized(std::string_view text);
std::string to_swapped(std::string_view text);
std::string to_folded(std::string_view text);
// One character's upper case, which may be several characters.
void append_upper(std::string& out, char32_t c);

std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);

}  // namespace ruvllm::jinja
