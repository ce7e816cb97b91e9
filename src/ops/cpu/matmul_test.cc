// CpuOps::matmul against the plain models of the kernels, on every instruction set level that this
// machine has; batch invariance; the epilogue; make_weight's refusals.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "kernels/matmul/float_dot_model.h"
#include "kernels/matmul/matmul_kernels.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/fixed_source_test_util.h"
#include "tensor/dequantize.h"
#include "tensor/quantized_matrix.h"
#include "tensor/random_quantized.h"

namespace ruvllm {
namespace {

using kernels::IsaLevel;

std::vector<float> random_floats(uint64_t seed, int64_t count, float scale = 1.0f) {
  std::vector<float> out(static_cast<size_t>(count));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = scale * static_cast<float>(2.0 * random_uniform(seed, 7, i) - 1.0);
  }
  return out;
}

// A random matrix stored in a format, and what it dequantizes to.
struct Stored {
  Stored(DType type, int64_t n, int64_t k, uint64_t seed) : dtype(type), rows(n), cols(k) {
    EXPECT_TRUE(row_bytes(type, k, bytes_per_row));
    bytes.resize(static_cast<size_t>(bytes_per_row) * static_cast<size_t>(n));
    values = random_floats(seed, n * k);
    for (int64_t i = 0; i < n; ++i) {
      std::byte* row = bytes.data() + static_cast<size_t>(i) * bytes_per_row;
      if (can_quantize(type)) {
        quantize_row(type, values.data() + i * k, row, k);
      } else {
        fill_bits(row, static_cast<uint64_t>(i), seed);
      }
      dequantize_row(type, row, values.data() + i * k, k);
    }
  }
  WeightSource source() const { return {make_view(bytes.data(), dtype, {rows, cols}), false}; }
  const float* row(int64_t i) const { return values.data() + i * cols; }

  DType dtype;
  int64_t rows;
  int64_t cols;
  uint64_t bytes_per_row = 0;
  std::vector<std::byte> bytes;
  std::vector<float> values;

