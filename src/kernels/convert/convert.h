// Conversions between f32 and the 16-bit floats over n consecutive elements, bit for bit those of
// base/float_types.h (round to nearest, ties to even; NaN stays NaN). Pure; any n >= 0; 16-bit
// pointers need their natural alignment only.
#pragma once

#include <stdint.h>

namespace ruvllm::kernels {

struct ConvertKernels {
  void (*bf16_to_f32)(const uint16_t* src, float* dst, int64_t n);
  void (*f16_to_f32)(const uint16_t* src, float* dst, int64_t n);
  void (*f32_to_bf16)(const float* src, uint16_t* dst, int64_t n);
  void (*f32_to_f16)(const float* src, uint16_t* dst, int64_t n);
};

namespace generic {
extern const ConvertKernels kConvert;
}
namespace neon {
extern const ConvertKernels kConvert;
}
namespace avx2 {
extern const ConvertKernels kConvert;
}
namespace avx512 {
extern const ConvertKernels kConvert;
}

}  // namespace ruvllm::kernels
