// Element by element over any vector type V; see simd/vec_generic.h for the unnamed namespace. The
// last, incomplete vector goes through the same code: a value does not depend on its place.
#pragma once

#include "kernels/elementwise/elementwise.h"
#include "kernels/simd/math_impl.h"

namespace ruvllm::kernels {
namespace {

// store(i, f(load)) for every vector, the last one partial. f takes (index, loader).
template <class V, class Body>
void for_each_vector(int64_t n, float* y, Body body) {
  using F = typename V::F;
  int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) {
    V::store(y + i, body(i, [](const float* p) { return V::load(p); }));
  }
  if (const int rest = static_cast<int>(n - i); rest > 0) {
    const F value = body(i, [rest](const float* p) { return V::load_first(p, rest); });
    V::store_first(y + i, value, rest);
  }
}

// Calls body with the function object of f, so that the choice is made once per call.
template <class V, class Body>
void with_function(UnaryFunction f, Body body) {
  using F = typename V::F;
  switch (f) {
    case UnaryFunction::kSilu:
      return body([](F x) { return silu_ps<V>(x); });
    case UnaryFunction::kGeluTanh:
      return body([](F x) { return gelu_tanh_ps<V>(x); });
    case UnaryFunction::kGeluErf:
      return body([](F x) { return gelu_erf_ps<V>(x); });
    case UnaryFunction::kRelu:
      return body([](F x) { return V::max(V::zero(), x); });
    case UnaryFunction::kExp:
      return body([](F x) { return exp_ps<V>(x); });
    case UnaryFunction::kTanh:
      return body([](F x) { return tanh_ps<V>(x); });
  }
}

template <class V>
void apply(UnaryFunction f, const float* x, float* y, int64_t n) {
  with_function<V>(f, [&](auto function) {
    for_each_vector<V>(n, y, [&](int64_t i, auto load) { return function(load(x + i)); });
  });
}

template <class V>
void apply_multiply(UnaryFunction f, const float* gate, const float* up, float* y, int64_t n) {
  with_function<V>(f, [&](auto function) {
    for_each_vector<V>(
        n, y, [&](int64_t i, auto load) { return V::mul(function(load(gate + i)), load(up + i)); });
  });
}

template <class V>
void add_scaled(float* x, const float* y, float scale, int64_t n) {
  const auto factor = V::set1(scale);
  for_each_vector<V>(
      n, x, [&](int64_t i, auto load) { return V::fma(load(y + i), factor, load(x + i)); });
}

template <class V>
void multiply(const float* x, float scale, float* y, int64_t n) {
  const auto factor = V::set1(scale);
  for_each_vector<V>(n, y, [&](int64_t i, auto load) { return V::mul(load(x + i), factor); });
}

template <class V>
void softcap(float* x, float scale, float cap, int64_t n) {
  const auto inner = V::set1(scale);
  const auto limit = V::set1(cap);
  for_each_vector<V>(n, x, [&](int64_t i, auto load) {
    return V::mul(limit, tanh_ps<V>(V::div(V::mul(load(x + i), inner), limit)));
  });
}

template <class V, bool kDelta, bool kBias, bool kResidual>
void finish_terms(const FinishRow& row, int64_t n) {
  const auto scale = V::set1(row.scale);
  for_each_vector<V>(n, row.y, [&](int64_t i, auto load) {
    auto v = load(row.sums + i);
    if constexpr (kDelta) v = V::add(v, load(row.delta + i));
    if constexpr (kBias) v = V::add(v, load(row.bias + i));
    v = V::mul(v, scale);
    if constexpr (kResidual) v = V::add(load(row.residual + i), v);
    return v;
  });
}

template <class V, bool kDelta, bool kBias>
void finish_sums(const FinishRow& row, int64_t n) {
  row.residual != nullptr ? finish_terms<V, kDelta, kBias, true>(row, n)
                          : finish_terms<V, kDelta, kBias, false>(row, n);
}

template <class V>
void finish(const FinishRow& row, int64_t n) {
  if (row.delta != nullptr) {
    row.bias != nullptr ? finish_sums<V, true, true>(row, n) : finish_sums<V, true, false>(row, n);
  } else {
    row.bias != nullptr ? finish_sums<V, false, true>(row, n)
                        : finish_sums<V, false, false>(row, n);
  }
}

template <class V>
void softmax(float* x, int64_t n) {
  using F = typename V::F;
  float largest = x[0];
  for (int64_t i = 1; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  const F offset = V::set1(largest);
  for_each_vector<V>(n, x,
                     [&](int64_t i, auto load) { return exp_ps<V>(V::sub(load(x + i), offset)); });
  F sums = V::zero();
  int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) sums = V::add(sums, V::load(x + i));
  float sum = V::reduce_add(sums);
  for (; i < n; ++i) sum += x[i];
  const F inverse = V::set1(1.0f / sum);
  for_each_vector<V>(n, x, [&](int64_t j, auto load) { return V::mul(load(x + j), inverse); });
}

}  // namespace
}  // namespace ruvllm::kernels
