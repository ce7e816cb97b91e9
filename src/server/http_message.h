// HTTP messages as plain values. Header names are compared without case; values have no white space
// at their ends. No rules of the protocol live here (http_parser.h, exchange.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ruvllm::server {

using Headers = std::vector<std::pair<std::string, std::string>>;

// ASCII letters only, as HTTP has it.
inline bool equals_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

struct HttpRequest {
  std::string method;
  std::string path;       // begins with '/' (or is "*"), as sent: not decoded, without the query
  std::string query;      // after '?', as sent
  int version_minor = 1;  // HTTP/1.0 or HTTP/1.1
  Headers headers;
  std::string body;

  // The first field of that name; nullptr when there is none.
  const std::string* header(std::string_view name) const {
    for (const auto& [key, value] : headers) {
      if (equals_ignoring_case(key, name)) return &value;
    }
    return nullptr;
  }
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  Headers headers;  // beyond those that every answer has
};

std::string_view status_text(int status);

}  // namespace ruvllm::server
