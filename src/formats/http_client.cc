#ifdef RUVLLM_HAS_DOWNLOAD

#include "formats/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/str.h"
#include "ruvllm/version.h"

namespace ruvllm {
namespace {

constexpr long kConnectTimeoutS = 15;
constexpr long kStallTimeoutS = 60;
constexpr long kMaxRedirects = 5;

bool starts_with_lower(std::string_view text, std::string_view lower) {
  if (text.size() < lower.size()) return false;
  return std::ranges::equal(text.substr(0, lower.size()), lower, [](char a, char b) {
    return (a >= 'A' && a <= 'Z' ? static_cast<char>(a + 32) : a) == b;
  });
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && static_cast<unsigned char>(text.back()) <= ' ') text.remove_suffix(1);
  return text;
}

// An entity tag without W/ and quotes.
std::string unquote(std::string_view tag) {
  if (tag.starts_with("W/")) tag.remove_prefix(2);
  if (tag.size() >= 2 && tag.front() == '"' && tag.back() == '"') {
    tag = tag.substr(1, tag.size() - 2);
  }
  return std::string(tag);
}

std::optional<uint64_t> to_size(std::string_view text) {
  uint64_t value = 0;
  return parse_number(text, value) ? std::optional<uint64_t>(value) : std::nullopt;
}

size_t on_header(char* data, size_t size, size_t count, void* user) {
  auto& reply = *static_cast<HttpReply*>(user);
  const std::string_view line(data, size * count);
  const auto value = [&](std::string_view name) -> std::optional<std::string_view> {
    if (!starts_with_lower(line, name)) return std::nullopt;
    return trim(line.substr(name.size()));
  };
  if (line.starts_with("HTTP/")) {  // a new reply of the chain
    reply.content_length.reset();
    reply.range_begin.reset();
  } else if (const auto etag = value("etag:")) {
    if (reply.etag.empty()) reply.etag = unquote(*etag);
  } else if (const auto linked = value("x-linked-etag:")) {
    if (reply.linked_etag.empty()) reply.linked_etag = unquote(*linked);
  } else if (const auto linked_size = value("x-linked-size:")) {
    if (!reply.linked_size) reply.linked_size = to_size(*linked_size);
  } else if (const auto length = value("content-length:")) {
    reply.content_length = to_size(*length);
  } else if (const auto range = value("content-range:")) {
    if (range->starts_with("bytes ")) {
      reply.range_begin = to_size(range->substr(6, range->find('-') - 6));
    }
  }
  return size * count;
}

struct TextSink {
  std::string* out;
  uint64_t max_bytes;
  bool overflow = false;
};

size_t on_text(char* data, size_t size, size_t count, void* user) {
  auto& sink = *static_cast<TextSink*>(user);
  const size_t bytes = size * count;
  if (bytes > sink.max_bytes - sink.out->size()) {
    sink.overflow = true;
    return 0;
  }
  sink.out->append(data, bytes);
  return bytes;
}

struct FileSink {
  CURL* curl;
  HttpReply* reply;
  uint64_t offset;
  FunctionRef<bool(const char*, size_t)> write;
  bool stopped = false;    // by `write`
  bool restarted = false;  // the reply does not begin at `offset`
};

size_t on_file(char* data, size_t size, size_t count, void* user) {
  auto& sink = *static_cast<FileSink*>(user);
  long status = 0;
  curl_easy_getinfo(sink.curl, CURLINFO_RESPONSE_CODE, &status);
  if (status != 200 && status != 206) return size * count;  // the text of an error page
  const uint64_t begin = status == 206 ? sink.reply->range_begin.value_or(UINT64_MAX) : 0;
  if (begin != sink.offset) {
    sink.restarted = true;
    return 0;
  }
  if (!sink.write(data, size * count)) {
    sink.stopped = true;
    return 0;
  }
  return size * count;
}

bool is_transient(CURLcode code) {
  switch (code) {
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_COULDNT_CONNECT:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_COULDNT_RESOLVE_HOST:
      return true;
    default:
      return false;
  }
}

std::unexpected<Error> curl_error(const std::string& url, CURLcode code) {
  return fail(ErrorCode::kIo, concat(url, ": ", curl_easy_strerror(code)));
}

}  // namespace

