// RequestParser: the bytes of a connection to one HTTP/1.1 request at a time, strictly.
//
// Whatever two programs could read in two ways is refused (request smuggling): a bare line feed,
// white space before a colon, folded lines, control characters, more than one Host or
// Content-Length, Content-Length beside Transfer-Encoding, any transfer coding but "chunked",
// chunk sizes that are not plain hexadecimal. Sizes are bounded before anything is kept.
//
// Use: feed() bytes until head_complete(), decide, feed() on until complete(), take_request(), and
// begin again with the bytes that feed() left. After failed() the connection cannot be used any
// more. One thread; no I/O, no clock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "server/http_message.h"

namespace ruvllm::server {

struct HttpLimits {
  size_t max_head_bytes = 64 * 1024;
  size_t max_headers = 128;
  size_t max_body_bytes = 2 * 1024 * 1024;
};

class RequestParser {
 public:
  explicit RequestParser(const HttpLimits& limits) : limits_(limits) {}

  // Takes bytes and returns how many; fewer than given only when the head has just become complete
  // (call again for the body), when the request is complete, or on failure.
  size_t feed(std::string_view bytes);

  bool began() const { return state_ != State::kHead || !head_.empty(); }
  bool head_complete() const { return state_ >= State::kLength; }
  bool complete() const { return state_ == State::kComplete; }
  bool failed() const { return state_ == State::kFailed; }
  // Of a failure: the status of the answer and one line for a person.
  int error_status() const { return error_status_; }
  const std::string& error_message() const { return error_message_; }

  // From head_complete() on; the body is there when complete().
  const HttpRequest& request() const { return request_; }
  // Ready for the next request.
  HttpRequest take_request();
  // The client may send another request on this connection.
  bool keep_alive() const { return keep_alive_; }
  bool expects_continue() const { return expects_continue_; }
  // Bytes of the body that are announced but not here yet; for a chunked body: unknown, 1.
  uint64_t body_bytes_missing() const;

 private:
  // In this order: head_complete() is a comparison.
  enum class State : uint8_t {
    kHead,
    kFailed,
    kLength,
    kChunkSize,
    kChunkData,
    kChunkEnd,
    kTrailer,
    kComplete
  };

  size_t feed_head(std::string_view bytes);
  size_t feed_length(std::string_view bytes);
  size_t feed_chunked(std::string_view bytes);
  bool take_line(std::string_view bytes, size_t& used, size_t max_bytes);
  void parse_head(std::string_view head);
  bool parse_request_line(std::string_view line);
  bool parse_header(std::string_view line);
  bool check_framing();
  void chunk_size_line();
  bool fail(int status, std::string message);

  HttpLimits limits_;
  State state_ = State::kHead;
  std::string head_;
  HttpRequest request_;
  bool keep_alive_ = true;
  bool expects_continue_ = false;
  uint64_t missing_ = 0;      // of the body or of the chunk
  std::string line_;          // a chunk's size line, or a trailer
  size_t trailer_bytes_ = 0;  // so far
  int error_status_ = 0;
  std::string error_message_;
};

}  // namespace ruvllm::server
