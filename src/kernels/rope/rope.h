// Rotary position embedding of one token's heads, in place: the first rotary_dim of each head's
// head_dim elements are rotated in pairs by the angles whose cosines and sines are given, one per
// pair; the rest stay. (a, b) -> (a cos - b sin, b cos + a sin). Pure, no alignment needed.
#pragma once

#include <stdint.h>

namespace ruvllm::kernels {

struct RopeRow {
  float* x;          // [num_heads, head_dim]
  const float* cos;  // [rotary_dim / 2]
  const float* sin;  // [rotary_dim / 2]
  int32_t num_heads;
  int32_t head_dim;
  int32_t rotary_dim;  // even
};

struct RopeKernels {
  void (*halves)(const RopeRow& row);       // pairs (i, i + rotary_dim/2)
  void (*interleaved)(const RopeRow& row);  // pairs (2i, 2i + 1)
};

namespace generic {
extern const RopeKernels kRope;
}
namespace neon {
extern const RopeKernels kRope;
}
namespace avx2 {
extern const RopeKernels kRope;
}
namespace avx512 {
extern const RopeKernels kRope;
}

}  // namespace ruvllm::kernels
