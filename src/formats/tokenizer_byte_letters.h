// Byte strings in the letters that byte-level vocabularies are written in (GPT-2's alphabet): a
// printable Latin-1 character for itself, any other byte as the next character from U+0100 on.
#pragma once

#include <string>
#include <string_view>

namespace ruvllm {

inline std::string bytes_to_byte_letters(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    const bool own = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
    // 0..0x20 -> 0x100.., 0x7f..0xa0 -> 0x121.., 0xad -> 0x143
    const unsigned code = own           ? byte
                          : byte < 0x21 ? 0x100u + byte
                          : byte < 0xa1 ? 0x121u + (byte - 0x7fu)
                                        : 0x143u;
    if (code < 0x80) {
      out += static_cast<char>(code);
    } else {
      out += static_cast<char>(0xc0 | code >> 6);
      out += static_cast<char>(0x80 | (code & 0x3f));
    }
  }
  return out;
}

}  // namespace ruvllm
