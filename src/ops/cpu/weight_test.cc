// make_weight of sources that make their rows one by one, against the same matrices read at once.
#include <gtest/gtest.h>

#include <cmath>

#include <utility>
#include <vector>

#include "kernels/cpu_isa.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/fixed_source_test_util.h"
#include "tensor/quantized_matrix.h"
#include "tensor/random_quantized.h"

namespace ruvllm {
namespace {

// Row by row; from row `broken` on there are none.
class ByRow final : public test::FixedSource {
 public:
  ByRow(QuantizedMatrix matrix, int64_t broken) : FixedSource(std::move(matrix)), broken_(broken) {}
  Result<QuantizedMatrix> read() const override {
    return fail(ErrorCode::kInternal, "read() of a source that makes rows");
  }
  std::optional<QuantizedMatrix> form() const override {
    QuantizedMatrix form = matrix();
    form.codes.clear();
    form.scales.clear();
    form.zeros.clear();
    return form;
  }
  Status read_rows(int64_t first, int64_t count, QuantizedMatrix& out) const override {
    if (first + count > broken_) return fail(ErrorCode::kBadFile, "broken rows");
    const auto copy = [&](const auto& from, auto& to, int64_t each) {
      if (from.empty()) return;
      to.assign(from.begin() + first * each, from.begin() + (first + count) * each);
    };
    const QuantizedMatrix& all = matrix();
    out.rows = count;
    out.cols = all.cols;
    out.bits = all.bits;
    out.group_size = all.group_size;
    out.zero = all.zero;
    copy(all.codes, out.codes, all.cols);
    copy(all.scales, out.scales, all.num_groups());
    copy(all.zeros, out.zeros, all.num_groups());
    return {};
  }

