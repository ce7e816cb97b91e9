// Normalization of one row of n f32: y may be x. Pure; rows of any n >= 1; no alignment needed.
//
//   rms    y = x / sqrt(mean(x^2) + eps) * w
//   layer  y = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * w + b
//
// w is weight, or 1 + weight with plus_one; null: ones. b: null: zeros. Sums are f32 in four
// vectors of partial sums, so an ISA's result depends on n and the values only.
#pragma once

#include <stdint.h>

namespace ruvllm::kernels {

struct NormRow {
  const float* x;
  const float* weight;  // [n] or null
  const float* bias;    // [n] or null; layer only
  float* y;
  int64_t n;
  float eps;
  bool plus_one;
};

struct NormKernels {
  void (*rms_norm)(const NormRow& row);
  void (*layer_norm)(const NormRow& row);
};

namespace generic {
extern const NormKernels kNorm;
}
namespace neon {
extern const NormKernels kNorm;
}
namespace avx2 {
extern const NormKernels kNorm;
}
namespace avx512 {
extern const NormKernels kNorm;
}

}  // namespace ruvllm::kernels
