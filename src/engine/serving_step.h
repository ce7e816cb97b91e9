// ServingStep: from a StepPlan to the runner's ForwardBatch and back: which rows' outputs are
// wanted, whose they are, and what they gave. Keeps its memory from step to step.
//
// One thread. Cannot fail.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/function_ref.h"
#include "engine/model_runner.h"
#include "engine/sequence_adapter.h"
#include "sched/step_plan.h"

namespace ruvllm {

// What is wanted of the rows of one span beyond the next token.
enum class RowUse : uint8_t { kNone, kScorePrompt, kHidden };

// One row's output.
struct StepOutput {
  SequenceId sequence = kNoSequence;
  int64_t position = 0;
  bool samples = false;           // these logits give the sequence's next token
  const float* logits = nullptr;  // [V] or null
  const float* hidden = nullptr;  // [E] or null
};

class ServingStep {
 public:
  ServingStep(ModelRunner& runner, SequenceAdapter adapter, bool share_prefixes)
      : runner_(runner), adapter_(std::move(adapter)), share_prefixes_(share_prefixes) {}

  // Makes the plan's copies, computes its rows. `use_of` says what a sequence with all_rows wants.
  void run(const StepPlan& plan, FunctionRef<RowUse(SequenceId)> use_of);
  // In order of position for each sequence; valid until the next run().
  std::span<const StepOutput> outputs() const { return outputs_; }

 private:
  void add_span(const PlanSpan& span, RowUse use);

  ModelRunner& runner_;
  SequenceAdapter adapter_;
  bool share_prefixes_;
  std::vector<SequenceSpan> sequences_;
  std::vector<uint8_t> regimes_;
  std::vector<const LoraTable*> tables_;
  std::vector<int32_t> rows_;         // with logits, then with hidden states alone
  std::vector<int32_t> hidden_rows_;  // until the first are complete
  std::vector<StepOutput> outputs_;
  std::vector<StepOutput> hidden_outputs_;
};

}  // namespace ruvllm
