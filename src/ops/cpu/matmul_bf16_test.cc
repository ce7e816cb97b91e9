// CpuOps with a kernel of bf16_dot.h (the model of AMX, on any machine): which products take it,
// and that what it computes depends neither on the other rows nor on the threads.
#include <gtest/gtest.h>

#include <vector>

#include "base/float_types.h"
#include "base/rng.h"
#include "kernels/matmul/bf16_tiles_impl.h"
#include "ops/cpu/cpu_ops.h"
#include "tensor/dtype.h"

namespace ruvllm {
namespace {

constexpr kernels::Bf16DotKernel kModel = kernels::make_bf16_tiles<kernels::ModelTiles>();
constexpr auto kGeneric = kernels::IsaLevel::kGeneric;

std::vector<float> random_floats(int64_t n, uint64_t seed) {
  std::vector<float> out(static_cast<size_t>(n));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(2.0 * random_uniform(seed, 1, i) - 1.0);
  }
  return out;
}

std::vector<uint16_t> as_bf16(const std::vector<float>& values) {
  std::vector<uint16_t> out;
  for (const float value : values) out.push_back(f32_to_bf16(value));
  return out;
}

std::vector<float> rounded(std::vector<float> values) {
  for (float& value : values) value = bf16_to_f32(f32_to_bf16(value));
  return values;
}

std::unique_ptr<Weight> make(CpuOps& ops, std::span<const WeightSource> sources,
                             ComputeType compute) {
  auto weight = ops.make_weight(sources, {.compute = compute, .is_embedding = false});
  EXPECT_TRUE(weight.has_value()) << weight.error().message;
  return *std::move(weight);
}

template <typename Element>
WeightSource source(const std::vector<Element>& rows, DType dtype, int64_t cols) {
  const auto* bytes = reinterpret_cast<const std::byte*>(rows.data());
  return {make_view(bytes, dtype, {static_cast<int64_t>(rows.size()) / cols, cols}), false};
}

std::vector<float> multiply(CpuOps& ops, const Weight& weight, const std::vector<float>& x) {
  const int64_t rows = static_cast<int64_t>(x.size()) / weight.cols();
  std::vector<float> y(static_cast<size_t>(rows * weight.rows()), -99.0f);
  MatmulArgs args;
  args.x = {x.data(), rows, weight.cols(), weight.cols()};
  args.weight = &weight;
  args.y = make_matrix(y.data(), rows, weight.rows());
  ops.matmul(args);
  return y;
}

// Rows of bf16 go through the tiles, others beside them in the same weight do not; a whole number
// of steps of columns, and one that is not.
TEST(CpuMatmulBf16, FastModeRoundsTheInputOfBf16RowsAlone) {
  for (const int64_t cols : {64, 77}) {
    const auto w = random_floats(45 * cols, 1);
    const auto bits = as_bf16(w);
    const WeightSource both[] = {source(bits, DType::kBF16, cols), source(w, DType::kF32, cols)};
    CpuOps tiles(2, kGeneric, &kModel);
    CpuOps plain(2, kGeneric);
    const auto fast = make(tiles, both, ComputeType::kAuto);
    const auto exact = make(tiles, both, ComputeType::kF32);
    const auto reference = make(plain, both, ComputeType::kAuto);
    for (const int64_t rows : {1, 3, 40}) {
      const auto x = random_floats(rows * cols, 2);
      const auto got = multiply(tiles, *fast, x);
      const auto of_x = multiply(plain, *reference, x);
      const auto of_rounded = multiply(plain, *reference, rounded(x));
      EXPECT_EQ(multiply(tiles, *exact, x), of_x);
      int differ = 0;
      for (size_t i = 0; i < got.size(); ++i) {
        if (i % 90 >= 45) {
          ASSERT_EQ(got[i], of_x[i]) << "an f32 row";
          continue;
        }
        // The same numbers, added in another order: two sums of `cols` products below 1.
        ASSERT_NEAR(got[i], of_rounded[i], 2.0 * static_cast<double>(cols * cols) * 0x1p-24);
        differ += got[i] != of_x[i];
      }
      EXPECT_GT(differ, 0);
    }
  }
}

TEST(CpuMatmulBf16, RowsDoNotDependOnOthersNorOnThreads) {
  const int64_t cols = 70, num_w = 200, num_x = 270;  // more than one pass of rows
  const auto bits = as_bf16(random_floats(num_w * cols, 3));
  const WeightSource sources[] = {source(bits, DType::kBF16, cols)};
  const auto x = random_floats(num_x * cols, 4);
  CpuOps ops(3, kGeneric, &kModel);
  const auto weight = make(ops, sources, ComputeType::kAuto);
  const auto all = multiply(ops, *weight, x);
  CpuOps one_thread(1, kGeneric, &kModel);
  const auto same = make(one_thread, sources, ComputeType::kAuto);
  EXPECT_EQ(multiply(one_thread, *same, x), all);
  for (const int64_t t : {0, 15, 100, 255, 256, 269}) {
    const std::vector<float> row(x.begin() + t * cols, x.begin() + (t + 1) * cols);
    const std::vector<float> among(all.begin() + t * num_w, all.begin() + (t + 1) * num_w);
    EXPECT_EQ(multiply(ops, *weight, row), among) << "row " << t;
  }
}

}  // namespace
}  // namespace ruvllm
