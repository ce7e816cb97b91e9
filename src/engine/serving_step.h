// ServingStep: from a StepPlan to the runner's ForwardBatch and back: which rows' outputs are
// wanted, whose they are, and what they gave. Rows of X-LoRA's two passes stand in the same sweep
// as all others; the gates that rows of pass 1 give are computed behind it and kept for pass 2.
// Keeps its memory from step to step.
//
// One thread. Cannot fail.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/function_ref.h"
#include "engine/gate_recorder.h"
#include "engine/model_runner.h"
#include "engine/sequence_adapter.h"
#include "engine/xlora_rows.h"
#include "sched/step_plan.h"

namespace ruvllm {

// What is wanted of the rows of one sequence beyond the next token.
enum class RowUse : uint8_t { kNone, kScorePrompt, kHidden };

struct SequenceUse {
  RowUse rows = RowUse::kNone;               // when the plan wants all rows
  const SequenceAdapter* adapter = nullptr;  // null: the base model
  XLoraRows* xlora_rows = nullptr;           // when that is X-LoRA
  GateRecorder* recorder = nullptr;          // hears of its gates; null: nobody
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
  struct Part {  // a span of the plan, where it stands in this step
    const PlanSpan* span = nullptr;
    SequenceUse use;
    int32_t first_row = 0;
    int32_t first_layer = 0;  // above 0: goes on with what pass 1 left behind

    XLoraGate* gate() const { return use.adapter != nullptr ? use.adapter->xlora.get() : nullptr; }
    bool is_pass1() const { return gate() != nullptr && span->phase == 0; }
    bool is_pass2() const { return gate() != nullptr && span->phase == 1; }
  };

  void order_parts(const StepPlan& plan, FunctionRef<SequenceUse(SequenceId)> use_of);
  void add_part(const StepPlan& plan, const Part& part);
  void add_outputs(const Part& part);
  void prepare_gates();
  void fill_gates(const Part& part);
  void add_pass1_rows();
  void route(ForwardOutput output, int64_t first_output);
  MatrixF32 stream_rows(const Part& part);

  ModelRunner& runner_;
  bool share_prefixes_;
  std::vector<Part> parts_;
  std::vector<int32_t> ids_;
  std::vector<SequenceSpan> sequences_;
  std::vector<uint8_t> regimes_;
  std::vector<const LoraTable*> tables_;  // of the sequences' adapters
  std::vector<int32_t> rows_;             // with logits, then with hidden states, then of pass 1
  std::vector<int32_t> hidden_rows_;      // until the first are complete
  std::vector<StepOutput> outputs_;
  std::vector<StepOutput> hidden_outputs_;
  // X-LoRA's; no memory before the first step that has it.
  std::vector<const Part*> pass1_;  // by gate
  std::vector<StreamRows> resumed_;
  std::vector<StreamRows> taps_;
  std::vector<float> gates_;   // [T, num_gates_] the rows' own
  std::vector<float> routed_;  // [rows of pass 1, num_gates of one X-LoRA] what comes out
  std::vector<float> stream_;  // [T, E]
  int64_t num_gates_ = 0;      // of the X-LoRA that has most in this step; 0: none in it
};

}  // namespace ruvllm
