// Exchange: one request and its answer, between the connection that carries them and the code that
// answers. It turns the answer into the bytes of HTTP/1.1 and holds them until they are sent.
//
// The answering side may be any thread: respond() once, or start_stream(), write()..., finish().
// The connection's side takes bytes with take_output() and reports sent() and close(). Neither side
// waits for the other. Memory: write() never refuses; a writer looks at backlog_bytes() and stops
// producing until it is told (on_change) that the backlog has gone down.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "server/http_message.h"

namespace ruvllm::server {

// A writer pauses above, and goes on below.
inline constexpr size_t kBacklogHighBytes = 1024 * 1024;
inline constexpr size_t kBacklogLowBytes = 256 * 1024;

class Exchange {
 public:
  using Clock = std::chrono::steady_clock;

  // `wake` tells the connection that there is output; any thread, must not block.
  Exchange(HttpRequest http_request, bool keep_alive, std::function<void()> wake)
      : request(std::move(http_request)),
        began(Clock::now()),
        keep_alive_(keep_alive),
        wake_(std::move(wake)) {}

  const HttpRequest request;
  const Clock::time_point began;
  std::string request_id;  // set by whoever accepts the request, before any other thread sees it
  std::string key_name;    // of the API key it came with; "": none was needed
  std::string cache_salt;  // of that key
  bool key_is_admin = false;
  size_t route = SIZE_MAX;  // index in the list of routes; SIZE_MAX: none
  Headers extra_headers;    // for the answer, whatever it is

  // --- the answering side ---
  void respond(const HttpResponse& response);
  // A stream of server-sent events; chunked for HTTP/1.1.
  void start_stream(std::string_view content_type);
  void write(std::string_view data);  // not empty
  void finish();
  bool started() const;
  bool ended() const;   // respond() or finish() was called
  bool closed() const;  // the client has gone, or the answer was sent
  size_t backlog_bytes() const;
  // Called on any thread when the client has gone or the backlog fell below kBacklogLowBytes. Set
  // it before start_stream(); called at once when the client has already gone.
  void on_change(std::function<void()> callback);
  int status() const;
  uint64_t bytes_written() const;

  // --- the connection's side ---
  struct Output {
    std::string bytes;
    bool is_last = false;  // the answer ends with these bytes
  };
  Output take_output();
  void sent(size_t bytes);
  // After the last byte was sent, or when the client has gone.
  void close();
  bool keep_alive() const;

 private:
  void append_head(const HttpResponse& response, bool is_stream);  // mutex_ held

  mutable std::mutex mutex_;
  bool keep_alive_;
  std::function<void()> wake_;
  std::function<void()> on_change_;
  std::string output_;
  size_t unsent_bytes_ = 0;  // taken by the connection, not yet sent
  uint64_t total_bytes_ = 0;
  int status_ = 0;
  bool is_chunked_ = false;
  bool started_ = false;
  bool ended_ = false;
  bool closed_ = false;
  bool was_high_ = false;
};

}  // namespace ruvllm::server
