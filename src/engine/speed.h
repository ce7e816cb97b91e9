// Times a model's steps: prefill and decode, for any batch and context depth. The tokens are
// arbitrary; the work is that of real ones. What stands before `depth` is taken from the KV cache
// as it is (zeros at first), so a deep context costs no prefill.
//
// One thread; uses the runner's KV blocks from the first on.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/model_runner.h"

namespace ruvllm {

struct SpeedCase {
  int64_t num_tokens = 128;  // prefilled, or decoded one after the other, per sequence
  int64_t batch = 1;
  int64_t depth = 0;  // tokens each sequence has before
  bool prefill = false;
};

// Seconds of one run; kInvalidArgument when the case does not fit the model's context or step.
Result<double> time_case(ModelRunner& runner, const SpeedCase& speed_case);

// Bytes of weights and KV that one decode step of the case reads, at its middle.
double decode_bytes_per_step(const ModelRunner& runner, const SpeedCase& speed_case);

// Multiply-adds with weights in one step of `rows` rows of which `output_rows` get logits
// (attention is not counted); 0 for mixtures of experts, where it depends on the routing.
double weight_macs(const ModelRunner& runner, int64_t rows, int64_t output_rows);

}  // namespace ruvllm
