// The AMX kernels of quant_panel.h over the models of tiles and vectors. That they equal the plain
// kernel is tested with all others in quant_panel_test.cc; here are the paths that only they have.
#include <gtest/gtest.h>

// Loops over models are slow anyway, and inlined they are a minute's work for the compiler.
#define RUVLLM_INLINE inline
#include "kernels/matmul/quant_panel_amx_impl.h"
#include "kernels/matmul/quant_panel_simd_model.h"
#include "kernels/matmul/quant_panel_test_util.h"

namespace ruvllm::kernels {

const QuantPanelKernel kAmxModel =
    make_quant_panel_amx<ModelTiles, model::Simd>(generic::kQuantizeTile);

namespace {

std::vector<float> random_rows_of_x(int64_t num_x, int64_t cols) {
  std::vector<float> x(static_cast<size_t>(num_x * cols));
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(2.0 * random_uniform(31, 1, i) - 1.0);
  }
  return x;
}

void expect_equal_products(const QuantizedMatrix& matrix, int64_t num_x, const char* what) {
  const auto x = random_rows_of_x(num_x, matrix.cols);
  const auto want = grouped_product(generic::kQuantPanel, matrix, x, num_x);
  for (const auto& [name, kernel] : panel_kernels_to_test()) {
    ASSERT_EQ(grouped_product(*kernel, matrix, x, num_x), want)
        << name << ", " << matrix.bits << " bits, " << num_x << " rows of x: " << what;
  }
}

// Zero points that can be taken from the codes and leave signed bytes, the outermost of them too.
TEST(AmxPanels, ZeroPointsWithinTheCodes) {
  for (const int32_t bits : {2, 3, 4, 8}) {
    const int64_t most = (1 << bits) - 1;
    const ZeroPoints usual = bits == 8 ? ZeroPoints{128, 129} : ZeroPoints{0, most + 2};
    for (const int64_t num_x : {2, 16, 21}) {
      expect_equal_products(random_matrix(bits, 32, 1024, 64, usual, 7), num_x, "usual zeros");
      expect_equal_products(random_matrix(bits, 40, 1024, 64, usual, 7), num_x, "a part panel");
      expect_equal_products(random_matrix(bits, 32, 192, 32, {most - 127, 129}, 8), num_x,
                            "the whole range");
      for (const int64_t zero : {most - 128, most - 127, int64_t{128}, int64_t{129}}) {
        expect_equal_products(random_matrix(bits, 16, 64, 32, {zero, zero + 1}, 9), num_x,
                              "at the range's end");
      }
    }
  }
}

// Half scales, over several chunks and blocks of rows: zero points of the codes and beyond them.
TEST(AmxPanels, HalfScales) {
  for (const int32_t bits : {2, 3, 4}) {
    for (const ZeroPoints zeros : {ZeroPoints{0, 4}, ZeroPoints{-100, 101}}) {
      expect_equal_products(random_matrix(bits, 40, 1120, 16, zeros, 17), 21, "half scales");
      expect_equal_products(random_matrix(bits, 16, 64, 16, {zeros.end - 1, zeros.end}, 18), 9,
                            "at the range's end");
    }
    expect_equal_products(random_matrix(bits, 33, 640, 16, {-100, -99}, 19), 150, "blocks");
  }
}

// Scales with zero points within the codes and without, in one chunk.
TEST(AmxPanels, MixedZeroPoints) {
  QuantizedMatrix matrix = random_matrix(4, 16, 512, 64, {0, 16}, 10);
  matrix.zeros[3] = 1000;
  matrix.zeros[20] = -32000;
  for (const int64_t num_x : {3, 17}) expect_equal_products(matrix, num_x, "mixed");
}

// Scales over more groups than a chunk has: over all columns, and several of them, with more panels
// than keep their sums between chunks.
TEST(AmxPanels, ScalesThatGoOnInTheNextChunk) {
  for (const ZeroPoints zeros : {ZeroPoints{128, 129}, ZeroPoints{100, 140}}) {
    for (const int64_t num_x : {5, 18}) {
      expect_equal_products(random_matrix(8, 100, 1440, 1440, zeros, 11), num_x, "one scale");
      expect_equal_products(random_matrix(8, 100, 1600, 544, zeros, 12), num_x, "scales of 17");
    }
  }
  expect_equal_products(random_matrix(4, 16, 2400, 1056, {0, 16}, 13), 4, "scales of 33");
}

// One scale a row of w and of x, over an odd number of groups and several chunks.
TEST(AmxPanels, OneScaleForARowOfX) {
  QuantizedMatrix matrix = random_matrix(8, 100, 1440, 1440, {128, 129}, 16);
  matrix.zeros.clear();
  matrix.zero = 128;
  ASSERT_TRUE(one_x_scale(matrix));
  for (const int64_t num_x : {1, 5, 9, 18, 40}) expect_equal_products(matrix, num_x, "exact");
}

// More rows than stand side by side.
TEST(AmxPanels, SeveralBlocksOfRows) {
  expect_equal_products(random_matrix(4, 33, 640, 128, {0, 16}, 14), 150, "blocks");
}

// A row's bits are those it has alone, whatever stands beside it.
TEST(AmxPanels, RowsDoNotDependOnTheirNeighbours) {
  const QuantizedMatrix matrix = random_matrix(4, 48, 768, 64, {0, 16}, 15);
  const auto x = random_rows_of_x(35, matrix.cols);
  const auto all = grouped_product(kAmxModel, matrix, x, 35);
  for (int64_t t = 0; t < 35; ++t) {
    const std::vector<float> row(x.begin() + t * matrix.cols, x.begin() + (t + 1) * matrix.cols);
    const auto alone = grouped_product(kAmxModel, matrix, row, 1);
    const std::vector<float> among(all.begin() + t * matrix.rows,
                                   all.begin() + (t + 1) * matrix.rows);
    ASSERT_EQ(alone, among) << "row " << t;
  }
}

}  // namespace
}  // namespace ruvllm::kernels