 private:
  // Any codes; bytes whose 6th and 7th bits are clear make no f16 scale infinite or huge.
  void fill_bits(std::byte* row, uint64_t i, uint64_t seed) {
    for (uint64_t b = 0; b < bytes_per_row; ++b) {
      row[b] = static_cast<std::byte>(random_bits(seed, i, b) & 0x3f);
    }
  }
};

std::vector<IsaLevel> levels_here() {
  std::vector<IsaLevel> out;
  for (const IsaLevel level : kernels::all_isa_levels()) {
    if (kernels::isa_supported(level)) out.push_back(level);
  }
  return out;
}

TEST(CpuMatmul, LevelsNotRunHere) {
  for (const IsaLevel level : kernels::all_isa_levels()) {
    if (kernels::isa_supported(level)) continue;
    std::printf("not run here: %s\n", std::string(kernels::isa_name(level)).c_str());
  }
  EXPECT_FALSE(levels_here().empty());
}

std::unique_ptr<Weight> make(CpuOps& ops, const Stored& stored,
                             ComputeType compute = ComputeType::kF32) {
  const WeightSource source = stored.source();
  auto weight = ops.make_weight({&source, 1}, {.compute = compute, .is_embedding = false});
  EXPECT_TRUE(weight.has_value()) << weight.error().message;
  return *std::move(weight);
}

std::vector<float> multiply(CpuOps& ops, const Weight& weight, const std::vector<float>& x,
                            int64_t num_rows) {
  std::vector<float> y(static_cast<size_t>(num_rows * weight.rows()), -99.0f);
  MatmulArgs args;
  args.x = {x.data(), num_rows, weight.cols(), weight.cols()};
  args.weight = &weight;
  args.y = make_matrix(y.data(), num_rows, weight.rows());
  ops.matmul(args);
  return y;
}

struct Shape {
  int64_t t, n, k;
};

TEST(CpuMatmul, ExactModeFollowsTheModelBitForBit) {
  const Shape shapes[] = {{1, 1, 1},    {1, 5, 7},     {1, 9, 64},   {2, 3, 15},
                          {3, 4, 17},   {4, 24, 33},   {5, 25, 100}, {1, 70, 1024},
                          {6, 7, 1025}, {7, 50, 2049}, {13, 2, 8}};
  const DType dtypes[] = {DType::kF32, DType::kBF16, DType::kF16};
  for (const IsaLevel level : levels_here()) {
    CpuOps ops(2, level);
    const int lanes = kernels::float_dot_kernel(level).lanes;
    for (const DType dtype : dtypes) {
      for (const auto& [t, n, k] : shapes) {
        const Stored w(dtype, n, k, 11);
        const std::vector<float> x = random_floats(3, t * k);
        const std::vector<float> y = multiply(ops, *make(ops, w), x, t);
        for (int64_t i = 0; i < t * n; ++i) {
          const float want = kernels::float_dot_model(x.data() + i / n * k, w.row(i % n), k, lanes,
                                                      level != IsaLevel::kGeneric);
          ASSERT_EQ(y[static_cast<size_t>(i)], want)
              << kernels::isa_name(level) << " " << dtype_info(dtype).name << " [" << t << ", " << n
              << ", " << k << "] at " << i;
        }
      }
    }
  }
}

// The model itself, against f64: the error of a sum of K products is below K eps times the sum of
// their magnitudes; the tree and blocks make it far smaller.
TEST(CpuMatmul, ModelIsADotProduct) {
  for (const int64_t k : {1, 31, 1024, 5000}) {
    const std::vector<float> x = random_floats(1, k);
    const std::vector<float> w = random_floats(2, k);
    double want = 0.0;
    double magnitude = 0.0;
    for (size_t i = 0; i < x.size(); ++i) {
      want += double{x[i]} * double{w[i]};
      magnitude += std::abs(double{x[i]} * double{w[i]});
    }
    const double depth = static_cast<double>(kernels::kFloatBlock) / 4 + 16;
    for (const int lanes : {4, 8, 16}) {
      for (const bool fused : {false, true}) {
        EXPECT_NEAR(kernels::float_dot_model(x.data(), w.data(), k, lanes, fused), want,
                    depth * std::numeric_limits<float>::epsilon() * magnitude);
      }
    }
  }
}

TEST(CpuMatmul, EveryFormatRunsExactly) {
  const int64_t t = 3, n = 10, k = 512;
  const std::vector<float> x = random_floats(5, t * k);
  for (const IsaLevel level : levels_here()) {
    CpuOps ops(2, level);
    const int lanes = kernels::float_dot_kernel(level).lanes;
    int formats = 0;
    for (int d = 0; d <= static_cast<int>(DType::kNVFP4); ++d) {
      const auto dtype = static_cast<DType>(d);
      if (!can_dequantize(dtype) || dtype == DType::kF64) continue;
      ++formats;
      const Stored w(dtype, n, k, 12);
      const auto weight = make(ops, w);
      const std::vector<float> y = multiply(ops, *weight, x, t);
      const std::vector<float> alone = multiply(ops, *weight, x, 1);
      std::vector<float> row(static_cast<size_t>(k));
      for (int64_t i = 0; i < n; ++i) {
        dequantize_weight_row(*weight, i, row.data());
        ASSERT_EQ(0, std::memcmp(row.data(), w.row(i), row.size() * sizeof(float)));
        ASSERT_EQ(std::memcmp(&y[static_cast<size_t>(i)], &alone[static_cast<size_t>(i)], 4), 0);
      }
      for (int64_t i = 0; i < t * n; ++i) {
        const float want = kernels::float_dot_model(x.data() + i / n * k, w.row(i % n), k, lanes,
                                                    level != IsaLevel::kGeneric);
        const float got = y[static_cast<size_t>(i)];
        ASSERT_TRUE(got == want || (std::isnan(got) && std::isnan(want)))
            << kernels::isa_name(level) << " " << dtype_info(dtype).name << " " << got << " "
            << want;
      }
    }
    EXPECT_GE(formats, 24);
  }
}

// Integer weights with int8 activations: every level computes the bits of the plain kernels (whose
// arithmetic kernels/matmul/quant_panel_test.cc holds to f64), and rows come back exactly.
TEST(CpuMatmul, FastModeOfIntegerWeightsIsTheSameOnEveryLevel) {
  const Shape shapes[] = {{1, 1, 256}, {2, 7, 512}, {1, 300, 256}, {5, 33, 768}, {40, 70, 256}};
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                            DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
    for (const auto& [t, n, k] : shapes) {
      const Stored w(dtype, n, k, 31);
      const std::vector<float> x = random_floats(3, t * k);
      CpuOps plain(1, IsaLevel::kGeneric);
      const std::vector<float> want = multiply(plain, *make(plain, w, ComputeType::kAuto), x, t);
      const std::vector<float> exact = multiply(plain, *make(plain, w), x, t);
      for (int64_t i = 0; i < t * n; ++i) {  // half a step of x per product
        double bound = 0.0;
        for (int64_t j = 0; j < k; ++j) bound += std::abs(double{w.row(i % n)[j]});
        const auto at = static_cast<size_t>(i);
        ASSERT_NEAR(want[at], exact[at], bound * (0.5005 / 127.0 + 1e-5));
      }
      for (const IsaLevel level : levels_here()) {
        CpuOps ops(2, level);
        const auto weight = make(ops, w, ComputeType::kAuto);
        EXPECT_EQ(weight->layout(), dtype_info(dtype).name);
        const std::vector<float> y = multiply(ops, *weight, x, t);
        ASSERT_EQ(0, std::memcmp(y.data(), want.data(), y.size() * sizeof(float)))
            << kernels::isa_name(level) << " " << dtype_info(dtype).name << " [" << t << ", " << n
            << ", " << k << "]";
        std::vector<float> row(static_cast<size_t>(k));
        for (int64_t i = 0; i < n; ++i) {
          dequantize_weight_row(*weight, i, row.data());
          ASSERT_EQ(0, std::memcmp(row.data(), w.row(i), row.size() * sizeof(float)));
        }
      }
    }
  }
}

