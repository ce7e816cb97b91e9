#include "engine/edge_run.h"

#include <chrono>
#include <utility>

namespace ruvllm {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

EdgeRun::EdgeRun(std::shared_ptr<EdgeModel> model, GenerationSetup setup, SequenceAdapter adapter,
                 std::shared_ptr<CancelFlag> flag)
    : model_(std::move(model)),
      generation_(std::move(setup)),
      adapter_(std::move(adapter)),
      flag_(std::move(flag)) {
  flag_->set_hook([model = model_] { model->turnstile.wake(); });
  model_->remember(flag_);
}

Status EdgeRun::compute_logits() {
  Timings& timings = generation_.timings();
  const auto start = std::chrono::steady_clock::now();
  KvSession& session = model_->session;
  if (!started_) {
    started_ = true;
    session.set_adapter(std::move(adapter_));
    const XLoraGate* gate = session.adapter().xlora.get();
    if (gate != nullptr && generation_.gate_detail() != GateDetail::kNone) {
      recorder_.emplace(gate->shared_xlora(), generation_.gate_detail());
      session.set_gate_recorder(*recorder_);
    }
    RUVLLM_ASSIGN(logits_, session.prefill(generation_.prompt(), flag_->value()));
    timings.prefill_tokens = session.num_tokens() - session.num_reused();
    timings.prefill_seconds = seconds_since(start);
    return {};
  }
  RUVLLM_ASSIGN(logits_, session.advance(generation_.last_id(), flag_->value()));
  timings.decode_tokens += 1;
  timings.decode_seconds += seconds_since(start);
  return {};
}

StreamEvent EdgeRun::finish() {
  ended_ = true;
  turn_.release();
  if (recorder_) generation_.result().gates = recorder_->take();
  return Done{generation_.take_result()};
}

std::optional<StreamEvent> EdgeRun::next_event() {
  if (ended_) return std::nullopt;
  if (!turn_ && !generation_.finished()) {
    turn_ = model_->turnstile.enter(flag_->value());
    if (!turn_) generation_.end(FinishReason::kCancelled);
  }
  if (generation_.finished()) return finish();
  if (const Status status = compute_logits(); !status) {
    if (flag_->value().load()) {
      generation_.end(FinishReason::kCancelled);
      return finish();
    }
    ended_ = true;
    turn_.release();
    return status.error();
  }
  const auto start = std::chrono::steady_clock::now();
  Result<Token> token = generation_.step(logits_);
  generation_.timings().decode_seconds += seconds_since(start);
  if (!token) {
    ended_ = true;
    turn_.release();
    return token.error();
  }
  return *std::move(token);
}

}  // namespace ruvllm
