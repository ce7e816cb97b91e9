// f32 to bf16 in the kernels of bf16_dot.h.
#pragma once

#include <stdint.h>

namespace ruvllm::kernels {
namespace {

// As f32_to_bf16 of base/float_types.h.
inline uint32_t rounded_bf16(float v) {
  uint32_t bits;
  __builtin_memcpy(&bits, &v, sizeof bits);
  if (v != v) return (bits >> 16) | 0x40;
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

}  // namespace
}  // namespace ruvllm::kernels