TEST(CpuMatmul, RowsDoNotDependOnTheirNeighboursOrThreads) {
  const int64_t n = 35, k = 1056, most = 300;
  const std::vector<float> x = random_floats(9, most * k);
  for (const IsaLevel level : levels_here()) {
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kQ8_0, DType::kQ4_1}) {
      const Stored w(dtype, n, k, 4);
      CpuOps first(1, level);
      const auto weight = make(first, w, ComputeType::kAuto);
      const std::vector<float> all = multiply(first, *weight, x, most);
      for (const int threads : {1, 2, 3}) {
        CpuOps ops(threads, level);
        for (const int64_t t : {1, 2, 3, 4, 5, 6, 7, 9, 31, 257}) {
          const std::vector<float> some = multiply(ops, *weight, x, t);
          ASSERT_EQ(0, std::memcmp(some.data(), all.data(), some.size() * sizeof(float)))
              << kernels::isa_name(level) << " " << dtype_info(dtype).name << " threads " << threads
              << " rows " << t;
        }
      }
    }
  }
}

TEST(CpuMatmul, EpilogueAddsInOrderAndWithoutItNothingChanges) {
  const int64_t t = 5, n = 30, k = 40;
  const Stored w(DType::kF32, n, k, 4);
  const std::vector<float> x = random_floats(1, t * k);
  const std::vector<float> delta = random_floats(2, t * n);
  const std::vector<float> bias = random_floats(3, n);
  const std::vector<float> residual = random_floats(4, t * n);
  for (const IsaLevel level : levels_here()) {
    CpuOps ops(2, level);
    const auto weight = make(ops, w);
    const std::vector<float> plain = multiply(ops, *weight, x, t);
    std::vector<float> y = residual;  // in place
    MatmulArgs args;
    args.x = {x.data(), t, k, k};
    args.weight = weight.get();
    args.delta = {delta.data(), t, n, n};
    args.bias = bias.data();
    args.residual = {y.data(), t, n, n};
    args.branch_scale = 0.5f;
    args.y = make_matrix(y.data(), t, n);
    ops.matmul(args);
    for (size_t i = 0; i < y.size(); ++i) {
      const float sum = (plain[i] + delta[i]) + bias[i % static_cast<size_t>(n)];
      ASSERT_EQ(y[i], residual[i] + 0.5f * sum);
    }
  }
}

