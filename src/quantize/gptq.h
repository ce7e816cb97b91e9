// GPTQ (Frantar et al. 2022): codes chosen column by column so that what one column's rounding does
// to the outputs is made up for by the columns still to come. Minimizes ||W X - Q X||^2 given
// H = X^T X, on the grid of quantize/grid.h.
//
// Same inputs give the same bytes, whatever the number of threads. Memory: two f64 and two f32
// matrices [K, K]. Failure: kInvalidArgument when H stays singular however much it is damped.
#pragma once

#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "quantize/grid.h"
#include "quantize/stop_flag.h"

namespace ruvllm {

struct GptqOptions {
  Grid grid;
  // Columns by falling diagonal of H.
  bool act_order = true;
  // Scales from the original weights, groups of neighbours. With act_order and without this, groups
  // are runs of the new order, and the result has a permutation as input transform.
  bool static_groups = true;
  double damping = 0.01;  // see damping_term(); more when that does not do
  StopFlag stop = {};     // raised: rows are left out
};

// `hessian`: [K, K] row-major, symmetric; its scale does not matter.
Result<QuantizedMatrix> quantize_gptq(ConstMatrixF32 w, const std::vector<double>& hessian,
                                      const GptqOptions& options, ThreadPool& pool);

// What damping adds to the diagonal [K] of H: `damping` times its mean, in which inputs that are
// always 0 count as 1.
double damping_term(const std::vector<double>& hessian, int64_t cols, double damping);
double damping_term(std::span<const double> diagonal, double damping);

// The part of quantize_gptq that all matrices with the same input share.
struct GptqPlan {
  std::vector<int32_t> order;     // [K]: the columns in the order they are done
  std::vector<float> factor;      // [K, K] upper triangular, in that order
  std::vector<bool> dead;         // [K]: inputs that are always 0; their weights become 0
  std::vector<float> importance;  // [K]: the diagonal of H
  double damping = 0.0;           // what was used
};
Result<GptqPlan> plan_gptq(const std::vector<double>& hessian, int64_t cols,
                           const GptqOptions& options, ThreadPool& pool);
QuantizedMatrix quantize_gptq(ConstMatrixF32 w, const GptqPlan& plan, const GptqOptions& options,
                              ThreadPool& pool);

}  // namespace ruvllm
