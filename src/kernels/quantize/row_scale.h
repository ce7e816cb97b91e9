// What every instruction set makes of the largest magnitude of a block of x (quantize_rows.h).
#pragma once

namespace ruvllm::kernels {
namespace {

struct RowScale {
  float inverse;  // 127 / a; 0: all codes are 0
  float scale;
};

inline RowScale scale_of_largest(float a) {
  if (!(a >= 0x1p-100f && a < __builtin_inff())) {  // NaN too
    return {0.0f, a < 1.0f ? 0.0f : __builtin_nanf("")};
  }
  return {127.0f / a, a / 127.0f};
}

}  // namespace
}  // namespace ruvllm::kernels