TEST(CpuMatmul, GatedIsBothStepsBitForBit) {
  const int64_t half = 100, k = 512, most = 80;
  const std::vector<float> x = random_floats(9, most * k);
  const std::vector<float> delta = random_floats(2, most * 2 * half);
  const std::vector<float> bias = random_floats(3, 2 * half);
  for (const IsaLevel level : levels_here()) {
    for (const DType dtype : {DType::kQ8_0, DType::kQ4_K, DType::kBF16}) {
      const Stored gate(dtype, half, k, 4), up(dtype, half, k, 5);
      const std::vector<WeightSource> sources = {gate.source(), up.source()};
      for (const int threads : {1, 2, 3}) {
        CpuOps ops(threads, level);
        const auto weight = ops.make_weight(sources, {.compute = ComputeType::kAuto});
        ASSERT_TRUE(weight.has_value());
        for (const int64_t t : {int64_t{1}, int64_t{8}, int64_t{9}, int64_t{40}, most}) {
          for (const bool adds : {false, true}) {
            std::vector<float> both(static_cast<size_t>(t * 2 * half));
            MatmulArgs args;
            args.x = {x.data(), t, k, k};
            args.weight = weight->get();
            if (adds) args.delta = {delta.data(), t, 2 * half, 2 * half};
            if (adds) args.bias = bias.data();
            args.y = make_matrix(both.data(), t, 2 * half);
            std::vector<float> want(static_cast<size_t>(t * half)), y(want.size(), -99.0f);
            ops.matmul(args);
            ops.activate_and_multiply(args.y, Activation::kSilu, make_matrix(want.data(), t, half));
            std::ranges::fill(both, -77.0f);
            ops.gated_matmul(args, Activation::kSilu, make_matrix(y.data(), t, half));
            ASSERT_EQ(y, want) << kernels::isa_name(level) << " " << dtype_info(dtype).name
                               << " threads " << threads << " rows " << t << " adds " << adds;
          }
        }
      }
    }
  }
}

TEST(CpuMatmul, FusedSourcesOfDifferentFormatsAndTransposedOnes) {
  const int64_t t = 6, k = 256;
  const Stored a(DType::kBF16, 20, k, 1);
  const Stored b(DType::kQ6_K, 9, k, 2);
  const Stored c(DType::kF32, k, 11, 3);  // [K, N]
  const std::vector<float> x = random_floats(8, t * k);
  for (const IsaLevel level : levels_here()) {
    CpuOps ops(2, level);
    WeightSource sources[] = {a.source(), b.source(), c.source()};
    sources[2].transposed = true;
    const auto fused = ops.make_weight(sources, {.compute = ComputeType::kF32});
    ASSERT_TRUE(fused.has_value()) << fused.error().message;
    ASSERT_EQ((*fused)->rows(), 40);
    EXPECT_EQ((*fused)->layout(), "mixed");
    const int lanes = kernels::float_dot_kernel(level).lanes;
    for (const int64_t rows : {int64_t{1}, t}) {
      const std::vector<float> y = multiply(ops, **fused, x, rows);
      for (int64_t i = 0; i < rows * 40; ++i) {
        const int64_t n = i % 40;
        std::vector<float> column(static_cast<size_t>(k));
        for (int64_t j = 0; j < k; ++j) {
          column[static_cast<size_t>(j)] = n < 20   ? a.row(n)[j]
                                           : n < 29 ? b.row(n - 20)[j]
                                                    : c.row(j)[n - 29];
        }
        ASSERT_EQ(y[static_cast<size_t>(i)],
                  kernels::float_dot_model(x.data() + i / 40 * k, column.data(), k, lanes,
                                           level != IsaLevel::kGeneric));
      }
    }
  }
}

QuantizedMatrix random_symmetric(int32_t bits, int64_t rows, int64_t cols, int64_t group_size,
                                 uint64_t seed) {
  QuantizedMatrix matrix = test::random_codes(bits, rows, cols, group_size, seed);
  matrix.zero = 1 << (bits - 1);
  matrix.scales = random_floats(seed, rows * matrix.num_groups(), 0.1f);
  return matrix;
}

InputTransform random_transform(int64_t cols, uint64_t seed, int32_t hadamard) {
  InputTransform t;
  t.input_scale = random_floats(seed, cols);
  for (int64_t k = 0; k < cols; ++k) {
    t.permutation.push_back(static_cast<int32_t>((k * 7 + static_cast<int64_t>(seed)) % cols));
  }
  t.hadamard_block = hadamard;
  return t;
}

