// The normalizations over any vector type V; see simd/vec_generic.h for the unnamed namespace.
#pragma once

#include "kernels/norm/norm.h"

namespace ruvllm::kernels {
namespace {

// sum of (x - shift)^power, power 1 or 2, in four partial vectors.
template <class V, int kPower>
float shifted_sum(const float* x, int64_t n, float shift) {
  using F = typename V::F;
  const F offset = V::set1(shift);
  const auto term = [&](F value, F sum) {
    const F d = V::sub(value, offset);
    return kPower == 1 ? V::add(sum, d) : V::fma(d, d, sum);
  };
  F s0 = V::zero(), s1 = V::zero(), s2 = V::zero(), s3 = V::zero();
  int64_t i = 0;
  for (; i + 4 * V::kLanes <= n; i += 4 * V::kLanes) {
    s0 = term(V::load(x + i), s0);
    s1 = term(V::load(x + i + V::kLanes), s1);
    s2 = term(V::load(x + i + 2 * V::kLanes), s2);
    s3 = term(V::load(x + i + 3 * V::kLanes), s3);
  }
  for (; i + V::kLanes <= n; i += V::kLanes) s0 = term(V::load(x + i), s0);
  float sum = V::reduce_add(V::add(V::add(s0, s1), V::add(s2, s3)));
  for (; i < n; ++i) sum += kPower == 1 ? x[i] - shift : (x[i] - shift) * (x[i] - shift);
  return sum;
}

// y = (x - shift) * factor * w + b
template <class V>
void scale_row(const NormRow& row, float shift, float factor) {
  using F = typename V::F;
  const F offset = V::set1(shift);
  const F multiplier = V::set1(factor);
  const F one = V::set1(row.plus_one ? 1.0f : 0.0f);
  const auto vector = [&](int64_t i, auto load, auto store) {
    F value = V::mul(V::sub(load(row.x + i), offset), multiplier);
    if (row.weight != nullptr) value = V::mul(value, V::add(load(row.weight + i), one));
    if (row.bias != nullptr) value = V::add(value, load(row.bias + i));
    store(row.y + i, value);
  };
  int64_t i = 0;
  for (; i + V::kLanes <= row.n; i += V::kLanes) {
    vector(
        i, [](const float* p) { return V::load(p); },
        [](float* p, F value) { V::store(p, value); });
  }
  if (const int rest = static_cast<int>(row.n - i); rest > 0) {
    vector(
        i, [rest](const float* p) { return V::load_first(p, rest); },
        [rest](float* p, F value) { V::store_first(p, value, rest); });
  }
}

template <class V>
void rms_norm_row(const NormRow& row) {
  const float n = static_cast<float>(row.n);
  const float mean_square = shifted_sum<V, 2>(row.x, row.n, 0.0f) / n;
  scale_row<V>(row, 0.0f, 1.0f / __builtin_sqrtf(mean_square + row.eps));
}

template <class V>
void layer_norm_row(const NormRow& row) {
  const float n = static_cast<float>(row.n);
  const float mean = shifted_sum<V, 1>(row.x, row.n, 0.0f) / n;
  const float variance = shifted_sum<V, 2>(row.x, row.n, mean) / n;
  scale_row<V>(row, mean, 1.0f / __builtin_sqrtf(variance + row.eps));
}

}  // namespace
}  // namespace ruvllm::kernels
