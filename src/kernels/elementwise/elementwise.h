// Functions of single elements over n consecutive f32, and softmax over them. Pure; any n >= 0; no
// alignment needed; outputs may be the same memory as inputs, not overlap them otherwise.
//
// Accuracy of the functions within: kernels/simd/math_impl.h and docs/numerics.md.
#pragma once

#include <stdint.h>

namespace ruvllm::kernels {

enum class UnaryFunction : uint8_t { kSilu, kGeluTanh, kGeluErf, kRelu, kExp, kTanh };

// What becomes of a row of products: y = residual + scale * ((sums + delta) + bias), in this order
// and each step rounded; a null term is left out.
struct FinishRow {
  const float* sums;
  const float* delta;
  const float* bias;
  const float* residual;
  float scale;
  float* y;
};

struct ElementwiseKernels {
  // y = f(x)
  void (*apply)(UnaryFunction f, const float* x, float* y, int64_t n);
  // y = f(gate) * up
  void (*apply_multiply)(UnaryFunction f, const float* gate, const float* up, float* y, int64_t n);
  // x += scale * y
  void (*add_scaled)(float* x, const float* y, float scale, int64_t n);
  // y = scale * x
  void (*multiply)(const float* x, float scale, float* y, int64_t n);
  // x = cap * tanh(scale * x / cap), cap > 0
  void (*softcap)(float* x, float scale, float cap, int64_t n);
  // n elements of a row.
  void (*finish)(const FinishRow& row, int64_t n);
  // x = e^(x - max) / sum, n >= 1
  void (*softmax)(float* x, int64_t n);
};

namespace generic {
extern const ElementwiseKernels kElementwise;
}
namespace neon {
extern const ElementwiseKernels kElementwise;
}
namespace avx2 {
extern const ElementwiseKernels kElementwise;
}
namespace avx512 {
extern const ElementwiseKernels kElementwise;
}

}  // namespace ruvllm::kernels