TEST(CpuMatmul, CodesBecomePanelsAndKeepTheirTransforms) {
  const int64_t k = 192;
  const InputTransform scaled = random_transform(k, 3, 0);
  const InputTransform rotated = random_transform(k, 5, 64);
  std::vector<test::FixedSource> sources;
  int index = 0;
  struct Codes {
    int32_t bits;
    int64_t group_size;
  };
  for (const auto& [bits, group_size] : std::vector<Codes>{
           {8, 64}, {4, k}, {3, 64}, {2, k}, {4, 64}, {8, k}, {2, 16}, {3, 16}, {4, 16}}) {
    QuantizedMatrix matrix =
        random_symmetric(bits, 9 + 5 * index, k, group_size, static_cast<uint64_t>(40 + index));
    if (index % 3 == 1) matrix.transform = scaled;
    if (index % 3 == 2) matrix.transform = rotated;
    ASSERT_TRUE(is_valid(matrix));
    sources.emplace_back(std::move(matrix));
    ++index;
  }
  const int64_t t = 7;
  const std::vector<float> x = random_floats(8, t * k);
  std::vector<float> first;  // of the first level
  for (const IsaLevel level : levels_here()) {
    CpuOps ops(2, level);
    std::vector<WeightSource> list;
    for (const test::FixedSource& source : sources) list.push_back(source.source());
    auto weight = ops.make_weight(list, {.compute = ComputeType::kAuto});
    ASSERT_TRUE(weight.has_value()) << weight.error().message;
    const auto n = static_cast<size_t>((*weight)->rows());
    const std::vector<float> y = multiply(ops, **weight, x, t);
    if (first.empty()) first = y;
    EXPECT_EQ(y, first) << kernels::isa_name(level);
    for (int64_t i = 0; i < t; ++i) {  // each row alone
      const std::vector<float> row(x.begin() + i * k, x.begin() + (i + 1) * k);
      const std::vector<float> alone = multiply(ops, **weight, row, 1);
      EXPECT_EQ(
          0, std::memcmp(alone.data(), y.data() + static_cast<size_t>(i) * n, n * sizeof(float)));
    }
    int64_t at = 0;
    for (const test::FixedSource& source : sources) {
      const QuantizedMatrix& matrix = source.matrix();
      std::vector<float> want(static_cast<size_t>(k));
      std::vector<float> got(want);
      std::vector<float> input(want);
      for (int64_t r = 0; r < matrix.rows; ++r, ++at) {
        dequantize_row(matrix, r, want.data());
        dequantize_weight_row(**weight, at, got.data());
        ASSERT_EQ(got, want);
        dequantize_codes(matrix, r, want.data());
        for (int64_t i = 0; i < t; ++i) {
          apply_transform(matrix.transform, x.data() + i * k, input.data(), k);
          double exact = 0.0;
          double bound = 0.0;  // half a step of each group of the input
          for (int64_t g = 0; g < k; g += 32) {
            double most = 0.0;
            double weights = 0.0;
            for (int64_t j = g; j < g + 32; ++j) {
              const auto c = static_cast<size_t>(j);
              exact += double{want[c]} * double{input[c]};
              most = std::max(most, std::abs(double{input[c]}));
              weights += std::abs(double{want[c]});
            }
            bound += most * weights * (0.5005 / 127.0 + 1e-5);
          }
          ASSERT_NEAR(y[static_cast<size_t>(i) * n + static_cast<size_t>(at)], exact, bound)
              << kernels::isa_name(level) << " " << matrix.bits << " bits";
        }
      }
    }
  }
}

TEST(CpuMatmul, RefusesWhatItCannotRun) {
  CpuOps ops(1, IsaLevel::kGeneric);
  const std::vector<float> data(64);
  const WeightSource vector_source{make_view(data.data(), DType::kF32, {8}), false};
  EXPECT_FALSE(ops.make_weight({&vector_source, 1}, {}).has_value());
  const WeightSource integers{make_view(data.data(), DType::kIQ2_XXS, {1, 256}), false};
  const auto refused = ops.make_weight({&integers, 1}, {});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(refused.error().message.find("iq2_xxs"), std::string::npos);
  const WeightSource unequal[] = {{make_view(data.data(), DType::kF32, {2, 8}), false},
                                  {make_view(data.data(), DType::kF32, {2, 16}), false}};
  EXPECT_FALSE(ops.make_weight(unequal, {}).has_value());
  EXPECT_FALSE(ops.make_weight({}, {}).has_value());
}

}  // namespace
}  // namespace ruvllm
