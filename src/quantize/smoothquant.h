// SmoothQuant (Xiao et al. 2022) W8A8: int8 weights with one scale per row, int8 activations with
// one scale per token; what is hard to round is moved from the inputs to the weights by a scale per
// input, s = max|x|^alpha / max|w|^(1 - alpha). alpha is searched (none, 0.5 ... 0.9) by the error
// of the whole product, activations rounded too. The scale is the input transform (1 / s). The
// search has the products of all rows with the sample, f64, in memory.
#pragma once

#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "quantize/grid.h"
#include "quantize/input_stats.h"
#include "quantize/stop_flag.h"

namespace ruvllm {

struct SmoothScale {
  double alpha = 0.0;        // 0: none
  std::vector<float> scale;  // [K]
};

// `stop`: raised, the search ends with what it has.
SmoothScale search_smooth_scale(std::span<const ConstMatrixF32> weights, const InputStats& stats,
                                ThreadPool& pool, StopFlag stop = {});

// int8 per row of W * scale; asks for int8 activations.
QuantizedMatrix quantize_smooth(ConstMatrixF32 w, const SmoothScale& scale, ThreadPool& pool);

// ||W X - Q t(X)||^2 over the rows of x, t(X) rounded to int8 with one scale per row; what the
// search minimizes.
double w8a8_error(ConstMatrixF32 w, const QuantizedMatrix& q, ConstMatrixF32 x, ThreadPool& pool);

}  // namespace ruvllm
