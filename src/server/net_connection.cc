#include "server/net_connection.h"

#include <boost/asio/post.hpp>
#include <utility>

namespace ruvllm::server {
namespace {

constexpr size_t kMaxAheadBytes = 64 * 1024;  // of requests that wait behind the present one
constexpr std::chrono::seconds kLinger{2};
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

}  // namespace

Connection::Connection(boost::asio::any_io_executor executor, std::unique_ptr<Transport> transport,
                       std::shared_ptr<NetShared> shared)
    : executor_(std::move(executor)),
      transport_(std::move(transport)),
      shared_(std::move(shared)),
      parser_(shared_->options.limits),
      wake_pending_(std::make_shared<std::atomic<bool>>(false)) {
  shared_->num_connections.fetch_add(1, std::memory_order_relaxed);
}

Connection::~Connection() {
  release_body();
  shared_->num_connections.fetch_sub(1, std::memory_order_relaxed);
}

void Connection::start() {
  set_deadline(shared_->options.head_timeout);
  transport_->handshake([self = shared_from_this()](const auto& error, size_t) {
    if (error)
      self->close();
    else
      self->read();
  });
}

void Connection::check_time(Clock::time_point now) {
  if (closed_) return;
  if (now >= write_deadline_ || now >= deadline_) close();
}

void Connection::close_if_idle() {
  if (exchange_ == nullptr && !parser_.began() && !lingering_) close();
}

void Connection::close() {
  if (closed_) return;
  closed_ = true;
  transport_->close();
  if (exchange_ != nullptr) finish_exchange(/*aborted=*/true);
}

void Connection::read() {
  if (closed_ || reading_ || read_ended_) return;
  if (exchange_ != nullptr && input_.size() >= kMaxAheadBytes) return;
  reading_ = true;
  transport_->read_some(
      read_buffer_.data(), read_buffer_.size(),
      [self = shared_from_this()](const auto& error, size_t size) { self->on_read(error, size); });
}

void Connection::on_read(const boost::system::error_code& error, size_t size) {
  reading_ = false;
  if (closed_) return;
  if (error) {
    read_ended_ = true;
    // A client that has closed its side gets an answer that is already made; it does not wait for
    // one that is not.
    const bool answer_is_made = exchange_ != nullptr && exchange_->ended();
    if (!answer_is_made) close();
    return;
  }
  if (lingering_) return read();  // dropped
  input_.append(read_buffer_.data(), size);
  progress();
  read();
}

// Feeds the parser until a request is complete or more bytes are needed.
void Connection::progress() {
  while (!closed_ && !lingering_ && exchange_ == nullptr && !input_.empty()) {
    const bool was_idle = !parser_.began();
    const size_t used = parser_.feed(input_);
    input_.erase(0, used);
    if (was_idle && parser_.began()) set_deadline(shared_->options.head_timeout);
    if (parser_.failed()) {
      const HttpResponse answer =
          shared_->handler->on_malformed(parser_.error_status(), parser_.error_message());
      begin_exchange(&answer);
      return;
    }
    if (parser_.head_complete() && !head_seen_) on_head();
    if (exchange_ == nullptr && parser_.complete()) begin_exchange(nullptr);
    if (used == 0 && exchange_ == nullptr) return;
  }
}

void Connection::on_head() {
  head_seen_ = true;
  if (std::optional<HttpResponse> refusal = shared_->handler->on_head(parser_.request())) {
    return begin_exchange(&*refusal);
  }
  if (parser_.body_bytes_missing() == 0) return;
  if (!reserve_body()) {
    HttpResponse answer =
        shared_->handler->on_malformed(503, "too many large requests at once, try again later");
    answer.headers.emplace_back("Retry-After", "1");
    return begin_exchange(&answer);
  }
  set_deadline(shared_->options.body_timeout);
  if (parser_.expects_continue() && input_.empty()) {
    write_buffer_ = kContinue;
    write_position_ = 0;
    write_is_exchange_ = write_is_last_ = false;
    write();
  }
}

bool Connection::reserve_body() {
  const HttpLimits& limits = shared_->options.limits;
  const bool is_chunked = parser_.request().header("Transfer-Encoding") != nullptr;
  const uint64_t bytes = is_chunked ? limits.max_body_bytes : parser_.body_bytes_missing();
  if (bytes > shared_->options.max_bodies_bytes - shared_->bodies_bytes) return false;
  shared_->bodies_bytes += bytes;
  reserved_bytes_ = bytes;
  return true;
}

void Connection::release_body() {
  shared_->bodies_bytes -= std::exchange(reserved_bytes_, 0);
}

// With a refusal the request is answered at once; if its body has not been read, the connection
// cannot be used any more.
void Connection::begin_exchange(const HttpResponse* refusal) {
  const bool is_whole = parser_.complete();
  const bool keep_alive =
      is_whole && parser_.keep_alive() && !shared_->draining.load(std::memory_order_relaxed);
  deadline_ = Clock::time_point::max();
  head_seen_ = false;
  const auto wake = [pending = wake_pending_, executor = executor_, weak = weak_from_this()] {
    if (pending->exchange(true)) return;  // one is on its way
    boost::asio::post(executor, [pending, weak] {
      pending->store(false);
      if (const auto self = weak.lock()) self->pump_output();
    });
  };
  self_ = shared_from_this();
  shared_->num_busy.fetch_add(1);
  exchange_ = std::make_shared<Exchange>(parser_.take_request(), keep_alive, wake);
  if (refusal != nullptr) {
    exchange_->respond(*refusal);
  } else {
    shared_->handler->on_request(exchange_);
  }
}

void Connection::pump_output() {
  if (closed_ || writing_ || exchange_ == nullptr) return;
  Exchange::Output output = exchange_->take_output();
  write_is_last_ = output.is_last;
  if (output.bytes.empty()) {
    if (write_is_last_) finish_exchange(/*aborted=*/false);
    return;
  }
  write_buffer_ = std::move(output.bytes);
  write_position_ = 0;
  write_is_exchange_ = true;
  write();
}

void Connection::write() {
  writing_ = true;
  write_deadline_ = Clock::now() + shared_->options.write_timeout;
  transport_->write_some(
      write_buffer_.data() + write_position_, write_buffer_.size() - write_position_,
      [self = shared_from_this()](const auto& error, size_t size) { self->on_write(error, size); });
}

void Connection::on_write(const boost::system::error_code& error, size_t size) {
  writing_ = false;
  write_deadline_ = Clock::time_point::max();
  if (closed_) return;
  if (error) return close();
  write_position_ += size;
  if (write_is_exchange_ && exchange_ != nullptr) exchange_->sent(size);
  if (write_position_ < write_buffer_.size()) return write();
  write_buffer_.clear();
  if (write_buffer_.capacity() > 64 * 1024) write_buffer_.shrink_to_fit();
  if (write_is_exchange_ && write_is_last_) return finish_exchange(/*aborted=*/false);
  pump_output();
}

void Connection::finish_exchange(bool aborted) {
  const std::shared_ptr<Connection> keep = std::move(self_);  // until the end of this function
  const std::shared_ptr<Exchange> exchange = std::move(exchange_);
  exchange_ = nullptr;
  shared_->num_busy.fetch_sub(1);
  exchange->close();
  shared_->handler->on_done(*exchange, aborted);
  release_body();
  if (closed_) return;
  if (read_ended_) return close();
  if (!exchange->keep_alive() || shared_->draining.load(std::memory_order_relaxed)) {
    return linger();
  }
  set_deadline(input_.empty() ? shared_->options.idle_timeout : shared_->options.head_timeout);
  // Not from here: a client that pipelines many requests must not deepen the stack.
  boost::asio::post(executor_, [self = shared_from_this()] {
    self->progress();
    self->read();
  });
}

// Closes so that the client gets the answer: bytes it still sends are read and dropped for a while
// (closing a socket with unread bytes would reset the connection and lose the answer).
void Connection::linger() {
  lingering_ = true;
  input_.clear();
  transport_->shutdown_send();
  set_deadline(kLinger);
  read();
}

}  // namespace ruvllm::server
