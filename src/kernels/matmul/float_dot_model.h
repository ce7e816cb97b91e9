// float_dot.h in plain C++: what each kernel must compute, bit for bit. For tests.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/matmul/float_dot.h"

namespace ruvllm::kernels {

// sum_k x[k] * w[k] in the order of a kernel with `lanes` lanes; fused: one rounding per product.
inline float float_dot_model(const float* x, const float* w, int64_t cols, int lanes, bool fused) {
  float total = 0.0f;
  for (int64_t begin = 0; begin < cols; begin += kFloatBlock) {
    std::vector<float> lane(static_cast<size_t>(lanes), 0.0f);
    const int64_t end = begin + kFloatBlock < cols ? begin + kFloatBlock : cols;
    for (int64_t k = begin; k < (end + lanes - 1) / lanes * lanes; ++k) {
      const float a = k < end ? x[k] : 0.0f;
      const float b = k < end ? w[k] : 0.0f;
      float& sum = lane[static_cast<size_t>((k - begin) % lanes)];
      sum = fused ? std::fma(a, b, sum) : sum + a * b;
    }
    if (lanes == 16) {
      for (size_t l = 0; l < 8; ++l) lane[l] += lane[l + 8];
      lane.resize(8);
    }
    while (lane.size() > 1) {
      for (size_t l = 0; l < lane.size() / 2; ++l) lane[l] = lane[2 * l] + lane[2 * l + 1];
      lane.resize(lane.size() / 2);
    }
    total = begin == 0 ? lane[0] : total + lane[0];
  }
  return total;
}

}  // namespace ruvllm::kernels
