// Four floats in the compilers' own vector notation, which is one register on every processor that
// is compiled for, so that these loops need no instruction set of their own and every one of them
// gives the same bits: no product and sum is rounded together.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __SSE__
#include <xmmintrin.h>
#endif

namespace ruvllm {

using Quad = float __attribute__((vector_size(16)));
using IntQuad = int32_t __attribute__((vector_size(16)));

inline Quad load_quad(const float* from) {
  Quad v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
inline void store_quad(float* to, Quad v) {
  std::memcpy(to, &v, sizeof v);
}
// The first `count` of four, the others 0.
inline Quad load_part(const float* from, int64_t count) {
  Quad v = {};
  if (count == 4) return load_quad(from);
  std::memcpy(&v, from, static_cast<size_t>(count) * sizeof(float));
  return v;
}
inline void store_part(float* to, Quad v, int64_t count) {
  if (count == 4) return store_quad(to, v);
  std::memcpy(to, &v, static_cast<size_t>(count) * sizeof(float));
}

// to[i] = f(from[i]) for i < count, four at a time, the last of them filled up with zeros.
template <typename F>
inline void map_quads(const float* from, float* to, int64_t count, F f) {
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) store_quad(to + i, f(load_quad(from + i)));
  if (i < count) store_part(to + i, f(load_part(from + i, count - i)), count - i);
}

inline Quad min_quad(Quad a, Quad b) {
  return a < b ? a : b;
}
inline Quad max_quad(Quad a, Quad b) {
  return a > b ? a : b;
}

inline Quad sqrt_quad(Quad x) {
#ifdef __SSE__
  return (Quad)_mm_sqrt_ps((__m128)x);
#else
  for (int i = 0; i < 4; ++i) x[i] = std::sqrt(x[i]);
  return x;
#endif
}

// Rows become columns.
inline void transpose(Quad& a, Quad& b, Quad& c, Quad& d) {
  const Quad ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Quad ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Quad cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Quad cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  a = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
  b = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
  c = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
  d = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

// The nearest integers, ties to even, of |x| < 2^22.
inline Quad round_even(Quad x) {
  constexpr float kShift = 0x1.8p23f;
  return x + kShift - kShift;
}

}  // namespace ruvllm