 private:
  int64_t broken_;
};

constexpr int64_t kCols = 192;

// Of all widths, with panels and without (groups of 48, and of 16 with 8 bits), some with an input
// transform.
std::vector<QuantizedMatrix> some_matrices() {
  std::vector<QuantizedMatrix> out;
  for (const int32_t bits : {8, 4, 3, 2}) {
    for (const int64_t group : {int64_t{32}, int64_t{64}, int64_t{48}, kCols, int64_t{16}}) {
      QuantizedMatrix matrix = test::random_matrix(bits, 5 + 3 * bits, kCols, group, bits % 2 == 0);
      if (group >= 64) {
        matrix.transform.hadamard_block = 64;
        for (int64_t k = 0; k < kCols; ++k) {
          matrix.transform.input_scale.push_back(0.5f + static_cast<float>(k));
        }
      }
      EXPECT_TRUE(is_valid(matrix));
      out.push_back(std::move(matrix));
    }
  }
  return out;
}

std::vector<float> multiply(CpuOps& ops, const Weight& weight, int64_t num_rows) {
  std::vector<float> x;
  for (int64_t i = 0; i < num_rows * kCols; ++i) x.push_back(static_cast<float>(i * 37 % 101 - 50));
  std::vector<float> y(static_cast<size_t>(num_rows * weight.rows()));
  MatmulArgs args;
  args.x = {x.data(), num_rows, kCols, kCols};
  args.weight = &weight;
  args.y = make_matrix(y.data(), num_rows, weight.rows());
  ops.matmul(args);
  return y;
}

TEST(CpuWeight, RowsMadeOneByOneGiveTheSame) {
  constexpr WeightOptions kOptions[] = {
      {.compute = ComputeType::kAuto},
      {.compute = ComputeType::kF32},
      {.compute = ComputeType::kAuto, .is_embedding = true, .embedding_only = true}};
  for (const kernels::IsaLevel level : kernels::all_isa_levels()) {
    if (!kernels::isa_supported(level)) continue;
    CpuOps ops(2, level);
    for (const QuantizedMatrix& matrix : some_matrices()) {
      for (const WeightOptions& options : kOptions) {
        const test::FixedSource whole(matrix);
        const ByRow by_row(matrix, matrix.rows);
        const WeightSource sources[] = {whole.source(), by_row.source()};
        const auto expected = ops.make_weight({&sources[0], 1}, options);
        const auto made = ops.make_weight({&sources[1], 1}, options);
        ASSERT_TRUE(expected.has_value()) << expected.error().message;
        ASSERT_TRUE(made.has_value()) << made.error().message;
        EXPECT_EQ((*made)->bytes(), (*expected)->bytes());
        std::vector<float> want(static_cast<size_t>(kCols)), got(want);
        for (int64_t n = 0; n < matrix.rows; ++n) {
          dequantize_row(matrix, n, want.data());
          if (!options.embedding_only) dequantize_weight_row(**expected, n, want.data());
          dequantize_weight_row(**made, n, got.data());
          ASSERT_EQ(got, want) << n;
        }
        if (options.embedding_only) continue;
        EXPECT_EQ(multiply(ops, **made, 3), multiply(ops, **expected, 3));
      }
    }
  }
}

// 2 bits in groups of 16: 3.125 bits a weight, of f16 scales and zero points that are codes.
TEST(CpuWeight, GroupsOf16StayCodes) {
  for (const kernels::IsaLevel level : kernels::all_isa_levels()) {
    if (!kernels::isa_supported(level)) continue;
    CpuOps ops(2, level);
    for (const bool zeros : {false, true}) {
      QuantizedMatrix matrix = test::random_matrix(2, 64, kCols, 16, zeros);
      for (float& scale : matrix.scales) scale = 0.25f;
      const test::FixedSource whole(matrix);
      const WeightSource source = whole.source();
      const auto made = ops.make_weight({&source, 1}, {.compute = ComputeType::kAuto});
      ASSERT_TRUE(made.has_value()) << made.error().message;
      EXPECT_EQ(static_cast<double>((*made)->bytes()) * 8, 64 * kCols * 3.125);
    }
  }
}

// The first panel's scales are f16 and its zero points codes, and a later row's are not: its
// numbers are what counts.
TEST(CpuWeight, OneOddScaleIsKept) {
  int tried = 0;
  std::vector<QuantizedMatrix> all = some_matrices();
  for (QuantizedMatrix& matrix : all) {
    if (matrix.kind != CodeKind::kInteger || matrix.rows <= 16) continue;
    for (float& scale : matrix.scales) scale = 0.25f;
    for (int16_t& zero : matrix.zeros) zero = 1;
    matrix.scales.back() = 1e6f;  // beyond f16
    ++tried;
    CpuOps ops(2, kernels::IsaLevel::kGeneric);
    const ByRow by_row(matrix, matrix.rows);
    const WeightSource source = by_row.source();
    const auto made = ops.make_weight({&source, 1}, {.compute = ComputeType::kAuto});
    ASSERT_TRUE(made.has_value()) << made.error().message;
    const test::FixedSource fixed(matrix);
    const WeightSource other = fixed.source();
    const auto exact = ops.make_weight({&other, 1}, {.compute = ComputeType::kAuto});
    std::vector<float> want(static_cast<size_t>(kCols)), got(want);
    for (int64_t n = 0; n < matrix.rows; ++n) {
      dequantize_row(matrix, n, want.data());
      dequantize_weight_row(**made, n, got.data());
      for (size_t k = 0; k < want.size(); ++k) {
        ASSERT_NEAR(got[k], want[k], 1e-2f * (1.0f + std::abs(want[k])))
            << n;  // bf16 where groups are odd
      }
    }
    EXPECT_EQ(multiply(ops, **made, 3), multiply(ops, **exact, 3));
  }
  EXPECT_GT(tried, 0);
}

TEST(CpuWeight, RowsThatCannotBeMadeAreAnError) {
  for (const QuantizedMatrix& matrix : some_matrices()) {
    const ByRow by_row(matrix, matrix.rows - 1);
    for (const ComputeType compute : {ComputeType::kAuto, ComputeType::kF32}) {
      CpuOps ops(2, kernels::IsaLevel::kGeneric);
      const WeightSource source = by_row.source();
      const auto refused = ops.make_weight({&source, 1}, {.compute = compute});
      ASSERT_FALSE(refused.has_value());
      EXPECT_EQ(refused.error().message, "broken rows");
    }
  }
}

}  // namespace
}  // namespace ruvllm
