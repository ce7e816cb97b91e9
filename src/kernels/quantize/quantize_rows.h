// Activations to int8, one scale per row and group of 32 columns: the left side of products with
// integer weights.
//
// For each group: a = the largest magnitude. If a < 2^-100, all codes and the scale are 0. If a is
// not finite, all codes are 0 and the scale is NaN. Otherwise scale = a / 127, and
// code = x * (127 / a) rounded to the nearest integer, ties to even: in [-127, 127].
// Every instruction set computes the same bits.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace ruvllm::kernels {

// Codes in the order of the columns.
struct Int8Group {
  int8_t codes[32];
  float scale;
  int32_t sum;      // of the codes
  int32_t half[2];  // of the first and the last 16 codes
};

// The same codes as 16-bit numbers, each four in the order 0, 2, 1, 3: pairs of even and of odd
// columns, as a multiply-add of 16-bit pairs wants them beside 8-bit weights.
struct Int16Group {
  int16_t codes[32];
  float scale;
  int32_t sum;
  int32_t half[2];
};

enum class ActivationForm : uint8_t { kInt8, kInt16 };

struct QuantizeKernel {
  // `groups` groups of 32 elements of x.
  void (*to_int8)(const float* x, int64_t groups, Int8Group* out);
  void (*to_int16)(const float* x, int64_t groups, Int16Group* out);
};

namespace generic {
extern const QuantizeKernel kQuantize;
}
namespace avx2 {
extern const QuantizeKernel kQuantize;
}

}  // namespace ruvllm::kernels
