// GPT-2's alphabet for byte-level vocabularies: each byte is written as one printable character
// (the byte's own Latin-1 character where that is printable, else U+0100 and up).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tokenizer/utf8.h"

namespace ruvllm {

inline constexpr bool byte_is_its_own_letter(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
}

inline constexpr std::array<uint16_t, 256> kByteToLetter = [] {
  std::array<uint16_t, 256> letters{};
  uint16_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    letters[byte] = byte_is_its_own_letter(byte) ? static_cast<uint16_t>(byte) : next++;
  }
  return letters;
}();

// Letter (< 0x144) -> byte, or -1.
inline constexpr std::array<int16_t, 0x144> kLetterToByte = [] {
  std::array<int16_t, 0x144> bytes{};
  for (int16_t& byte : bytes) byte = -1;
  for (uint32_t byte = 0; byte < 256; ++byte)
    bytes[kByteToLetter[byte]] = static_cast<int16_t>(byte);
  return bytes;
}();

inline std::string bytes_to_letters(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) append_utf8(out, kByteToLetter[static_cast<unsigned char>(c)]);
  return out;
}

// nullopt when some character of the (well-formed) text is no letter of the alphabet.
inline std::optional<std::string> letters_to_bytes(std::string_view letters) {
  std::string out;
  out.reserve(letters.size());
  for (size_t i = 0; i < letters.size();) {
    const DecodedChar c = decode_utf8(letters, i);
    if (c.code >= kLetterToByte.size() || kLetterToByte[c.code] < 0) return std::nullopt;
    out += static_cast<char>(kLetterToByte[c.code]);
    i += c.size;
  }
  return out;
}

}  // namespace ruvllm
