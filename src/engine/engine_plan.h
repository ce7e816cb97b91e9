// EnginePlan: what the serving backend decides once, when a model is loaded: how many KV pages, how
// many sequences, how many rows a step. Derived from what the operator asked, the model and the
// memory that is free; constant afterwards. Pure functions.
#pragma once

#include <cstdint>
#include <string>

#include "engine/model_runner.h"
#include "ruvllm/options.h"
#include "ruvllm/result.h"

namespace ruvllm {

struct EnginePlan {
  int32_t block_tokens = 0;
  int32_t num_blocks = 0;
  uint64_t block_bytes = 0;
  int32_t max_running = 0;      // sequences that take part in steps
  int32_t max_waiting = 0;      // beyond them
  int32_t max_step_rows = 0;    // the budget of a step
  int32_t max_chunk = 0;        // prompt rows of one sequence in a step; 0: no bound of its own
  int32_t max_scored_rows = 0;  // rows of a step with logits that are no next token's
  int64_t max_tokens = 0;       // longest sequence: of the model's context, what the pool can hold
  bool prefix_caching = true;
  bool share_prefixes = true;
  bool pace_prefill = true;  // keep steps short for those who decode
  int32_t check_every = 0;   // steps between checks that all pages add up (tests); 0: never

  int64_t pool_tokens() const { return int64_t{num_blocks} * block_tokens; }
  uint64_t pool_bytes() const { return static_cast<uint64_t>(num_blocks) * block_bytes; }
};

// One line naming the field that is wrong.
Status check_serving_config(const ServingConfig& config);

// What a plan needs to know of a model.
struct PlannedModel {
  int32_t block_tokens = 0;
  uint64_t block_bytes = 0;
  int64_t max_step_rows = 0;  // of its runner
  int64_t max_seq_len = 0;
  int64_t vocab_size = 0;
};

// `free_bytes`: what the machine has left after the weights; 0: not known. kOutOfMemory when not a
// single page fits.
Result<EnginePlan> make_engine_plan(const ServingConfig& config, const ModelRunner& runner,
                                    uint64_t free_bytes);
Result<EnginePlan> make_engine_plan(const ServingConfig& config, const PlannedModel& model,
                                    uint64_t free_bytes);

// One line when the pool holds less than one sequence of `max_seq_len` tokens; else empty.
std::string pool_limits_context(const EnginePlan& plan, int64_t max_seq_len);

// "KV pool: 4096 pages of 16 tokens (65536 tokens, 1.5 GiB), ..."
std::string describe(const EnginePlan& plan);

}  // namespace ruvllm
