// EdgeRun: one generation on an EdgeModel, event by event: waits for its turn, computes the prompt,
// then a token at a time. It stops within one step of its flag being cancelled.
//
// Holds the model alive. One thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "engine/edge_model.h"
#include "engine/generation.h"
#include "engine/token_stream.h"

namespace ruvllm {

class EdgeRun final : public EventSource {
 public:
  EdgeRun(std::shared_ptr<EdgeModel> model, GenerationSetup setup, SequenceAdapter adapter,
          std::shared_ptr<CancelFlag> flag);

  std::optional<StreamEvent> next_event() override;

 private:
  Status compute_logits();
  StreamEvent finish();

  std::shared_ptr<EdgeModel> model_;
  Generation generation_;
  SequenceAdapter adapter_;
  std::optional<GateRecorder> recorder_;  // when the gates are asked for
  std::shared_ptr<CancelFlag> flag_;
  Turnstile::Turn turn_;
  std::span<const float> logits_;  // of the next token; the runner's memory
  bool started_ = false;
  bool ended_ = false;
};

}  // namespace ruvllm
