// Runs a generation on its own thread and hands its events to a TokenStream through a bounded
// queue: a consumer that falls behind holds the generation up, never the memory.
//
// In builds without threads (WASM) the stream computes the next event when it is asked for one.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>

#include "ruvllm/request.h"

namespace ruvllm {

// Tells a generation to stop. cancel() from any thread, any number of times.
class CancelFlag {
 public:
  virtual ~CancelFlag() = default;
  virtual void cancel() {
    value_.store(true);
    if (hook_) hook_();
  }
  const std::atomic<bool>& value() const { return value_; }
  // Called by cancel(); set before any other thread knows the flag.
  void set_hook(std::function<void()> hook) { hook_ = std::move(hook); }

 protected:
  std::atomic<bool> value_{false};
  std::function<void()> hook_;
};

// Computes events one after the other: any number of Token, then one Done or Error, then nullopt.
class EventSource {
 public:
  virtual ~EventSource() = default;
  virtual std::optional<StreamEvent> next_event() = 0;
};

std::unique_ptr<TokenStream> make_token_stream(
    const std::function<std::unique_ptr<EventSource>(std::shared_ptr<CancelFlag>)>& make_source);

}  // namespace ruvllm
