#include "engine/token_stream.h"

#include <utility>

#if !defined(__wasm__)
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#endif

namespace ruvllm {
namespace {

#if defined(__wasm__)

class PulledStream final : public TokenStream {
 public:
  PulledStream(std::shared_ptr<CancelFlag> flag, std::unique_ptr<EventSource> source)
      : flag_(std::move(flag)), source_(std::move(source)) {}

  std::optional<StreamEvent> try_next() override { return source_->next_event(); }
  std::optional<StreamEvent> recv_timeout(std::chrono::milliseconds) override {
    return source_->next_event();
  }
  std::optional<StreamEvent> next() override { return source_->next_event(); }
  void cancel() override { flag_->cancel(); }

 private:
  std::shared_ptr<CancelFlag> flag_;
  std::unique_ptr<EventSource> source_;
};

using Stream = PulledStream;
using StreamFlag = CancelFlag;

#else

constexpr size_t kMaxQueuedEvents = 256;

class EventQueue final : public CancelFlag {
 public:
  void cancel() override {
    CancelFlag::cancel();
    const std::scoped_lock lock(mutex_);
    changed_.notify_all();
  }

  // Waits while the queue is full, but not once cancelled: then a token finds no room and is
  // dropped. The last event always finds room.
  void push(StreamEvent event) {
    const bool is_token = std::holds_alternative<Token>(event);
    std::unique_lock lock(mutex_);
    if (is_token) {
      changed_.wait(lock, [&] { return events_.size() < kMaxQueuedEvents || value_.load(); });
      if (events_.size() >= kMaxQueuedEvents) return;
    }
    events_.push_back(std::move(event));
    changed_.notify_all();
  }

  void end() {
    const std::scoped_lock lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

  // timeout: none to wait for as long as it takes.
  std::optional<StreamEvent> pop(std::optional<std::chrono::milliseconds> timeout) {
    std::unique_lock lock(mutex_);
    const auto ready = [&] { return !events_.empty() || ended_; };
    if (timeout) {
      changed_.wait_for(lock, *timeout, ready);
    } else {
      changed_.wait(lock, ready);
    }
    if (events_.empty()) return std::nullopt;
    StreamEvent event = std::move(events_.front());
    events_.pop_front();
    changed_.notify_all();
    return event;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<StreamEvent> events_;
  bool ended_ = false;
};

class ThreadedStream final : public TokenStream {
 public:
  ThreadedStream(std::shared_ptr<EventQueue> queue, std::unique_ptr<EventSource> source)
      : queue_(std::move(queue)), thread_([queue = queue_, source = std::move(source)]() mutable {
          while (auto event = source->next_event()) queue->push(*std::move(event));
          source.reset();
          queue->end();
        }) {}

  ~ThreadedStream() override {
    queue_->cancel();
    thread_.join();
  }

  std::optional<StreamEvent> try_next() override {
    return queue_->pop(std::chrono::milliseconds(0));
  }
  std::optional<StreamEvent> recv_timeout(std::chrono::milliseconds timeout) override {
    return queue_->pop(timeout);
  }
  std::optional<StreamEvent> next() override { return queue_->pop(std::nullopt); }
  void cancel() override { queue_->cancel(); }

 private:
  std::shared_ptr<EventQueue> queue_;
  std::thread thread_;
};

using Stream = ThreadedStream;
using StreamFlag = EventQueue;

#endif

}  // namespace

std::unique_ptr<TokenStream> make_token_stream(
    const std::function<std::unique_ptr<EventSource>(std::shared_ptr<CancelFlag>)>& make_source) {
  auto flag = std::make_shared<StreamFlag>();
  auto source = make_source(flag);
  return std::make_unique<Stream>(std::move(flag), std::move(source));
}

}  // namespace ruvllm
