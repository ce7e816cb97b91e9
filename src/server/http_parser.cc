#include "server/http_parser.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/str.h"

namespace ruvllm::server {
namespace {

// The characters of methods and header names (RFC 9110, token).
constexpr std::array<bool, 256> kTokenChars = [] {
  std::array<bool, 256> table = {};
  for (int c = '0'; c <= '9'; ++c) table[static_cast<size_t>(c)] = true;
  for (int c = 'a'; c <= 'z'; ++c) table[static_cast<size_t>(c)] = true;
  for (int c = 'A'; c <= 'Z'; ++c) table[static_cast<size_t>(c)] = true;
  for (const char c : std::string_view("!#$%&'*+-.^_`|~")) table[static_cast<size_t>(c)] = true;
  return table;
}();

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return kTokenChars[static_cast<unsigned char>(c)];
  });
}

bool is_field_value(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
  });
}

std::string_view trim(std::string_view text) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

constexpr size_t kMaxChunkLineBytes = 256;
constexpr size_t kMaxTrailerBytes = 8192;

}  // namespace

std::string_view status_text(int status) {
  struct Row {
    int status;
    std::string_view text;
  };
  constexpr Row kRows[] = {{100, "Continue"},
                           {200, "OK"},
                           {204, "No Content"},
                           {400, "Bad Request"},
                           {401, "Unauthorized"},
                           {403, "Forbidden"},
                           {404, "Not Found"},
                           {405, "Method Not Allowed"},
                           {408, "Request Timeout"},
                           {413, "Content Too Large"},
                           {415, "Unsupported Media Type"},
                           {417, "Expectation Failed"},
                           {429, "Too Many Requests"},
                           {431, "Request Header Fields Too Large"},
                           {500, "Internal Server Error"},
                           {501, "Not Implemented"},
                           {503, "Service Unavailable"},
                           {504, "Gateway Timeout"},
                           {505, "HTTP Version Not Supported"}};
  for (const Row& row : kRows) {
    if (row.status == status) return row.text;
  }
  return "Unknown";
}

bool RequestParser::fail(int status, std::string message) {
  state_ = State::kFailed;
  error_status_ = status;
  error_message_ = std::move(message);
  return false;
}

uint64_t RequestParser::body_bytes_missing() const {
  if (state_ == State::kComplete) return 0;
  return state_ == State::kLength ? missing_ : 1;
}

HttpRequest RequestParser::take_request() {
  HttpRequest request = std::move(request_);
  *this = RequestParser(limits_);
  return request;
}

size_t RequestParser::feed(std::string_view bytes) {
  switch (state_) {
    case State::kHead:
      return feed_head(bytes);
    case State::kLength:
      return feed_length(bytes);
    case State::kFailed:
    case State::kComplete:
      return 0;
    default:
      return feed_chunked(bytes);
  }
}

size_t RequestParser::feed_head(std::string_view bytes) {
  size_t used = 0;
  // Empty lines before a request are skipped (RFC 9112, 2.2).
  while (head_.empty() && used < bytes.size() && (bytes[used] == '\r' || bytes[used] == '\n')) {
    ++used;
  }
  bytes.remove_prefix(used);
  if (bytes.empty()) return used;
  if (head_.empty() && !kTokenChars[static_cast<unsigned char>(bytes[0])]) {
    fail(400, "this is not an HTTP request");
    return used;
  }
  const size_t before = head_.size();
  const size_t room = limits_.max_head_bytes + 4 - before;
  head_ += bytes.substr(0, room);
  const size_t end = head_.find("\r\n\r\n", before < 3 ? 0 : before - 3);
  if (end == std::string::npos) {
    if (head_.size() >= limits_.max_head_bytes + 4) {
      fail(431, concat("the request's head is larger than ", limits_.max_head_bytes, " bytes"));
    }
    return used + std::min(bytes.size(), room);
  }
  parse_head(std::string_view(head_).substr(0, end));
  return used + (end + 4 - before);
}

void RequestParser::parse_head(std::string_view head) {
  bool is_first = true;
  while (true) {
    const size_t end = head.find("\r\n");
    const std::string_view line = head.substr(0, end);
    if (!(is_first ? parse_request_line(line) : parse_header(line))) return;
    is_first = false;
    if (end == std::string_view::npos) break;
    head.remove_prefix(end + 2);
  }
  check_framing();
}

bool RequestParser::parse_request_line(std::string_view line) {
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) {
    return fail(400, "the request line is not METHOD TARGET HTTP/1.1");
  }
  const std::string_view method = line.substr(0, first);
  std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    const bool is_http = version.size() == 8 && version.starts_with("HTTP/");
    return fail(is_http ? 505 : 400, "the HTTP version is neither 1.1 nor 1.0");
  }
  if (!is_token(method) || method.size() > 16) return fail(400, "the method is not a word");
  const bool is_plain = std::all_of(target.begin(), target.end(),
                                    [](char c) { return c > 0x20 && c < 0x7f && c != '#'; });
  if (target.empty() || !is_plain) return fail(400, "the request target is malformed");
  if (target.starts_with("http://") || target.starts_with("https://")) {  // absolute form
    const size_t slash = target.find('/', target.find("//") + 2);
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  if (target[0] != '/' && target != "*") return fail(400, "the request target is malformed");
  const size_t question = target.find('?');
  request_.method = method;
  request_.path = target.substr(0, question);
  if (question != std::string_view::npos) request_.query = target.substr(question + 1);
  request_.version_minor = version.back() - '0';
  return true;
}

