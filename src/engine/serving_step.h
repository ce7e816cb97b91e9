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
#include "sched/step_plan.h"

namespace ruvllm {

// What is wanted of the rows of one sequence beyond the next token.
enum class RowUse : uint8_t { kNone, kScorePrompt, kHidden };

struct SequenceUse {
  RowUse rows = RowUse::kNone;         // when the plan wants all rows
  const LoraTable* adapter = nullptr;  // null: the base model
};

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
  ServingStep(ModelRunner& runner, bool share_prefixes)
      : runner_(runner), share_prefixes_(share_prefixes) {}

  // Makes the plan's copies, computes its rows. `use_of`: asked once per span.
  void run(const StepPlan& plan, FunctionRef<SequenceUse(SequenceId)> use_of);
  // In order of position for each sequence; valid until the next run().
  std::span<const StepOutput> outputs() const { return outputs_; }

 private:
  void add_span(const PlanSpan& span, SequenceUse use);

  ModelRunner& runner_;
  bool share_prefixes_;
  std::vector<SequenceSpan> sequences_;
  std::vector<uint8_t> regimes_;
  std::vector<const LoraTable*> tables_;  // of the sequences' adapters
  std::vector<int32_t> rows_;             // with logits, then with hidden states alone
  std::vector<int32_t> hidden_rows_;      // until the first are complete
  std::vector<StepOutput> outputs_;
  std::vector<StepOutput> hidden_outputs_;
};

}  // namespace ruvllm
