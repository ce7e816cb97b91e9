// f32 to bf16 in the kernels of bf16_dot.h.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace ruvllm::kernels {
namespace {

// As f32_to_bf16 of base/float_types.h.
inline uint32_t rounded_bf16(float v) {
  uint32_t bits;
  __builtin_memcpy(&bits, &v, sizeof bits);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return v != v ? (bits >> 16) | 0x40 : rounded;
}

// `count` <= 32 of 32 floats, and zeros for the others: 16 words of two each. In loops of a known
// length, which compilers make vectors of.
inline void round_step_to_bf16(const float* v, int64_t count, uint32_t* to) {
  float step[32] = {};
  if (count < 32) {
    __builtin_memcpy(step, v, (size_t)count * sizeof(float));
    v = step;
  }
  uint16_t rounded[32];
  for (int i = 0; i < 32; ++i) rounded[i] = (uint16_t)rounded_bf16(v[i]);
  __builtin_memcpy(to, rounded, sizeof rounded);
}

}  // namespace
}  // namespace ruvllm::kernels