bool RequestParser::parse_header(std::string_view line) {
  if (request_.headers.size() >= limits_.max_headers) {
    return fail(431, concat("the request has more than ", limits_.max_headers, " header fields"));
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
    return fail(400, "a header field is malformed");
  }
  const std::string_view value = trim(line.substr(colon + 1));
  if (!is_field_value(value)) return fail(400, "a header field has control characters");
  request_.headers.emplace_back(line.substr(0, colon), value);
  return true;
}

bool RequestParser::check_framing() {
  int num_hosts = 0;
  const std::string* length = nullptr;
  const std::string* coding = nullptr;
  keep_alive_ = request_.version_minor == 1;
  for (const auto& [name, value] : request_.headers) {
    if (equals_ignoring_case(name, "Host")) ++num_hosts;
    if (equals_ignoring_case(name, "Content-Length")) {
      if (length != nullptr) return fail(400, "more than one Content-Length");
      length = &value;
    }
    if (equals_ignoring_case(name, "Transfer-Encoding")) {
      if (coding != nullptr) return fail(400, "more than one Transfer-Encoding");
      coding = &value;
    }
    if (equals_ignoring_case(name, "Connection")) {
      if (equals_ignoring_case(value, "close")) keep_alive_ = false;
      if (equals_ignoring_case(value, "keep-alive")) keep_alive_ = true;
    }
    if (equals_ignoring_case(name, "Expect") && request_.version_minor == 1) {
      if (!equals_ignoring_case(value, "100-continue")) return fail(417, "unknown expectation");
      expects_continue_ = true;
    }
  }
  if (num_hosts > 1 || (num_hosts == 0 && request_.version_minor == 1)) {
    return fail(400, "exactly one Host is needed");
  }
  if (coding != nullptr) {
    if (length != nullptr) return fail(400, "Content-Length beside Transfer-Encoding");
    if (!equals_ignoring_case(*coding, "chunked") || request_.version_minor == 0) {
      return fail(501, "the only transfer coding is chunked (HTTP/1.1)");
    }
    state_ = State::kChunkSize;
    return true;
  }
  if (length != nullptr) {
    const bool is_digits =
        !length->empty() && length->size() <= 18 &&
        std::all_of(length->begin(), length->end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!is_digits || !parse_number(*length, missing_)) {
      return fail(400, "Content-Length is not a number");
    }
    if (missing_ > limits_.max_body_bytes) {
      return fail(
          413, concat("the body has ", missing_, " bytes, the limit is ", limits_.max_body_bytes));
    }
  }
  state_ = missing_ > 0 ? State::kLength : State::kComplete;
  return true;
}

size_t RequestParser::feed_length(std::string_view bytes) {
  const auto used = static_cast<size_t>(std::min<uint64_t>(missing_, bytes.size()));
  request_.body += bytes.substr(0, used);
  missing_ -= used;
  if (missing_ == 0) state_ = State::kComplete;
  return used;
}

// Collects a line in line_; true when it is complete (without its line end).
bool RequestParser::take_line(std::string_view bytes, size_t& used, size_t max_bytes) {
  while (used < bytes.size()) {
    const char c = bytes[used++];
    if (c == '\n') {
      if (line_.empty() || line_.back() != '\r') return fail(400, "a bare line feed in the body");
      line_.pop_back();
      return true;
    }
    line_ += c;
    if (line_.size() > max_bytes) return fail(400, "a line of the chunked body is too long");
  }
  return false;
}

void RequestParser::chunk_size_line() {
  std::string_view digits = line_;
  const size_t semicolon = digits.find(';');  // an extension follows, which means nothing here
  if (semicolon != std::string_view::npos) {
    if (!is_field_value(digits.substr(semicolon))) {
      fail(400, "a chunk extension is malformed");
      return;
    }
    digits = trim(digits.substr(0, semicolon));
  }
  uint32_t size = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), size, 16);
  const bool is_hex = error == std::errc() && end == digits.data() + digits.size();
  if (digits.empty() || digits.size() > 8 || !is_hex) {
    fail(400, "a chunk size is malformed");
    return;
  }
  if (size > limits_.max_body_bytes - request_.body.size()) {
    fail(413, concat("the body is larger than ", limits_.max_body_bytes, " bytes"));
    return;
  }
  missing_ = size;
  state_ = size == 0 ? State::kTrailer : State::kChunkData;
}

size_t RequestParser::feed_chunked(std::string_view bytes) {
  size_t used = 0;
  while (used < bytes.size() && state_ != State::kComplete && state_ != State::kFailed) {
    if (state_ == State::kChunkData) {
      const size_t size = std::min<size_t>(missing_, bytes.size() - used);
      request_.body += bytes.substr(used, size);
      used += size;
      missing_ -= size;
      if (missing_ == 0) state_ = State::kChunkEnd;
      continue;
    }
    const bool in_trailer = state_ == State::kTrailer;
    if (!take_line(bytes, used, in_trailer ? kMaxTrailerBytes : kMaxChunkLineBytes)) continue;
    if (state_ == State::kChunkSize) {
      chunk_size_line();
    } else if (state_ == State::kChunkEnd) {
      if (line_.empty()) state_ = State::kChunkSize;
      if (!line_.empty()) fail(400, "a chunk is longer than its size says");
    } else if (line_.empty()) {
      state_ = State::kComplete;
    } else {  // a trailer field: nothing here needs one
      trailer_bytes_ += line_.size();
      if (trailer_bytes_ > kMaxTrailerBytes || !is_field_value(line_)) {
        fail(400, "the trailer is malformed or too long");
      }
    }
    line_.clear();
  }
  return used;
}

}  // namespace ruvllm::server
