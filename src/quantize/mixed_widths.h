// `--isq auto:BITS`: for each part of a model the width that costs least, at that many bits per
// weight over all of them. Measured, not guessed: every part (the products of one layer that read
// one input: q, k, v; o; gate, up; down) is rounded alone to 3 bits, and the KL divergence of the
// model's predictions is what it costs. Other widths cost as much as their squared rounding error,
// weighted by the inputs' mean squares, is larger or smaller (costs of small errors grow linearly
// with them and add up). The cheapest mix is found along the lower convex hulls of bits and cost.
//
// Time: one pass over a short text per part. Memory: as one pass. Same inputs, same widths.
// Failure: one line naming the tensor that has elements which are not finite numbers, or the part
// whose predictions are none; kUnavailable when told to stop.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "quantize/isq_matrices.h"
#include "quantize/stop_flag.h"

namespace ruvllm {

struct MixedWidthsArgs {
  const Checkpoint& checkpoint;
  std::vector<IsqMatrix>& matrices;  // schemes that are no override's are chosen
  double bits_per_weight = 4.0;      // scales and zero points counted
  std::vector<std::vector<int32_t>> samples = {};
  std::shared_ptr<ThreadPool> pool = nullptr;
  std::function<void(int64_t done, int64_t total)> progress = {};  // in passes; may be empty
  StopFlag stop = {};
};

// One part and what was chosen for it.
struct PartWidth {
  std::vector<size_t> matrices;
  double divergence = 0.0;  // of the model with this part alone at 3 bits
  int32_t bits = 0;
  int64_t group_size = 0;
};

// Before the work: kInvalidArgument when even the narrowest widths of these matrices need more.
Status check_width_budget(const std::vector<IsqMatrix>& matrices, double bits_per_weight);

// Checks the budget, too.
Result<std::vector<PartWidth>> choose_widths(const MixedWidthsArgs& args);

}  // namespace ruvllm
