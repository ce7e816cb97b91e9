// Eight lanes in the compilers' own vector notation: one 256-bit register or two of 128, whichever
// the including file's flags allow. In an unnamed namespace: each instruction set's file gets its
// own copies. (Vectors are passed by reference: by value they have another ABI where registers are
// narrower.)
#pragma once

#include <stdint.h>

#ifdef __AVX__
#include <immintrin.h>
#endif

namespace ruvllm::kernels {
namespace {

using Lanes = float __attribute__((vector_size(32), aligned(4)));
using IntLanes = int32_t __attribute__((vector_size(32), aligned(4)));
using AllBytes = uint8_t __attribute__((vector_size(32)));
using ByteLanes = uint8_t __attribute__((vector_size(8), aligned(1)));
using HalfLanes = float __attribute__((vector_size(16)));
using UnalignedHalf = float __attribute__((vector_size(16), aligned(4)));
using WideLanes = double __attribute__((vector_size(32), aligned(8)));

inline const Lanes& lanes(const float* p) {
  return *reinterpret_cast<const Lanes*>(p);
}
inline Lanes& lanes(float* p) {
  return *reinterpret_cast<Lanes*>(p);
}

// `wide` becomes the four numbers. (g++ makes several instructions of __builtin_convertvector.)
inline void widen(const HalfLanes& four, WideLanes& wide) {
#ifdef __AVX__
  wide = (WideLanes)_mm256_cvtps_pd((__m128)four);
#else
  wide = __builtin_convertvector(four, WideLanes);
#endif
}

// Adds each lane to a number of its own.
inline void add_lanes(const Lanes& v, WideLanes& lower, WideLanes& upper) {
  WideLanes wide;
  widen(__builtin_shufflevector(v, v, 0, 1, 2, 3), wide);
  lower += wide;
  widen(__builtin_shufflevector(v, v, 4, 5, 6, 7), wide);
  upper += wide;
}

}  // namespace
}  // namespace ruvllm::kernels
