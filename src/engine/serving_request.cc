#include "engine/serving_request.h"

#include "base/str.h"

namespace ruvllm {

Status ServingInbox::submit(std::span<const RequestPtr> requests) {
  const std::scoped_lock lock(mutex_);
  if (closed_) return fail(ErrorCode::kUnavailable, "the model was unloaded");
  size_t count = 0;
  for (const RequestPtr& request : requests) count += 1 + request->followers.size();
  if (num_requests_ + count > max_requests_) {
    return fail(ErrorCode::kUnavailable,
                concat("the queue is full (", num_requests_, " requests run and wait, at most ",
                       max_requests_, "); try again later"));
  }
  num_requests_ += count;
  submitted_.insert(submitted_.end(), requests.begin(), requests.end());
  num_unseen_.fetch_add(static_cast<int64_t>(count), std::memory_order_relaxed);
  changed_.notify_one();
  return {};
}

void ServingInbox::signal(const RequestPtr& request) {
  if (request->signalled.exchange(true)) return;
  const std::scoped_lock lock(mutex_);
  if (closed_) return;
  signalled_.push_back(request);
  changed_.notify_one();
}

bool ServingInbox::collect(bool wait, std::optional<ServingRequest::Clock::time_point> deadline,
                           std::vector<RequestPtr>& submitted, std::vector<RequestPtr>& signalled) {
  submitted.clear();
  signalled.clear();
  std::unique_lock lock(mutex_);
  const auto news = [&] { return closed_ || !submitted_.empty() || !signalled_.empty(); };
  if (wait && !news()) {
    if (deadline) {
      changed_.wait_until(lock, *deadline, news);
    } else {
      changed_.wait(lock, news);
    }
  }
  submitted.swap(submitted_);
  signalled.swap(signalled_);
  num_unseen_.store(0, std::memory_order_relaxed);
  return !closed_;
}

void ServingInbox::request_ended() {
  const std::scoped_lock lock(mutex_);
  --num_requests_;
}

void ServingInbox::close() {
  const std::scoped_lock lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

}  // namespace ruvllm
