// AWQ (Lin et al. 2023): inputs that are large on the average get a finer grid, by scaling their
// columns up before rounding and the inputs down by as much. The strength is searched: s =
// mean|x|^ratio for 20 ratios from 0 (plain rounding) up, the one with the smallest output error
// wins, each with the range of every group that is best for it when the grid asks for a search.
// Then ranges of groups are narrowed where that lowers the error of the group's part of the output.
//
// The scale is the result's input transform (1 / s): nothing is folded into neighbours, so that
// grouped-query attention needs no exception. Pure; same inputs, same bytes.
#pragma once

#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "quantize/grid.h"
#include "quantize/input_stats.h"
#include "quantize/stop_flag.h"

namespace ruvllm {

struct AwqScale {
  double ratio = 0.0;
  std::vector<float> scale;  // [K], 1 where ratio is 0
};

// One scale for all matrices that read this input, since they are one product. `stop`: raised, the
// search ends with what it has.
AwqScale search_awq_scale(std::span<const ConstMatrixF32> weights, const InputStats& stats,
                          const Grid& grid, ThreadPool& pool, StopFlag stop = {});

// Rounds W * scale. `clip`: narrow the groups' ranges (needs stats.hessian()).
QuantizedMatrix quantize_awq(ConstMatrixF32 w, const AwqScale& scale, const InputStats& stats,
                             const Grid& grid, bool clip, ThreadPool& pool);

}  // namespace ruvllm
