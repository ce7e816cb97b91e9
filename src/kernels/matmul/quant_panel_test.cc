// Integer weights: layouts against the exact dequantizer, packing there and back, activations, and
// every kernel against the plain one, bit for bit.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/float_types.h"
#include "base/rng.h"
#include "kernels/matmul/matmul_kernels.h"
#include "kernels/matmul/quant_pack.h"
#include "kernels/matmul/quant_panel_formats.h"
#include "kernels/matmul/quant_panel_test_util.h"
#include "tensor/dequantize.h"

namespace ruvllm::kernels {
namespace {

constexpr DType kFormats[] = {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,
                              DType::kQ5_1, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

// Rows of any bits: every code and every scale occurs, huge and non-finite f16 scales too.
std::vector<std::byte> random_rows(DType dtype, int64_t rows, int64_t cols, uint64_t seed) {
  uint64_t bytes = 0;
  EXPECT_TRUE(row_bytes(dtype, cols, bytes));
  std::vector<std::byte> out(static_cast<size_t>(bytes) * static_cast<size_t>(rows));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<std::byte>(random_bits(seed, 1, i) >> 11);
  }
  return out;
}

size_t row_size(DType dtype, int64_t cols) {
  uint64_t bytes = 0;
  EXPECT_TRUE(row_bytes(dtype, cols, bytes));
  return static_cast<size_t>(bytes);
}

bool same(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || std::memcmp(&a, &b, sizeof a) == 0;
}

TEST(QuantLayout, SaysWhatTheDequantizerComputes) {
  const int64_t cols = 512;
  for (const DType dtype : kFormats) {
    const QuantLayout& layout = *quant_layout(dtype);
    const std::vector<std::byte> row = random_rows(dtype, 1, cols, 3);
    std::vector<float> want(static_cast<size_t>(cols));
    dequantize_row(dtype, row.data(), want.data(), cols);
    for (int64_t k = 0; k < cols; ++k) {
      const QuantGroup group = read_quant_group(layout, row.data(), k / 32);
      const auto code = static_cast<float>(group.codes[k % 32] - layout.zero);
      float scale = f16_to_f32(group.d);
      float minimum = layout.has_minimum ? f16_to_f32(group.m) : 0.0f;
      if (layout.two_level) {
        scale *= static_cast<float>(group.scale_code[k % 32 / 16]);
        minimum = -(minimum * static_cast<float>(group.min_code));
      }
      const float got = layout.has_minimum ? scale * code + minimum : scale * code;
      ASSERT_TRUE(same(got, want[static_cast<size_t>(k)]))
          << dtype_info(dtype).name << " column " << k << ": " << got << ", expected "
          << want[static_cast<size_t>(k)];
    }
  }
}

TEST(QuantLayout, PackingIsLossless) {
  const int64_t cols = 768, rows = 13;
  for (const DType dtype : kFormats) {
    const QuantLayout& layout = *quant_layout(dtype);
    const std::vector<std::byte> source = random_rows(dtype, rows, cols, 5);
    const size_t bytes = row_size(dtype, cols);
    for (const int64_t panel_rows : {8, 16}) {
      for (int64_t first = 0; first < rows; first += panel_rows) {
        const int64_t count = std::min(panel_rows, rows - first);
        std::vector<const std::byte*> pointers;
        for (int64_t r = 0; r < count; ++r) {
          pointers.push_back(source.data() + static_cast<size_t>(first + r) * bytes);
        }
        std::vector<uint8_t> panel(
            static_cast<size_t>(quant_panel_bytes(layout, panel_rows, cols / 32)), 0xaa);
        pack_quant_panel(layout, pointers.data(), count, panel_rows, cols / 32, panel.data());
        std::vector<std::byte> back(bytes);
        for (int64_t r = 0; r < count; ++r) {
          unpack_quant_groups(layout, panel.data(), r, panel_rows, 0, cols / 32, back.data());
          ASSERT_EQ(std::memcmp(back.data(), pointers[static_cast<size_t>(r)], bytes), 0)
              << dtype_info(dtype).name << " row " << r;
        }
      }
    }
  }
}

template <class Fmt>
void expect_same_facts(DType dtype) {
  const QuantLayout& layout = *quant_layout(dtype);
  EXPECT_EQ(layout.bits, Fmt::kBits);
  EXPECT_EQ(layout.zero, Fmt::kZeroLog2 < 0 ? 0 : 1 << (Fmt::kZeroLog2 & 31));
  EXPECT_EQ(layout.has_minimum, Fmt::kMinimum);
  EXPECT_EQ(layout.two_level, Fmt::kTwoLevel);
  EXPECT_EQ(layout.half_scales, Fmt::kHalves);
  for (const int rows : {8, 16}) {
    EXPECT_EQ(quant_panel_bytes(layout, rows, 8),
              8 * Fmt::group_bytes(rows) + Fmt::super_bytes(rows));
  }
}

TEST(QuantLayout, TheKernelsConstantsAreTheSame) {
  expect_same_facts<Q8_0>(DType::kQ8_0);
  expect_same_facts<Q4_0>(DType::kQ4_0);
  expect_same_facts<Q4_1>(DType::kQ4_1);
  expect_same_facts<Q5_0>(DType::kQ5_0);
  expect_same_facts<Q5_1>(DType::kQ5_1);
  expect_same_facts<Q4_K>(DType::kQ4_K);
  expect_same_facts<Q5_K>(DType::kQ5_K);
  expect_same_facts<Q6_K>(DType::kQ6_K);
}

// Activations: `rows` rows, with groups of zeros, of tiny and of huge numbers, and ties.
std::vector<float> activations(int64_t rows, int64_t cols, uint64_t seed, bool non_finite) {
  std::vector<float> x(static_cast<size_t>(rows * cols));
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(2.0 * random_uniform(seed, 2, i) - 1.0);
    switch (random_bits(seed, 3, i / 32) % 8) {
      case 0:
        x[i] = 0.0f;
        break;
      case 1:
        x[i] *= 0x1p-110f;
        break;
      case 2:
        x[i] *= 0x1p100f;
        break;
      case 3:
        x[i] = static_cast<float>(static_cast<int>(x[i] * 254.0f)) * 0.5f;
        break;
      case 4:
        x[i] = x[i] < 0 ? -1.0f : 1.0f;
        break;  // all codes +-127
      case 5:
        if (non_finite && i % 32 == 17) x[i] = std::numeric_limits<float>::quiet_NaN();
        break;
      case 6:
        if (non_finite && i % 32 == 30) x[i] = -std::numeric_limits<float>::infinity();
        break;
      default:
        break;
    }
  }
  return x;
}

float as_float(uint32_t word) {
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

TEST(QuantizeRows, EveryKernelComputesTheSame) {
  const std::vector<float> x = activations(7, 640, 8, true);
  for (const int64_t tile_rows : {1, 4, 8}) {
    const auto want = quantized(generic::kQuantize, x, 7, tile_rows);
    for (const auto& [level, kernel] : quantize_kernels()) {
      if (!isa_supported(level)) continue;
      const auto got = quantized(*kernel, x, 7, tile_rows);
      ASSERT_EQ(got.size(), want.size());
      for (size_t i = 0; i < want.size(); ++i) {
        // NaNs of scales may differ.
        ASSERT_TRUE(got[i] == want[i] || same(as_float(got[i]), as_float(want[i])))
            << isa_name(level) << " word " << i;
      }
    }
  }
  // A tile holds the words of its rows.
  const auto alone = quantized(generic::kQuantize, x, 7, 1);
  const auto tile = quantized(generic::kQuantize, x, 7, 8);
  const size_t row_words = 640 / 32 * kRecordWords;
  for (size_t i = 0; i < 7 * row_words; ++i) {
    ASSERT_EQ(alone[i], tile[i % row_words * 8 + i / row_words]);
  }
}

TEST(QuantizeRows, CodesScalesAndSums) {
  const std::vector<float> x = activations(40, 640, 8, true);
  const auto words = quantized(generic::kQuantize, x, 40, 1, 1);
  for (size_t g = 0; g < x.size() / 32; ++g) {
    const uint32_t* group = words.data() + g * kRecordWords;
    const float scale = as_float(group[8]);
    float largest = 0.0f;
    int32_t sum = 0;
    int32_t lanes[2][2] = {};
    for (size_t i = 0; i < 32; ++i) {
      const auto code = static_cast<int8_t>(group[i / 4] >> (8 * (i % 4)));
      sum += code;
      lanes[i / 16][i / 2 % 2] -= code;
      largest = std::max(largest, std::abs(x[g * 32 + i]));
    }
    EXPECT_EQ(static_cast<int32_t>(group[9]), -128 * sum);
    for (size_t half = 0; half < 2; ++half) {
      EXPECT_EQ(static_cast<int16_t>(group[10 + half]), lanes[half][0]);
      EXPECT_EQ(static_cast<int16_t>(group[10 + half] >> 16), lanes[half][1]);
    }
    if (std::isnan(scale) || scale == 0.0f) continue;
    for (size_t i = 0; i < 32; ++i) {
      const auto code = static_cast<int8_t>(group[i / 4] >> (8 * (i % 4)));
      // Half a step, and the rounding of the two divisions and the product.
      EXPECT_NEAR(static_cast<float>(code) * scale, x[g * 32 + i], largest / 127.0f * 0.50005f);
    }
  }
}

struct Packed {
  Packed(DType dtype, const std::vector<std::byte>& rows, int64_t num_rows, int64_t cols,
         int64_t panel_rows)
      : layout(*quant_layout(dtype)) {
    const size_t bytes = row_size(dtype, cols);
    panel_bytes = quant_panel_bytes(layout, panel_rows, cols / 32);
    num_panels = (num_rows + panel_rows - 1) / panel_rows;
    panels.resize(static_cast<size_t>(panel_bytes * num_panels));
    for (int64_t p = 0; p < num_panels; ++p) {
      std::vector<const std::byte*> pointers;
      for (int64_t r = p * panel_rows; r < std::min(num_rows, (p + 1) * panel_rows); ++r) {
        pointers.push_back(rows.data() + static_cast<size_t>(r) * bytes);
      }
      pack_quant_panel(layout, pointers.data(), static_cast<int64_t>(pointers.size()), panel_rows,
                       cols / 32, panels.data() + p * panel_bytes);
    }
  }
  const QuantLayout& layout;
  int64_t panel_bytes;
  int64_t num_panels;
  std::vector<uint8_t> panels;
};

// [num_x][num_panels * R], cut to num_rows columns.
std::vector<float> product(const QuantPanelKernel& kernel, DType dtype,
                           const std::vector<std::byte>& rows, int64_t num_rows,
                           const std::vector<float>& x, int64_t num_x, int64_t cols) {
  const Packed packed(dtype, rows, num_rows, cols, kernel.panel_rows);
  const auto tiles = quantized_for(kernel, x, num_x);
  const int64_t stride = packed.num_panels * kernel.panel_rows;
  std::vector<float> sums(static_cast<size_t>(num_x * stride), 77.0f);
  QuantPanelArgs args{};
  args.panels = packed.panels.data();
  args.num_panels = packed.num_panels;
  args.panel_bytes = packed.panel_bytes;
  args.groups = cols / 32;
  args.x = tiles.data();
  args.num_x = num_x;
  args.sums = sums.data();
  args.sums_stride = stride;
  kernel.products[static_cast<size_t>(quant_format(packed.layout))](&args);
  std::vector<float> out;
  for (int64_t t = 0; t < num_x; ++t) {
    out.insert(out.end(), sums.begin() + t * stride, sums.begin() + t * stride + num_rows);
  }
  return out;
}

// All kernels of this machine on random rows and activations, against the plain one.
void expect_all_equal(DType dtype, int64_t num_x, int64_t num_rows, int64_t cols) {
  const auto rows = random_rows(dtype, num_rows, cols, 21);
  const auto x = activations(num_x, cols, 9, num_x == 5);
  const auto want = product(generic::kQuantPanel, dtype, rows, num_rows, x, num_x, cols);
  for (const auto& [name, kernel] : panel_kernels_to_test()) {
    const auto got = product(*kernel, dtype, rows, num_rows, x, num_x, cols);
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_TRUE(same(got[i], want[i]))
          << name << " " << dtype_info(dtype).name << " [" << num_x << ", " << num_rows << ", "
          << cols << "] at " << i << ": " << got[i] << ", expected " << want[i];
    }
  }
}

TEST(QuantPanel, EveryKernelEqualsThePlainOne) {
  for (const auto& [level, kernel] : quant_panel_kernels()) {
    if (!isa_supported(level)) {
      std::printf("not run here: %s\n", std::string(isa_name(level)).c_str());
    }
  }
  for (const DType dtype : kFormats) {
    const int64_t unit = dtype_info(dtype).block_elements;
    for (const int64_t num_x : {1, 2, 3, 4, 5, 7, 8, 9, 17}) {
      for (const int64_t num_rows : {1, 8, 9, 16, 17, 33}) {
        expect_all_equal(dtype, num_x, num_rows, unit * (1 + (num_x + num_rows) % 3));
      }
    }
  }
}

// Several blocks of rows of x and chunks of columns, the last ones not whole.
TEST(QuantPanel, EveryKernelEqualsThePlainOneWithManyRows) {
  for (const DType dtype : kFormats) {
    for (const int64_t num_x : {35, 66}) expect_all_equal(dtype, num_x, 25, 1280);
  }
}

// The largest sums: every code at its end and every activation +-127, with scale 1.
TEST(QuantPanel, ExtremeCodesDoNotOverflow) {
  const int64_t cols = 256;
  for (const auto& [name, kernel] : panel_kernels_to_test()) {
    for (const DType dtype : kFormats) {
      const QuantLayout& layout = *quant_layout(dtype);
      for (const bool highest : {false, true}) {
        QuantGroup group;
        group.d = f32_to_f16(1.0f);
        for (uint8_t& code : group.codes) {
          code = static_cast<uint8_t>(highest ? (1 << layout.bits) - 1 : 0);
        }
        std::vector<std::byte> row(row_size(dtype, cols));
        for (int64_t g = 0; g < cols / 32; ++g) write_quant_group(layout, group, g, row.data());
        for (const float sign : {1.0f, -1.0f}) {
          const float code = static_cast<float>(group.codes[0]) - static_cast<float>(layout.zero);
          for (const int64_t num_x : {1, 40}) {
            std::vector<float> rows_of_x(static_cast<size_t>(num_x * cols), sign);
            const auto got = product(*kernel, dtype, row, 1, rows_of_x, num_x, cols);
            EXPECT_NEAR(got.back(), sign * code * 256.0f, std::abs(code) * 256.0f * 1e-6f)
                << name << " " << dtype_info(dtype).name << ", " << num_x << " rows";
          }
        }
      }
    }
  }
}

// Against f64 on the dequantized numbers: the error is that of the 8-bit activations, half a step
// of each group, and of f32 sums.
TEST(QuantPanel, PlainProductIsNearTheExactOne) {
  const int64_t cols = 1024;
  for (const DType dtype : kFormats) {
    std::vector<float> x(static_cast<size_t>(cols));
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = static_cast<float>(2.0 * random_uniform(5, 5, i) - 1.0);
    }
    const std::vector<std::byte> random = random_rows(dtype, 1, cols, 2);
    std::vector<std::byte> row(random.size());
    for (int64_t g = 0; g < cols / 32; ++g) {
      QuantGroup group = read_quant_group(*quant_layout(dtype), random.data(), g);
      group.d = f32_to_f16(0.01f);  // any codes, moderate scales
      group.m = f32_to_f16(0.02f);
      write_quant_group(*quant_layout(dtype), group, g, row.data());
    }
    std::vector<float> w(static_cast<size_t>(cols));
    dequantize_row(dtype, row.data(), w.data(), cols);
    double want = 0.0;
    double bound = 0.0;
    for (size_t i = 0; i < w.size(); ++i) {
      want += double{w[i]} * double{x[i]};
      bound += std::abs(double{w[i]}) * (0.5005 / 127.0 + 1e-5);
    }
    const auto got = product(generic::kQuantPanel, dtype, row, 1, x, 1, cols);
    EXPECT_NEAR(got[0], want, bound) << dtype_info(dtype).name;
  }
}

}  // namespace
}  // namespace ruvllm::kernels
