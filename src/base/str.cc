#include "base/str.h"

#include <cstdlib>

namespace ruvllm {

bool parse_number(std::string_view text, double& out) {
#if defined(__wasm__)  // its libc++ has no from_chars for floating point; the locale is always "C"
  const std::string copy(text);
  char* end = nullptr;
  out = std::strtod(copy.c_str(), &end);
  return !text.empty() && text[0] != ' ' && text[0] != '+' && end == copy.c_str() + copy.size();
#else
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
#endif
}

std::string printable(std::string_view text, size_t max_bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < text.size() && i < max_bytes; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte >= 0x20 && byte < 0x7f) {
      out += text[i];
    } else {
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  if (text.size() > max_bytes) out += "...";
  return out;
}

}  // namespace ruvllm