Result<HttpClient> HttpClient::create(const std::string& token) {
  static const CURLcode initialized = curl_global_init(CURL_GLOBAL_DEFAULT);
  HttpClient client;
  client.curl_ = initialized == CURLE_OK ? curl_easy_init() : nullptr;
  if (client.curl_ == nullptr) return fail(ErrorCode::kIo, "libcurl does not start");
  if (!token.empty()) {
    const bool clean = std::ranges::all_of(
        token, [](char c) { return static_cast<unsigned char>(c) > ' ' && c != 0x7f; });
    if (!clean) {
      return fail(ErrorCode::kInvalidArgument, "HF_TOKEN: holds spaces or control characters");
    }
    client.headers_ = curl_slist_append(nullptr, concat("Authorization: Bearer ", token).c_str());
  }
  return client;
}

HttpClient::HttpClient(HttpClient&& other) noexcept
    : curl_(std::exchange(other.curl_, nullptr)),
      headers_(std::exchange(other.headers_, nullptr)) {}

HttpClient::~HttpClient() {
  if (headers_ != nullptr) curl_slist_free_all(static_cast<curl_slist*>(headers_));
  if (curl_ != nullptr) curl_easy_cleanup(curl_);
}

void HttpClient::prepare(const std::string& url, HttpReply& reply) {
  CURL* curl = curl_;
  curl_easy_reset(curl);  // keeps connections
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_USERAGENT, concat("ruvllm/", kVersion).c_str());  // copied
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, kMaxRedirects);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectTimeoutS);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, kStallTimeoutS);
  if (headers_ != nullptr) curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers_);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &reply);
}

Result<HttpReply> HttpClient::get(const std::string& url, uint64_t max_bytes) {
  HttpReply reply;
  prepare(url, reply);
  TextSink sink{&reply.body, max_bytes};
  curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, on_text);
  curl_easy_setopt(curl_, CURLOPT_WRITEDATA, &sink);
  const CURLcode code = curl_easy_perform(curl_);
  if (sink.overflow) {
    return fail(ErrorCode::kIo, concat(url, ": the reply is longer than ", max_bytes, " bytes"));
  }
  if (code != CURLE_OK) return curl_error(url, code);
  curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &reply.status);
  return reply;
}

Result<HttpReply> HttpClient::head(const std::string& url) {
  HttpReply reply;
  prepare(url, reply);
  curl_easy_setopt(curl_, CURLOPT_NOBODY, 1L);
  curl_easy_setopt(curl_, CURLOPT_FOLLOWLOCATION, 0L);
  const CURLcode code = curl_easy_perform(curl_);
  if (code != CURLE_OK) return curl_error(url, code);
  curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &reply.status);
  return reply;
}

Result<FetchEnd> HttpClient::fetch(const std::string& url, uint64_t offset, HttpReply& reply,
                                   FunctionRef<bool(const char*, size_t)> write) {
  reply = HttpReply();
  prepare(url, reply);
  FileSink sink{curl_, &reply, offset, write};
  curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, on_file);
  curl_easy_setopt(curl_, CURLOPT_WRITEDATA, &sink);
  const std::string range = concat(offset, "-");
  if (offset > 0) curl_easy_setopt(curl_, CURLOPT_RANGE, range.c_str());
  const CURLcode code = curl_easy_perform(curl_);
  curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &reply.status);
  if (sink.restarted) return FetchEnd::kRestarted;
  if (sink.stopped) return FetchEnd::kComplete;  // the caller knows why
  if (is_transient(code)) return FetchEnd::kCut;
  if (code != CURLE_OK) return curl_error(url, code);
  if (reply.status == 429 || reply.status >= 500) return FetchEnd::kCut;
  return FetchEnd::kComplete;
}

}  // namespace ruvllm

#endif  // RUVLLM_HAS_DOWNLOAD
