#include "engine/serving_events.h"

#include <utility>

#include "base/check.h"

namespace ruvllm {

// Called with the lock held, so that close() can promise silence.
void EventQueue::announce() {
  changed_.notify_all();
  if (!armed_ || !notify_) return;
  armed_ = false;
  notify_();
}

bool EventQueue::push(Token token) {
  const std::scoped_lock lock(mutex_);
  RUVLLM_CHECK(size_ < tokens_.size(), "a token for a full queue");
  tokens_[(first_ + size_) % tokens_.size()] = std::move(token);
  ++size_;
  full_ = size_ == tokens_.size();
  announce();
  return !full_;
}

void EventQueue::finish(StreamEvent event) {
  const std::scoped_lock lock(mutex_);
  last_ = std::move(event);
  announce();
}

EventQueue::Popped EventQueue::pop(std::optional<std::chrono::milliseconds> timeout) {
  std::unique_lock lock(mutex_);
  const auto ready = [&] { return size_ > 0 || last_.has_value() || ended_; };
  if (!ready()) {
    if (!timeout) {
      changed_.wait(lock, ready);
    } else if (timeout->count() > 0) {
      changed_.wait_for(lock, *timeout, ready);
    }
  }
  Popped popped;
  if (size_ > 0) {
    popped.event = std::move(tokens_[first_]);
    first_ = (first_ + 1) % tokens_.size();
    --size_;
    popped.has_room = full_ && size_ <= tokens_.size() / 2;
    if (popped.has_room) full_ = false;
  } else if (last_) {
    popped.event = std::move(*last_);
    last_.reset();
    ended_ = true;
  } else {
    armed_ = true;
  }
  return popped;
}

void EventQueue::set_notify(std::function<void()> notify) {
  const std::scoped_lock lock(mutex_);
  notify_ = std::move(notify);
  if (size_ > 0 || last_) announce();
}

void EventQueue::close() {
  const std::scoped_lock lock(mutex_);
  notify_ = nullptr;
}

}  // namespace ruvllm
