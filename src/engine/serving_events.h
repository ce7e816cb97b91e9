// EventQueue: the events of one request on their way from the engine's loop to its consumer.
//
// Holds at most `capacity` tokens. The loop never waits for a consumer: push() tells it when the
// queue has become full, and it then stops computing for this request until pop() says that half of
// the queue is free again. The memory is taken at construction.
//
// Threads: push and finish from the loop, the rest from the consumer.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "ruvllm/request.h"

namespace ruvllm {

class EventQueue {
 public:
  explicit EventQueue(size_t capacity) : tokens_(capacity) {}

  // False: this token was the last that finds room; no other may be pushed before a pop() has said
  // `has_room`.
  bool push(Token token);
  // The last event; always finds room.
  void finish(StreamEvent event);

  struct Popped {
    std::optional<StreamEvent> event;
    bool has_room = false;  // for a queue that was full: tell the loop
  };
  // Waits at most `timeout` (none: as long as it takes) unless the last event was delivered.
  Popped pop(std::optional<std::chrono::milliseconds> timeout);
  void set_notify(std::function<void()> notify);
  // After this has returned, `notify` is not called any more.
  void close();

 private:
  void announce();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Token> tokens_;  // a ring
  size_t first_ = 0;
  size_t size_ = 0;
  bool full_ = false;   // push() has said so
  bool armed_ = true;   // the consumer found nothing since the last notification
  bool ended_ = false;  // the last event was delivered
  std::optional<StreamEvent> last_;
  std::function<void()> notify_;
};

}  // namespace ruvllm
