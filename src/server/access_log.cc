#include "server/access_log.h"

#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>

#include "base/json.h"
#include "base/str.h"

namespace ruvllm::server {
namespace {

bool is_harmless_id(std::string_view id) {
  return !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '_' || c == '.' || c == ':';
  });
}

std::string random_id() {
  std::array<unsigned char, 16> bytes = {};
  RAND_bytes(bytes.data(), static_cast<int>(bytes.size()));
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : bytes) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

}  // namespace

std::string request_id_of(const HttpRequest& request) {
  const std::string* id = request.header("X-Request-Id");
  return id != nullptr && is_harmless_id(*id) ? *id : random_id();
}

std::string utc_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  const std::time_t seconds = static_cast<std::time_t>(ms / 1000);
  std::tm parts = {};
  ::gmtime_r(&seconds, &parts);
  char text[64];
  const size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  char fraction[16];
  std::snprintf(fraction, sizeof fraction, ".%03dZ", static_cast<int>(ms % 1000));
  return std::string(text, size) + fraction;
}

std::string access_line(const Exchange& exchange, std::string_view route, double seconds,
                        bool aborted, bool as_json) {
  const int64_t microseconds = static_cast<int64_t>(seconds * 1e6);
  const HttpRequest& request = exchange.request;
  const std::string* trace = request.header("traceparent");
  if (!as_json) {
    return concat(utc_now(), " ", request.method.empty() ? "-" : request.method, " ", route, " ",
                  exchange.status(), " ", microseconds, "us ", exchange.bytes_written(), "B",
                  exchange.key_name.empty() ? "" : " ", exchange.key_name,
                  exchange.request_id.empty() ? "" : " id=", exchange.request_id,
                  aborted ? " aborted" : "", "\n");
  }
  std::string out = concat("{\"time\":\"", utc_now(), "\",\"event\":\"request\",\"method\":");
  append_json_string(out, request.method);
  out += ",\"route\":";
  append_json_string(out, route);
  out += concat(",\"status\":", exchange.status(), ",\"microseconds\":", microseconds,
                ",\"bytes\":", exchange.bytes_written(), ",\"aborted\":", aborted);
  if (!exchange.key_name.empty()) out += concat(",\"key\":\"", exchange.key_name, "\"");
  if (!exchange.request_id.empty()) {
    out += concat(",\"request_id\":\"", exchange.request_id, "\"");
  }
  if (trace != nullptr && trace->size() <= 64) {
    out += ",\"traceparent\":";
    append_json_string(out, *trace);
  }
  return out + "}\n";
}

}  // namespace ruvllm::server
