#include <string.h>

#include "kernels/quantize/quantize_rows.h"

namespace ruvllm::kernels::generic {
namespace {

// Codes of 32 elements; returns the scale.
float quantize_group(const float* x, int32_t* codes) {
  uint32_t largest = 0;  // magnitudes compare as their bits do
  for (int i = 0; i < 32; ++i) {
    uint32_t bits;
    memcpy(&bits, x + i, sizeof bits);
    bits &= 0x7fffffffu;
    if (bits > largest) largest = bits;
  }
  for (int i = 0; i < 32; ++i) codes[i] = 0;
  if (largest >= 0x7f800000u) return __builtin_nanf("");
  float a;
  memcpy(&a, &largest, sizeof a);
  if (a < 0x1p-100f) return 0.0f;
  const float inverse = 127.0f / a;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, ties to even
  for (int i = 0; i < 32; ++i) codes[i] = (int32_t)((x[i] * inverse + magic) - magic);
  return a / 127.0f;
}

template <class Group>
void finish(const int32_t* codes, float scale, Group* out) {
  out->scale = scale;
  out->half[0] = out->half[1] = 0;
  for (int i = 0; i < 32; ++i) out->half[i / 16] += codes[i];
  out->sum = out->half[0] + out->half[1];
}

void to_int8(const float* x, int64_t groups, Int8Group* out) {
  int32_t codes[32];
  for (int64_t g = 0; g < groups; ++g) {
    finish(codes, quantize_group(x + g * 32, codes), out + g);
    for (int i = 0; i < 32; ++i) out[g].codes[i] = (int8_t)codes[i];
  }
}

void to_int16(const float* x, int64_t groups, Int16Group* out) {
  static const int kOrder[4] = {0, 2, 1, 3};
  int32_t codes[32];
  for (int64_t g = 0; g < groups; ++g) {
    finish(codes, quantize_group(x + g * 32, codes), out + g);
    for (int i = 0; i < 32; ++i) out[g].codes[i] = (int16_t)codes[i / 4 * 4 + kOrder[i % 4]];
  }
}

}  // namespace

const QuantizeKernel kQuantize = {to_int8, to_int16};

}  // namespace ruvllm::kernels::generic
