// ServingStream: a consumer's end of one generation of the serving backend. Destroying it cancels
// the generation; it may outlive the backend.
#pragma once

#include <memory>
#include <utility>

#include "engine/serving_request.h"

namespace ruvllm {

class ServingStream final : public TokenStream {
 public:
  ServingStream(RequestPtr request, std::shared_ptr<ServingInbox> inbox)
      : request_(std::move(request)), inbox_(std::move(inbox)) {}
  ~ServingStream() override {
    request_->events.close();
    cancel();
  }

  std::optional<StreamEvent> try_next() override { return pop(std::chrono::milliseconds(0)); }
  std::optional<StreamEvent> recv_timeout(std::chrono::milliseconds timeout) override {
    return pop(timeout);
  }
  std::optional<StreamEvent> next() override { return pop(std::nullopt); }
  void cancel() override {
    if (!request_->cancelled.exchange(true)) inbox_->signal(request_);
  }
  bool set_notify(std::function<void()> notify) override {
    request_->events.set_notify(std::move(notify));
    return true;
  }

 private:
  std::optional<StreamEvent> pop(std::optional<std::chrono::milliseconds> timeout) {
    EventQueue::Popped popped = request_->events.pop(timeout);
    if (popped.has_room) inbox_->signal(request_);
    return std::move(popped.event);
  }

  RequestPtr request_;
  std::shared_ptr<ServingInbox> inbox_;
};

}  // namespace ruvllm
