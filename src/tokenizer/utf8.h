// UTF-8, byte by byte: decoding text that is known to be well formed, checking text that is not,
// and replacing what is ill formed. No state; no allocation but in append_* and to_valid_utf8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace ruvllm {

inline constexpr char32_t kReplacementCharacter = 0xfffd;
inline constexpr std::string_view kReplacementUtf8 = "\xef\xbf\xbd";

struct DecodedChar {
  char32_t code;
  uint32_t size;  // bytes
};

inline uint32_t utf8_size(char32_t code) {
  return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

// The character at text[position] of well-formed text; position < text.size().
inline DecodedChar decode_utf8(std::string_view text, size_t position) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data()) + position;
  const uint32_t first = bytes[0];
  if (first < 0x80) return {first, 1};
  if (first < 0xe0) return {(first & 0x1f) << 6 | (bytes[1] & 0x3fu), 2};
  if (first < 0xf0) {
    return {(first & 0xf) << 12 | (bytes[1] & 0x3fu) << 6 | (bytes[2] & 0x3fu), 3};
  }
  return {
      (first & 7) << 18 | (bytes[1] & 0x3fu) << 12 | (bytes[2] & 0x3fu) << 6 | (bytes[3] & 0x3fu),
      4};
}

// The character that ends before `position` (> 0) of well-formed text.
inline DecodedChar decode_utf8_before(std::string_view text, size_t position) {
  size_t start = position - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xc0) == 0x80) --start;
  return decode_utf8(text, start);
}

// The length of the well-formed character at text[position], or 0 when there is none; then
// `bad_bytes` is how many bytes one U+FFFD replaces (the longest prefix of a character, at least
// one: Unicode's "maximal subpart") and `cut_short` whether the text merely ends within a
// character.
struct CheckedChar {
  uint32_t size;
  uint32_t bad_bytes;
  bool cut_short;
};
CheckedChar check_utf8(std::string_view text, size_t position);

// Where the first ill-formed sequence begins; text.size() when there is none.
size_t find_invalid_utf8(std::string_view text);

void append_utf8(std::string& out, char32_t code);

// `text` with each ill-formed sequence replaced by U+FFFD.
std::string to_valid_utf8(std::string_view text);

}  // namespace ruvllm
