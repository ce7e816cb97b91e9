#include "server/exchange.h"

#include <charconv>
#include <utility>

#include "base/check.h"
#include "base/str.h"

namespace ruvllm::server {
namespace {

void append_hex(std::string& out, size_t value) {
  char buffer[16];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, 16).ptr;
  out.append(buffer, end);
}

}  // namespace

void Exchange::append_head(const HttpResponse& response, bool is_stream) {
  status_ = response.status;
  started_ = true;
  is_chunked_ = is_stream && request.version_minor == 1;
  if (is_stream && !is_chunked_) keep_alive_ = false;  // the end of the connection is the end
  output_ += concat("HTTP/1.1 ", response.status, " ", status_text(response.status), "\r\n");
  if (!response.content_type.empty()) {
    output_ += concat("Content-Type: ", response.content_type, "\r\n");
  }
  for (const auto& [name, value] : response.headers) output_ += concat(name, ": ", value, "\r\n");
  for (const auto& [name, value] : extra_headers) output_ += concat(name, ": ", value, "\r\n");
  if (!request_id.empty()) output_ += concat("X-Request-Id: ", request_id, "\r\n");
  output_ += "X-Content-Type-Options: nosniff\r\n";
  if (is_stream) {
    output_ += "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n";  // proxies must not hold it
    if (is_chunked_) output_ += "Transfer-Encoding: chunked\r\n";
  } else if (response.status != 204) {
    output_ += concat("Content-Length: ", response.body.size(), "\r\n");
  }
  if (!keep_alive_) {
    output_ += "Connection: close\r\n";
  } else if (request.version_minor == 0) {
    output_ += "Connection: keep-alive\r\n";
  }
  output_ += "\r\n";
}

void Exchange::respond(const HttpResponse& response) {
  {
    const std::scoped_lock lock(mutex_);
    if (ended_ || started_) return;
    append_head(response, false);
    if (request.method != "HEAD" && response.status != 204) output_ += response.body;
    total_bytes_ += response.body.size();
    ended_ = true;
  }
  wake_();
}

void Exchange::start_stream(std::string_view content_type) {
  const std::scoped_lock lock(mutex_);
  if (started_ || ended_) return;
  HttpResponse head;
  head.content_type = content_type;
  append_head(head, true);
}

void Exchange::write(std::string_view data) {
  if (data.empty()) return;
  {
    const std::scoped_lock lock(mutex_);
    RUVLLM_CHECK(started_ && !ended_);
    if (closed_) return;
    if (is_chunked_) {
      append_hex(output_, data.size());
      output_ += "\r\n";
    }
    output_ += data;
    if (is_chunked_) output_ += "\r\n";
    total_bytes_ += data.size();
    if (output_.size() + unsent_bytes_ > kBacklogHighBytes) was_high_ = true;
  }
  wake_();
}

void Exchange::finish() {
  {
    const std::scoped_lock lock(mutex_);
    RUVLLM_CHECK(started_);
    if (ended_) return;
    ended_ = true;
    if (is_chunked_) output_ += "0\r\n\r\n";
  }
  wake_();
}

bool Exchange::started() const {
  const std::scoped_lock lock(mutex_);
  return started_;
}
bool Exchange::ended() const {
  const std::scoped_lock lock(mutex_);
  return ended_;
}
bool Exchange::closed() const {
  const std::scoped_lock lock(mutex_);
  return closed_;
}
size_t Exchange::backlog_bytes() const {
  const std::scoped_lock lock(mutex_);
  return output_.size() + unsent_bytes_;
}
int Exchange::status() const {
  const std::scoped_lock lock(mutex_);
  return status_;
}
uint64_t Exchange::bytes_written() const {
  const std::scoped_lock lock(mutex_);
  return total_bytes_;
}
bool Exchange::keep_alive() const {
  const std::scoped_lock lock(mutex_);
  return keep_alive_;
}

void Exchange::on_change(std::function<void()> callback) {
  bool call_now = false;
  {
    const std::scoped_lock lock(mutex_);
    call_now = closed_;
    if (!closed_) on_change_ = callback;
  }
  if (call_now) callback();
}

Exchange::Output Exchange::take_output() {
  const std::scoped_lock lock(mutex_);
  Output out;
  out.bytes = std::exchange(output_, {});
  out.is_last = ended_;
  unsent_bytes_ += out.bytes.size();
  return out;
}

void Exchange::sent(size_t bytes) {
  std::function<void()> callback;
  {
    const std::scoped_lock lock(mutex_);
    unsent_bytes_ -= bytes;
    if (was_high_ && output_.size() + unsent_bytes_ < kBacklogLowBytes) {
      was_high_ = false;
      callback = on_change_;
    }
  }
  if (callback) callback();
}

void Exchange::close() {
  std::function<void()> callback;
  {
    const std::scoped_lock lock(mutex_);
    if (closed_) return;
    closed_ = true;
    output_.clear();
    callback = std::exchange(on_change_, nullptr);  // it may hold this exchange
  }
  if (callback) callback();
}

}  // namespace ruvllm::server
