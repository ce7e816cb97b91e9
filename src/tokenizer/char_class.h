// The character classes that splitting regexes tell apart, with a table for ASCII.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace ruvllm {

enum CharClass : uint8_t {
  kClassOther = 0,  // [^\s\p{L}\p{N}]
  kClassLetter = 1,
  kClassNumber = 2,
  kClassSpace = 4,
};

inline constexpr std::array<uint8_t, 128> kAsciiClass = [] {
  std::array<uint8_t, 128> classes{};
  for (uint32_t c = 0; c < 128; ++c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) classes[c] = kClassLetter;
    if (c >= '0' && c <= '9') classes[c] = kClassNumber;
    if (c == ' ' || (c >= 9 && c <= 13)) classes[c] = kClassSpace;
  }
  return classes;
}();

struct ClassedChar {
  uint8_t char_class;
  uint32_t size;
};

inline uint8_t class_of(char32_t code) {
  if (code < 128) return kAsciiClass[code];
  if (is_space(code)) return kClassSpace;
  const CategorySet bit = category_bit(category(code));
  return (bit & kLetter) != 0 ? kClassLetter : (bit & kNumber) != 0 ? kClassNumber : kClassOther;
}

inline ClassedChar classed_char(std::string_view text, size_t position) {
  const auto byte = static_cast<unsigned char>(text[position]);
  if (byte < 128) return {kAsciiClass[byte], 1};
  const DecodedChar c = decode_utf8(text, position);
  return {class_of(c.code), c.size};
}

// Where the run of characters of this class that begins at `position` ends.
inline size_t end_of_run(std::string_view text, size_t position, uint8_t char_class) {
  while (position < text.size()) {
    const ClassedChar c = classed_char(text, position);
    if (c.char_class != char_class) break;
    position += c.size;
  }
  return position;
}

inline size_t end_of_run_of_set(std::string_view text, size_t position, CategorySet set) {
  while (position < text.size()) {
    const DecodedChar c = decode_utf8(text, position);
    if (!in_set(c.code, set)) break;
    position += c.size;
  }
  return position;
}

inline bool is_newline(char c) {
  return c == '\r' || c == '\n';
}

}  // namespace ruvllm
