// QuantizedMatrix against its definition: y = Q t(x).
#include "tensor/quantized_matrix.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "tensor/random_quantized.h"

namespace ruvllm {
namespace {

QuantizedMatrix make_matrix(int64_t rows, int64_t cols, int32_t bits, int64_t group) {
  QuantizedMatrix m = test::random_codes(bits, rows, cols, group, 1);
  for (int64_t i = 0; i < rows * m.num_groups(); ++i) {
    m.scales.push_back(0.1f + static_cast<float>(random_uniform(2, 0, static_cast<uint64_t>(i))));
    m.zeros.push_back(static_cast<int16_t>(i % 5));
  }
  return m;
}

TEST(QuantizedMatrix, TransformsAreTheInputs) {
  constexpr int64_t kCols = 40;
  QuantizedMatrix m = make_matrix(3, kCols, 3, 16);
  std::vector<float> x(kCols);
  for (size_t k = 0; k < x.size(); ++k) {
    x[k] = static_cast<float>(random_uniform(3, 0, k)) - 0.5f;
    m.transform.input_scale.push_back(0.5f + static_cast<float>(random_uniform(4, 0, k)));
    m.transform.permutation.push_back(static_cast<int32_t>(k * 7 % kCols));
    m.transform.hadamard_signs.push_back(k % 3 == 0 ? int8_t{-1} : int8_t{1});
  }
  m.transform.hadamard_block = 8;
  ASSERT_TRUE(is_valid(m));
  std::vector<float> t(kCols), q(kCols), w(kCols);
  apply_transform(m.transform, x.data(), t.data(), kCols);
  for (int64_t n = 0; n < m.rows; ++n) {
    dequantize_codes(m, n, q.data());
    dequantize_row(m, n, w.data());
    double by_transform = 0.0, by_weights = 0.0;
    for (size_t k = 0; k < x.size(); ++k) {
      by_transform += double{q[k]} * double{t[k]};
      by_weights += double{w[k]} * double{x[k]};
    }
    EXPECT_NEAR(by_transform, by_weights, 1e-5);
  }
}

TEST(QuantizedMatrix, RotationKeepsLengthAndIsItsOwnInverse) {
  std::vector<float> x = {3, -1, 4, 1, -5, 9, 2, 6};
  const std::vector<float> before = x;
  hadamard_blocks(x.data(), 8, 4);
  // First row of the 4 x 4 matrix: all ones, halved.
  EXPECT_FLOAT_EQ(x[0], (3 - 1 + 4 + 1) / 2.0f);
  EXPECT_FLOAT_EQ(x[1], (3 + 1 + 4 - 1) / 2.0f);
  EXPECT_FLOAT_EQ(x[2], (3 - 1 - 4 - 1) / 2.0f);
  hadamard_blocks(x.data(), 8, 4);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], before[i], 1e-5);
}

TEST(QuantizedMatrix, WhatContradictsItselfIsNotValid) {
  const QuantizedMatrix good = make_matrix(2, 20, 2, 8);
  ASSERT_TRUE(is_valid(good));
  const auto broken = [&](auto edit) {
    QuantizedMatrix m = good;
    edit(m);
    return !is_valid(m);
  };
  EXPECT_TRUE(broken([](auto& m) { m.codes[3] = 4; }));
  EXPECT_TRUE(broken([](auto& m) { m.codes.pop_back(); }));
  EXPECT_TRUE(broken([](auto& m) { m.scales.pop_back(); }));
  EXPECT_TRUE(broken([](auto& m) { m.zeros.pop_back(); }));
  EXPECT_TRUE(broken([](auto& m) { m.bits = 5; }));
  EXPECT_TRUE(broken([](auto& m) { m.transform.permutation.assign(20, 1); }));
  EXPECT_TRUE(broken([](auto& m) { m.transform.hadamard_block = 8; }));
  EXPECT_TRUE(broken([](auto& m) { m.transform.input_scale.assign(19, 1.0f); }));
}

}  // namespace
}  // namespace ruvllm
