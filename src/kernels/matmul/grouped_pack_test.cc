// Codes in groups: packing there and back, what compact headers hold, and every kernel against the
// plain one, bit for bit.
#include <gtest/gtest.h>

#include <cmath>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "kernels/matmul/grouped_pack.h"
#include "kernels/matmul/matmul_kernels.h"
#include "kernels/matmul/quant_panel_formats.h"
#include "kernels/matmul/quant_panel_test_util.h"

namespace ruvllm::kernels {
namespace {

struct GroupedCase {
  int32_t bits;
  int64_t rows, cols, group_size;
};
constexpr GroupedCase kGroupedCases[] = {
    {8, 9, 96, 32},    {8, 3, 160, 64},   {8, 17, 64, 64},   {4, 8, 256, 128},   {4, 33, 160, 32},
    {4, 5, 800, 800},  {3, 16, 224, 64},  {3, 10, 96, 32},   {2, 7, 128, 64},    {2, 40, 96, 96},
    {8, 4, 1600, 512}, {3, 20, 1056, 96}, {8, 20, 1152, 96}, {8, 9, 1088, 1088}, {4, 9, 2080, 160},
    {2, 9, 96, 16},    {2, 33, 160, 16},  {2, 50, 2144, 16}, {2, 1, 32, 16},     {3, 17, 224, 16},
    {3, 40, 1056, 16}, {4, 8, 128, 16},   {4, 35, 1312, 16}};

// Zero points beyond the codes, as far as the kernels take them (half scales: up to 100).
ZeroPoints far_zeros(int64_t group_size) {
  return group_size == 16 ? ZeroPoints{-100, 101} : ZeroPoints{-60, 340};
}

TEST(GroupedPanels, ZerosThatOverflowTheKernelsHaveNone) {
  QuantizedMatrix matrix = random_matrix(8, 8, 64, 32, {-60, 340}, 4);
  ASSERT_FALSE(matrix.zeros.empty());
  matrix.zeros[3] = 32000;
  EXPECT_TRUE(has_grouped_panels(matrix));
  matrix.zeros[3] = -32001;
  EXPECT_FALSE(has_grouped_panels(matrix));
  matrix.zeros.clear();
  matrix.zero = 32001;
  EXPECT_FALSE(has_grouped_panels(matrix));
  for (const int32_t bits : {2, 3, 4}) {
    matrix = random_matrix(bits, 8, 64, 16, {-100, 101}, 4);
    EXPECT_TRUE(has_grouped_panels(matrix));
    matrix.zeros[5] = 101;
    EXPECT_FALSE(has_grouped_panels(matrix));
  }
}

TEST(GroupedPanels, GroupsWithPanels) {
  for (const int32_t bits : {2, 3, 4, 8}) {
    for (const int64_t group_size : {8, 16, 24, 32, 48, 64, 96}) {
      const bool whole = group_size % 32 == 0;
      const bool half = group_size == 16 && bits < 8;
      EXPECT_EQ(has_grouped_panels(random_matrix(bits, 8, 192, group_size, {0, 4}, 4)),
                whole || half)
          << bits << " bits in groups of " << group_size;
    }
  }
  EXPECT_FALSE(has_grouped_panels(random_matrix(2, 8, 48, 16, {0, 4}, 4)));
}

TEST(GroupedPanels, PackingIsLossless) {
  for (const auto& [bits, rows, cols, group_size] : kGroupedCases) {
    const auto any = random_matrix(bits, rows, cols, group_size, far_zeros(group_size), 4);
    for (const bool compact : {false, true}) {
      const QuantizedMatrix matrix = compact ? compact_matrix(any) : any;
      ASSERT_TRUE(is_valid(matrix) && has_grouped_panels(matrix));
      for (const int64_t panel_rows : {8, 16}) {
        const GroupedShape shape = shape_of(matrix, panel_rows, compact);
        std::vector<uint8_t> panel(static_cast<size_t>(grouped_panel_bytes(shape)), 0xaa);
        for (int64_t first = 0; first < rows; first += panel_rows) {
          ASSERT_TRUE(pack_grouped_panel(matrix, shape, first, panel.data()));
          for (int64_t r = 0; r < std::min(panel_rows, rows - first); ++r) {
            const QuantizedMatrix back = unpack_grouped_row(shape, panel.data(), r);
            std::vector<float> want(static_cast<size_t>(cols));
            std::vector<float> got(want);
            dequantize_row(matrix, first + r, want.data());
            dequantize_row(back, 0, got.data());
            ASSERT_EQ(got, want) << bits << " bits, row " << first + r;
            dequantize_grouped_row(shape, panel.data(), r, got.data());
            ASSERT_EQ(got, want) << bits << " bits, row " << first + r;
          }
        }
      }
    }
  }
}

TEST(GroupedPanels, WhatCompactHeadersDoNotHold) {
  for (const auto& [bits, group_size] : std::vector<std::pair<int32_t, int64_t>>{
           {8, 32}, {4, 32}, {3, 32}, {2, 32}, {4, 16}, {3, 16}, {2, 16}}) {
    const auto matrix = compact_matrix(random_matrix(bits, 16, 64, group_size, {0, 4}, 5));
    const GroupedShape shape = shape_of(matrix, 16, true);
    std::vector<uint8_t> panel(static_cast<size_t>(grouped_panel_bytes(shape)));
    EXPECT_TRUE(pack_grouped_panel(matrix, shape, 0, panel.data()));
    const auto refused = [&](float scale, int16_t zero) {
      QuantizedMatrix other = matrix;
      other.scales[21] = scale;
      other.zeros[21] = zero;
      return !pack_grouped_panel(other, shape, 0, panel.data());
    };
    const auto most = static_cast<int16_t>(most_compact_zero(matrix));
    EXPECT_FALSE(refused(0.25f, most));
    EXPECT_TRUE(refused(0.25f, static_cast<int16_t>(most + 1)));
    EXPECT_TRUE(refused(0.25f, -1));
    EXPECT_TRUE(refused(0.1f, 0));  // no f16
    EXPECT_TRUE(refused(65536.0f, 0));
    EXPECT_TRUE(refused(0x1p-30f, 0));
  }
}

// What they take of bf16: 4 and 2 bits in groups of 32, and 4, 3 and 2 bits in groups of 16.
TEST(GroupedPanels, BitsPerWeight) {
  EXPECT_EQ(grouped_panel_bytes({4, 16, 64, 1, true, false}) * 8, 16 * 2048 * 4.625);
  EXPECT_EQ(grouped_panel_bytes({2, 16, 64, 1, true, false}) * 8, 16 * 2048 * 2.625);
  EXPECT_EQ(grouped_panel_bytes({4, 16, 64, 1, true, true}) * 8, 16 * 2048 * 5.25);
  EXPECT_EQ(grouped_panel_bytes({3, 16, 64, 1, true, true}) * 8, 16 * 2048 * 4.25);
  EXPECT_EQ(grouped_panel_bytes({2, 16, 64, 1, true, true}) * 8, 16 * 2048 * 3.125);
}

TEST(GroupedPanels, TheKernelsConstantsAreTheSame) {
  const auto expect_same = [](auto format, int64_t scale_groups) {
    using Fmt = decltype(format);
    for (const int rows : {8, 16}) {
      for (const bool compact : {false, true}) {
        const GroupedShape shape = {Fmt::kBits,   rows,    scale_groups,
                                    scale_groups, compact, Fmt::kHalves};
        EXPECT_EQ(grouped_panel_bytes(shape),
                  scale_groups * Fmt::group_bytes(rows) + Fmt::header_bytes(rows, compact));
      }
    }
  };
  expect_same(I8(), 3);
  expect_same(I4(), 3);
  expect_same(I3(), 3);
  expect_same(I2(), 3);
  expect_same(I4H(), 1);
  expect_same(I3H(), 1);
  expect_same(I2H(), 1);
}

// The plain kernel against f64 (half a step of x, and f32 sums); the others against the plain one.
TEST(GroupedPanels, EveryKernelEqualsThePlainOneAndThatTheExactProduct) {
  for (size_t n = 0; n < 2 * std::size(kGroupedCases); ++n) {
    const auto& [bits, rows, cols, group_size] = kGroupedCases[n / 2];
    auto matrix = random_matrix(bits, rows, cols, group_size, far_zeros(group_size), 6);
    if (n % 2 == 1) {  // symmetric: what one scale a row of x is for
      if (bits != 8) continue;
      matrix.zeros.clear();
      matrix.zero = 128;
      EXPECT_EQ(one_x_scale(matrix), group_size == cols);
    }
    for (const int64_t num_x : {1, 2, 3, 4, 5, 9, 14, 37, 67}) {
      std::vector<float> x(static_cast<size_t>(num_x * cols));
      for (size_t i = 0; i < x.size(); ++i) {
        x[i] = static_cast<float>(2.0 * random_uniform(5, 5, i) - 1.0);
      }
      const auto want = grouped_product(generic::kQuantPanel, matrix, x, num_x);
      std::vector<float> w(static_cast<size_t>(cols));
      for (int64_t i = 0; i < num_x * rows; ++i) {
        dequantize_row(matrix, i % rows, w.data());
        double exact = 0.0;
        double bound = 0.0;
        for (int64_t k = 0; k < cols; ++k) {
          const double wk = w[static_cast<size_t>(k)];
          exact += wk * double{x[static_cast<size_t>(i / rows * cols + k)]};
          bound += std::abs(wk) * (0.5005 / 127.0 + 1e-5);
        }
        ASSERT_NEAR(want[static_cast<size_t>(i)], exact, bound) << bits << " bits";
      }
      const QuantizedMatrix compact = compact_matrix(matrix);
      const auto want_compact = grouped_product(generic::kQuantPanel, compact, x, num_x);
      ASSERT_EQ(grouped_product(generic::kQuantPanel, compact, x, num_x, true), want_compact);
      for (const auto& [name, kernel] : panel_kernels_to_test()) {
        ASSERT_EQ(grouped_product(*kernel, matrix, x, num_x), want)
            << name << " " << bits << " bits, " << num_x << " rows of x";
        ASSERT_EQ(grouped_product(*kernel, compact, x, num_x, true), want_compact)
            << name << " " << bits << " bits, " << num_x << " rows of x, compact";
      }
    }
  }
}

}  // namespace
}  // namespace ruvllm::kernels
