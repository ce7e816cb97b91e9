#include "tokenizer/utf8.h"

namespace ruvllm {

CheckedChar check_utf8(std::string_view text, size_t position) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[position + i]); };
  const size_t left = text.size() - position;
  const uint32_t first = byte(0);
  if (first < 0x80) return {1, 0, false};
  if (first < 0xc2 || first > 0xf4) return {0, 1, false};
  const uint32_t size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and what is above U+10FFFF.
  const uint32_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const uint32_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (left < 2) return {0, 1, true};
  if (byte(1) < low || byte(1) > high) return {0, 1, false};
  for (uint32_t i = 2; i < size; ++i) {
    if (i >= left) return {0, i, true};
    if ((byte(i) & 0xc0) != 0x80) return {0, i, false};
  }
  return {size, 0, false};
}

size_t find_invalid_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    // Eight ASCII bytes at a time.
    while (i + 8 <= text.size()) {
      uint64_t word;
      std::memcpy(&word, text.data() + i, 8);
      if ((word & 0x8080808080808080u) != 0) break;
      i += 8;
    }
    if (i >= text.size()) break;
    const CheckedChar checked = check_utf8(text, i);
    if (checked.size == 0) return i;
    i += checked.size;
  }
  return text.size();
}

void append_utf8(std::string& out, char32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
    return;
  }
  if (code < 0x800) {
    out += static_cast<char>(0xc0 | code >> 6);
  } else {
    if (code < 0x10000) {
      out += static_cast<char>(0xe0 | code >> 12);
    } else {
      out += static_cast<char>(0xf0 | code >> 18);
      out += static_cast<char>(0x80 | (code >> 12 & 0x3f));
    }
    out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
  }
  out += static_cast<char>(0x80 | (code & 0x3f));
}

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  size_t i = 0;
  while (i < text.size()) {
    const size_t good = find_invalid_utf8(text.substr(i));
    out += text.substr(i, good);
    i += good;
    if (i == text.size()) break;
    out += kReplacementUtf8;
    i += check_utf8(text, i).bad_bytes;
  }
  return out;
}

}  // namespace ruvllm
