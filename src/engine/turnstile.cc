#include "engine/turnstile.h"

#include <algorithm>
#include <utility>

namespace ruvllm {

Turnstile::Turn& Turnstile::Turn::operator=(Turn&& other) noexcept {
  std::swap(owner_, other.owner_);
  return *this;
}

void Turnstile::Turn::release() {
  if (owner_ != nullptr) std::exchange(owner_, nullptr)->leave();
}

#if defined(__wasm__)

Turnstile::Turn Turnstile::enter(const std::atomic<bool>& cancelled) {
  if (busy_ || cancelled.load()) return Turn();
  busy_ = true;
  return Turn(this);
}
void Turnstile::wake() {}
void Turnstile::leave() {
  busy_ = false;
}

#else

Turnstile::Turn Turnstile::enter(const std::atomic<bool>& cancelled) {
  std::unique_lock lock(mutex_);
  const uint64_t ticket = next_ticket_++;
  waiting_.push_back(ticket);
  changed_.wait(lock, [&] { return cancelled.load() || (!busy_ && waiting_.front() == ticket); });
  waiting_.erase(std::find(waiting_.begin(), waiting_.end(), ticket));
  if (cancelled.load()) {
    changed_.notify_all();  // the next in line may be first now
    return Turn();
  }
  busy_ = true;
  return Turn(this);
}

void Turnstile::wake() {
  const std::scoped_lock lock(mutex_);
  changed_.notify_all();
}

void Turnstile::leave() {
  const std::scoped_lock lock(mutex_);
  busy_ = false;
  changed_.notify_all();
}

#endif

}  // namespace ruvllm
