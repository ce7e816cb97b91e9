// What the tests of the panel kernels share: the kernels, inputs, and products by them.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/float_types.h"
#include "base/rng.h"
#include "kernels/matmul/grouped_pack.h"
#include "kernels/matmul/matmul_kernels.h"
#include "tensor/random_quantized.h"

namespace ruvllm::kernels {

// The AMX kernels over the models of tiles and vectors: quant_panel_amx_test.cc.
extern const QuantPanelKernel kAmxModel;

// What is held to the plain kernel: the kernels of the list that this machine can run, and on any
// machine that of AMX over models.
struct PanelKernelToTest {
  std::string name;
  const QuantPanelKernel* kernel;
};

inline std::vector<PanelKernelToTest> panel_kernels_to_test() {
  std::vector<PanelKernelToTest> out;
  for (const auto& [level, kernel] : quant_panel_kernels()) {
    if (isa_supported(level)) out.push_back({std::string(isa_name(level)), kernel});
  }
  out.push_back({"amx (model)", &kAmxModel});
  return out;
}

// Rows [num_x, cols] as tiles of at most `tile_rows` rows, `block` groups under a scale.
inline std::vector<uint32_t> quantized(const QuantizeKernel& kernel, const std::vector<float>& x,
                                       int64_t num_x, int64_t tile_rows, int64_t block = kXBlock) {
  const int64_t cols = static_cast<int64_t>(x.size()) / num_x;
  const int64_t row_words = cols / 32 * kRecordWords;
  std::vector<uint32_t> out;
  for (int64_t t = 0; t < num_x;) {
    const int64_t rows = next_tile_rows(num_x - t, tile_rows);
    const size_t begin = out.size();
    out.resize(begin + static_cast<size_t>(rows * row_words));
    for (int64_t i = 0; i < std::min(rows, num_x - t); ++i) {
      kernel.to_int8(x.data() + (t + i) * cols, cols / 32, block, rows, out.data() + begin + i);
    }
    t += rows;
  }
  return out;
}

// The same as the kernel wants them for a product with num_x rows.
inline std::vector<uint32_t> quantized_for(const QuantPanelKernel& kernel,
                                           const std::vector<float>& x, int64_t num_x,
                                           bool one_x_scale = false) {
  const int64_t groups = static_cast<int64_t>(x.size()) / num_x / 32;
  const int64_t block = one_x_scale ? groups : int64_t{kXBlock};
  if (!kernel.takes_tiles(num_x, one_x_scale)) {
    return quantized(generic::kQuantize, x, num_x, kernel.tile_rows, block);
  }
  const int64_t cols = static_cast<int64_t>(x.size()) / num_x;
  const int64_t words = x_tile_words(groups);
  std::vector<uint32_t> out;
  for (int64_t t = 0; t < num_x; t += kTileSide) {
    const int64_t rows = std::min<int64_t>(kTileSide, num_x - t);
    const float* pointers[kTileSide];
    for (int64_t i = 0; i < rows; ++i) pointers[i] = x.data() + (t + i) * cols;
    out.resize(out.size() + static_cast<size_t>(words), 0xa5a5a5a5);
    generic::kQuantizeTile(pointers, rows, groups, block, out.data() + out.size() - words);
  }
  return out;
}

struct ZeroPoints {
  int64_t begin;
  int64_t end;
};
// A matrix of any codes, zero points in [zeros.begin, zeros.end).
inline QuantizedMatrix random_matrix(int32_t bits, int64_t rows, int64_t cols, int64_t group_size,
                                     ZeroPoints zeros, uint64_t seed) {
  QuantizedMatrix matrix = ruvllm::test::random_codes(bits, rows, cols, group_size, seed);
  for (int64_t i = 0; i < rows * matrix.num_groups(); ++i) {
    const auto at = static_cast<uint64_t>(i);
    matrix.scales.push_back(static_cast<float>(random_uniform(seed, 2, at) - 0.3));
    matrix.zeros.push_back(static_cast<int16_t>(
        zeros.begin + static_cast<int64_t>(random_bits(seed, 3, at) %
                                           static_cast<uint64_t>(zeros.end - zeros.begin))));
  }
  return matrix;
}

// The most that a zero point of a compact header can be.
inline int most_compact_zero(const QuantizedMatrix& matrix) {
  if (matrix.bits == 8) return 255;
  return half_scales(matrix) && matrix.bits == 2 ? 3 : 15;
}

// The matrix with scales that are f16 and zero points that are codes: what compact headers hold.
inline QuantizedMatrix compact_matrix(QuantizedMatrix matrix) {
  for (float& scale : matrix.scales) scale = f16_to_f32(f32_to_f16(scale));
  for (int16_t& zero : matrix.zeros) {
    zero = static_cast<int16_t>(static_cast<uint16_t>(zero) & most_compact_zero(matrix));
  }
  return matrix;
}

inline GroupedShape shape_of(const QuantizedMatrix& matrix, int64_t panel_rows, bool compact) {
  return {matrix.bits,          panel_rows, matrix.cols / 32,
          scale_groups(matrix), compact,    half_scales(matrix)};
}

// [num_x, matrix.rows] by one kernel.
inline std::vector<float> grouped_product(const QuantPanelKernel& kernel,
                                          const QuantizedMatrix& matrix,
                                          const std::vector<float>& x, int64_t num_x,
                                          bool compact = false) {
  const int64_t groups = matrix.cols / 32;
  const int64_t panels = (matrix.rows + kernel.panel_rows - 1) / kernel.panel_rows;
  const QuantFormat name = grouped_format(matrix.bits, half_scales(matrix));
  const QuantPanelProduct product = kernel.products[static_cast<size_t>(name)];
  const GroupedShape shape = shape_of(matrix, kernel.panel_rows, compact);
  QuantPanelArgs args = {};
  args.compact_scales = compact;
  args.panel_bytes = grouped_panel_bytes(shape);
  std::vector<uint8_t> packed(static_cast<size_t>(args.panel_bytes * panels));
  for (int64_t p = 0; p < panels; ++p) {
    EXPECT_TRUE(pack_grouped_panel(matrix, shape, p * kernel.panel_rows,
                                   packed.data() + p * args.panel_bytes));
  }
  const auto tiles = quantized_for(kernel, x, num_x, one_x_scale(matrix));
  std::vector<float> sums(static_cast<size_t>(num_x * panels * kernel.panel_rows), 77.0f);
  args.panels = packed.data();
  args.num_panels = panels;
  args.groups = groups;
  args.x = tiles.data();
  args.num_x = num_x;
  args.sums = sums.data();
  args.sums_stride = panels * kernel.panel_rows;
  args.scale_groups = scale_groups(matrix);
  args.one_x_scale = one_x_scale(matrix);
  product(&args);
  std::vector<float> out;
  for (int64_t t = 0; t < num_x; ++t) {
    out.insert(out.end(), sums.begin() + t * args.sums_stride,
               sums.begin() + t * args.sums_stride + matrix.rows);
  }
  return out;
}

}  // namespace ruvllm::kernels
