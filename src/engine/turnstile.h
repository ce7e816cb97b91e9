// Turnstile: one generation at a time; the others wait in the order they came. A waiting one can be
// cancelled. Any thread. In builds without threads (WASM) nothing ever waits.
#pragma once

#include <atomic>
#include <cstdint>

#if !defined(__wasm__)
#include <condition_variable>
#include <deque>
#include <mutex>
#endif

namespace ruvllm {

class Turnstile {
 public:
  // Holds the turn until it is destroyed.
  class Turn {
   public:
    Turn() = default;
    Turn(Turn&& other) noexcept : owner_(other.owner_) { other.owner_ = nullptr; }
    Turn& operator=(Turn&& other) noexcept;
    ~Turn() { release(); }
    explicit operator bool() const { return owner_ != nullptr; }
    void release();

   private:
    friend class Turnstile;
    explicit Turn(Turnstile* owner) : owner_(owner) {}
    Turnstile* owner_ = nullptr;
  };

  // Waits for the turn; an empty Turn when `cancelled` became true first. Whoever sets the flag
  // calls wake().
  Turn enter(const std::atomic<bool>& cancelled);
  void wake();

 private:
  void leave();

#if !defined(__wasm__)
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<uint64_t> waiting_;  // tickets, first come first
  uint64_t next_ticket_ = 0;
#endif
  bool busy_ = false;
};

}  // namespace ruvllm
