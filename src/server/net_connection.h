// Connection: one client. It reads requests one after the other, hands each to the handler, sends
// its answer, and goes on or closes. While an answer is being made it keeps reading, so that a
// client that goes away is noticed at once; what a pipelining client sends ahead is kept up to a
// bound. Everything on the I/O thread; it keeps itself alive while a call is outstanding.
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <memory>
#include <string>

#include "server/http_server.h"
#include "server/net_transport.h"

namespace ruvllm::server {

// What all connections of a server share. Counters are read by other threads.
struct NetShared {
  NetOptions options;
  HttpHandler* handler = nullptr;
  std::atomic<bool> draining{false};
  std::atomic<int64_t> num_connections{0};
  std::atomic<uint64_t> num_refused{0};
  std::atomic<int64_t> num_busy{0};
  uint64_t bodies_bytes = 0;  // reserved by requests
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Clock = std::chrono::steady_clock;

  Connection(boost::asio::any_io_executor executor, std::unique_ptr<Transport> transport,
             std::shared_ptr<NetShared> shared);
  ~Connection();

  void start();
  // Called about once a second: closes the connection when it is over a time limit.
  void check_time(Clock::time_point now);
  void close_if_idle();
  void close();

 private:
  void read();
  void on_read(const boost::system::error_code& error, size_t size);
  void progress();
  void on_head();
  void begin_exchange(const HttpResponse* refusal);
  void pump_output();
  void write();
  void on_write(const boost::system::error_code& error, size_t size);
  void finish_exchange(bool aborted);
  void linger();
  bool reserve_body();
  void release_body();
  void set_deadline(std::chrono::seconds from_now) { deadline_ = Clock::now() + from_now; }

  boost::asio::any_io_executor executor_;
  std::unique_ptr<Transport> transport_;
  std::shared_ptr<NetShared> shared_;
  RequestParser parser_;
  std::array<char, 8192> read_buffer_;
  std::string input_;  // read, not yet parsed
  bool reading_ = false;
  bool read_ended_ = false;
  bool head_seen_ = false;
  std::shared_ptr<Exchange> exchange_;  // the request being answered
  std::shared_ptr<Connection> self_;    // while there is one, even when no call is outstanding
  std::shared_ptr<std::atomic<bool>> wake_pending_;
  std::string write_buffer_;
  size_t write_position_ = 0;
  bool writing_ = false;
  bool write_is_exchange_ = false;
  bool write_is_last_ = false;
  uint64_t reserved_bytes_ = 0;
  Clock::time_point deadline_ = Clock::time_point::max();
  Clock::time_point write_deadline_ = Clock::time_point::max();
  bool lingering_ = false;
  bool closed_ = false;
};

}  // namespace ruvllm::server
