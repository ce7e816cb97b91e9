// The little HTTP that downloading needs, over libcurl: a text, a file's headers, a file's bytes
// from an offset on. Compiled only with RUVLLM_HAS_DOWNLOAD.
//
// http and https only; at most 5 redirects; a transfer that stands still for 60 s is cut. The
// bearer token is dropped by redirects to another host (libcurl's rule). One thread per client.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/function_ref.h"
#include "ruvllm/result.h"

namespace ruvllm {

struct HttpReply {
  long status = 0;
  std::string body;
  // Of all replies in a chain of redirects, the first that has the header; unquoted.
  std::string etag;
  std::string linked_etag;  // X-Linked-Etag: the hash of the file behind a redirect
  std::optional<uint64_t> linked_size;
  std::optional<uint64_t> content_length;  // of the last reply
  std::optional<uint64_t> range_begin;     // Content-Range of the last reply
};

// How a transfer ended that is no clear failure.
enum class FetchEnd : uint8_t {
  kComplete,
  kCut,        // the connection broke or the server is busy: going on later may work
  kRestarted,  // the server sends the file from its start, not from the offset asked for
};

class HttpClient {
 public:
  // `token` may be "". It must not hold control characters.
  static Result<HttpClient> create(const std::string& token);
  HttpClient(HttpClient&& other) noexcept;
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  ~HttpClient();

  // A body of at most max_bytes. An HTTP error is a reply, not a failure.
  Result<HttpReply> get(const std::string& url, uint64_t max_bytes);
  // Headers only; redirects are not followed.
  Result<HttpReply> head(const std::string& url);
  // Bytes from `offset` to `write`, which returns false to stop (a full disk). `reply` gets the
  // status; anything but 200 and 206 writes nothing.
  Result<FetchEnd> fetch(const std::string& url, uint64_t offset, HttpReply& reply,
                         FunctionRef<bool(const char*, size_t)> write);

 private:
  HttpClient() = default;
  void prepare(const std::string& url, HttpReply& reply);

  void* curl_ = nullptr;     // CURL*
  void* headers_ = nullptr;  // curl_slist*
};

}  // namespace ruvllm
