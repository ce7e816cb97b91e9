// Rotary embedding over any vector type V; see simd/vec_generic.h for the unnamed namespace. Tails
// are plain code: rotary dimensions are multiples of the vector in nearly every model.
#pragma once

#include "kernels/rope/rope.h"

namespace ruvllm::kernels {
namespace {

inline void rotate_pair(float* a, float* b, float cosine, float sine) {
  const float x = *a;
  const float y = *b;
  *a = x * cosine - y * sine;
  *b = y * cosine + x * sine;
}

template <class V>
void rope_halves_row(const RopeRow& row) {
  using F = typename V::F;
  const int32_t half = row.rotary_dim / 2;
  for (int32_t h = 0; h < row.num_heads; ++h) {
    float* a = row.x + int64_t{h} * row.head_dim;
    float* b = a + half;
    int32_t i = 0;
    for (; i + V::kLanes <= half; i += V::kLanes) {
      const F cosine = V::load(row.cos + i);
      const F sine = V::load(row.sin + i);
      const F x = V::load(a + i);
      const F y = V::load(b + i);
      V::store(a + i, V::fnma(y, sine, V::mul(x, cosine)));
      V::store(b + i, V::fma(x, sine, V::mul(y, cosine)));
    }
    for (; i < half; ++i) rotate_pair(a + i, b + i, row.cos[i], row.sin[i]);
  }
}

template <class V>
void rope_interleaved_row(const RopeRow& row) {
  using F = typename V::F;
  const int32_t half = row.rotary_dim / 2;
  constexpr int32_t kPairs = V::kLanes / 2;
  for (int32_t h = 0; h < row.num_heads; ++h) {
    float* x = row.x + int64_t{h} * row.head_dim;
    int32_t i = 0;
    for (; i + kPairs <= half; i += kPairs) {
      const F pairs = V::load(x + 2 * i);
      const F crossed = V::mul(V::swap_pairs(pairs), V::load_pairs(row.sin + i));
      V::store(x + 2 * i, V::fma_sub_add(pairs, V::load_pairs(row.cos + i), crossed));
    }
    for (; i < half; ++i) rotate_pair(x + 2 * i, x + 2 * i + 1, row.cos[i], row.sin[i]);
  }
}

}  // namespace
}  // namespace ruvllm::kernels
