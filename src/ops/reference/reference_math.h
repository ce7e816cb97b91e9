// Scalar arithmetic of the reference device. Sums run in sixteen interleaved partial sums that are
// then added pairwise: a fixed order, independent of anything but the length, and closer to the
// exact sum than one running total.
#pragma once

#include <cmath>
#include <cstdint>

#include "spec/model_config.h"

namespace ruvllm::reference {

inline constexpr int64_t kLanes = 16;

inline float add_lanes(float* lanes) {
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

// Sum of term(i) for i in [0, n).
template <typename Term>
float sum_of(int64_t n, Term term) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) lanes[j] += term(i + j);
  }
  for (int64_t j = 0; i + j < n; ++j) lanes[j] += term(i + j);
  return add_lanes(lanes);
}

inline float dot(const float* a, const float* b, int64_t n) {
  return sum_of(n, [a, b](int64_t i) { return a[i] * b[i]; });
}

inline float activate_one(float x, Activation activation) {
  constexpr float kSqrt2OverPi = 0.797884560802865355879892f;
  constexpr float kSqrtHalf = 0.707106781186547524400844f;
  switch (activation) {
    case Activation::kSilu:
      return x / (1.0f + std::exp(-x));
    case Activation::kGeluTanh:
      return 0.5f * x * (1.0f + std::tanh(kSqrt2OverPi * (x + 0.044715f * x * x * x)));
    case Activation::kGeluErf:
      return 0.5f * x * (1.0f + std::erf(x * kSqrtHalf));
    case Activation::kRelu:
      return x > 0.0f ? x : 0.0f;
  }
  return x;
}

}  // namespace ruvllm::reference
