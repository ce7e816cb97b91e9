// StepPlan: what one step computes, from the scheduler to the runner. A value; the spans point into
// the scheduler and the plan and are valid until the scheduler is told that the step is done.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv/kv_cache.h"
#include "sched/request_state.h"

namespace ruvllm {

// Consecutive rows of one sequence in one KV set.
struct PlanSpan {
  SequenceId sequence = kNoSequence;
  int32_t slot = 0;  // of the sequence; below SchedulerConfig::max_sequences()
  int32_t first_row = 0;
  int32_t num_rows = 0;
  int64_t first_position = 0;
  uint8_t phase = 0;
  uint8_t kv_set = 0;
  uint8_t regime = 0;         // rotary
  int32_t adapter_slot = -1;  // -1: none
  bool samples = false;       // the last row's output gives the sequence's next token
  bool all_rows = false;      // the output of every row is wanted
  std::span<const int32_t> block_table;
};

struct StepPlan {
  std::vector<int32_t> ids;  // [T]
  std::vector<PlanSpan> spans;
  std::vector<BlockCopy> copies;      // to be made before the step, in this order
  std::vector<SequenceId> preempted;  // went back to the queue
  int32_t num_decode_rows = 0;
  int32_t num_prefill_rows = 0;

  bool empty() const { return spans.empty(); }
  int32_t num_rows() const { return static_cast<int32_t>(ids.size()); }
  void clear();
};

inline void StepPlan::clear() {
  ids.clear();
  spans.clear();
  copies.clear();
  preempted.clear();
  num_decode_rows = 0;
  num_prefill_rows = 0;
}

}  // namespace ruvllm
