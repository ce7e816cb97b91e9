// Text made from parts: concat("found ", n, ", expected ", m). Numbers print in decimal; doubles in
// the shortest form that reads back the same. No locale, no exceptions, no iostreams.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace ruvllm {

namespace str_detail {

inline void append(std::string& out, std::string_view text) {
  out += text;
}
inline void append(std::string& out, const char* text) {
  out += text;
}
inline void append(std::string& out, char c) {
  out += c;
}
inline void append(std::string& out, bool value) {
  out += value ? "true" : "false";
}

template <typename N>
  requires(std::integral<N> || std::floating_point<N>)
void append(std::string& out, N value) {
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  out.append(buffer, end);
}

}  // namespace str_detail

template <typename... Parts>
std::string concat(const Parts&... parts) {
  std::string out;
  (str_detail::append(out, parts), ...);
  return out;
}

// The whole of `text` as a number, or false.
bool parse_number(std::string_view text, double& out);
template <std::integral N>
bool parse_number(std::string_view text, N& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

// `text` made fit for one line of a message: control and non-ASCII bytes as \xNN, cut at max_bytes.
std::string printable(std::string_view text, size_t max_bytes = 80);

}  // namespace ruvllm
