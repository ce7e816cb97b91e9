// Descent after rounding: codes and scales of a quantized matrix are changed one at a time, each to
// what is best while all others stay, so that ||W X - Q X||^2 only falls. GPTQ decides each code
// once, before it knows the later ones, and its scales before any code; this makes up for both
// (cyclic coordinate descent, as in QuantEase, Behdin et al. 2023, and scales by least squares).
//
// Zero points, groups and the input transform stay. Same inputs, same bytes, any number of threads.
#pragma once

#include <vector>

#include "base/thread_pool.h"
#include "quantize/grid.h"
#include "quantize/stop_flag.h"

namespace ruvllm {

struct RefineOptions {
  Grid grid;           // of the matrix
  int sweeps = 4;      // over all scales and codes at most; fewer when nothing changes
  bool codes = true;   // false: the scales alone
  StopFlag stop = {};  // raised: rows are left as they are
};

// `w` and `hessian` [K, K] (f32, symmetric, X^T X with what damping the caller wants) in the space
// of the matrix's codes: both after its input transform. Inputs with a diagonal of 0 are left. One
// more such matrix and, of each thread, 256 rows of f32 twice are in memory meanwhile.
void refine(QuantizedMatrix& matrix, ConstMatrixF32 w, const std::vector<float>& hessian,
            const RefineOptions& options, ThreadPool& pool);

}  // namespace ruvllm
