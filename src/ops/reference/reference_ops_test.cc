#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/float_types.h"
#include "ops/reference/reference_math.h"
#include "ops/reference/reference_ops.h"
#include "ops/reference/reference_weight.h"

namespace ruvllm::reference {
namespace {

std::unique_ptr<Weight> weight_of(const std::vector<float>& values, int64_t rows, int64_t cols) {
  const WeightSource source{make_view(values.data(), DType::kF32, {rows, cols}), false};
  auto weight = ReferenceWeight::make({&source, 1});
  EXPECT_TRUE(weight.has_value());
  return std::move(*weight);
}

TEST(ReferenceMath, SumsOfEveryLengthMatchDouble) {
  std::vector<float> values(100);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i)) * 3.0f;
  for (int64_t n = 0; n <= 100; ++n) {
    double want = 0.0;
    for (int64_t i = 0; i < n; ++i) want += values[static_cast<size_t>(i)];
    EXPECT_NEAR(sum_of(n, [&](int64_t i) { return values[static_cast<size_t>(i)]; }), want, 2e-5)
        << n;
  }
}

TEST(ReferenceWeight, StacksSourcesAndTurnsTransposedOnes) {
  const std::vector<float> top = {1, 2, 3, 4, 5, 6};           // [2, 3]
  const std::vector<float> bottom = {10, 20, 30, 40, 50, 60};  // [3, 2] turned: [2, 3]
  const WeightSource sources[] = {{make_view(top.data(), DType::kF32, {2, 3}), false},
                                  {make_view(bottom.data(), DType::kF32, {3, 2}), true}};
  const auto weight = ReferenceWeight::make(sources);
  ASSERT_TRUE(weight.has_value());
  EXPECT_EQ((*weight)->rows(), 4);
  EXPECT_EQ((*weight)->cols(), 3);
  EXPECT_EQ((*weight)->layout(), "f32");
  EXPECT_EQ((*weight)->bytes(), 48u);
  float scratch[3];
  const float* row = as_reference(**weight).row(1, scratch);
  EXPECT_EQ(row[0], 4.0f);
  row = as_reference(**weight).row(3, scratch);
  EXPECT_EQ(row[0], 20.0f);
  EXPECT_EQ(row[2], 60.0f);
}

TEST(ReferenceWeight, ReadsHalfPrecisionAtOddAddresses) {
  std::vector<std::byte> bytes(1 + 4);
  const uint16_t halves[] = {f32_to_bf16(1.5f), f32_to_bf16(-2.0f)};
  std::memcpy(bytes.data() + 1, halves, 4);
  const WeightSource source{make_view(bytes.data() + 1, DType::kBF16, {1, 2}), false};
  const auto weight = ReferenceWeight::make({&source, 1});
  ASSERT_TRUE(weight.has_value());
  float scratch[2];
  const float* row = as_reference(**weight).row(0, scratch);
  EXPECT_EQ(row[0], 1.5f);
  EXPECT_EQ(row[1], -2.0f);
}

TEST(ReferenceWeight, RefusesWhatItCannotDequantizeByName) {
  const std::vector<std::byte> bytes(100);
  const WeightSource source{make_view(bytes.data(), DType::kIQ1_S, {1, 256}), false};
  const auto weight = ReferenceWeight::make({&source, 1});
  ASSERT_FALSE(weight.has_value());
  EXPECT_EQ(weight.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(weight.error().message.find("iq1_s"), std::string::npos);
}

TEST(ReferenceOps, MatmulAddsDeltaBiasBranchScaleAndResidual) {
  const std::vector<float> matrix = {1, 0, 0, 1, 1, 1};
  const auto weight = weight_of(matrix, 3, 2);
  std::vector<float> x = {2, 3};
  std::vector<float> delta = {10, 20, 30};
  std::vector<float> bias = {1, 1, 1};
  std::vector<float> y = {100, 200, 300};
  MatmulArgs args;
  args.x = make_matrix(x.data(), 1, 2);
  args.weight = weight.get();
  args.bias = bias.data();
  args.delta = make_matrix(delta.data(), 1, 3);
  args.branch_scale = 2.0f;
  args.residual = make_matrix(y.data(), 1, 3);
  args.y = make_matrix(y.data(), 1, 3);
  ReferenceOps ops;
  ops.matmul(args);
  EXPECT_EQ(y, (std::vector<float>{100 + 2 * (2 + 10 + 1), 200 + 2 * (3 + 20 + 1),
                                   300 + 2 * (5 + 30 + 1)}));
}

TEST(ReferenceOps, NormsHaveUnitPowerAndZeroMean) {
  std::vector<float> x = {1, 2, 3, 4, -1, -2, -3, -40};
  const std::vector<float> weight = {1, 1, 1, 1};
  const std::vector<float> bias = {0.5f, 0.5f, 0.5f, 0.5f};
  std::vector<float> y(8);
  NormArgs args;
  args.x = make_matrix(x.data(), 1, 8);
  args.y = make_matrix(y.data(), 1, 8);
  args.weight = weight.data();
  args.groups = 2;
  ReferenceOps ops;
  ops.rms_norm(args);
  for (size_t g = 0; g < 2; ++g) EXPECT_NEAR(dot(&y[4 * g], &y[4 * g], 4) / 4, 1.0f, 1e-6f);
  args.plus_one = true;
  std::vector<float> doubled(8);
  args.y = make_matrix(doubled.data(), 1, 8);
  ops.rms_norm(args);
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(doubled[i], 2.0f * y[i]);
  args.plus_one = false;
  args.bias = bias.data();
  ops.layer_norm(args);
  EXPECT_NEAR(std::accumulate(doubled.begin(), doubled.begin() + 4, 0.0f), 4 * 0.5f, 1e-6f);
}

TEST(ReferenceOps, RopeTurnsBothPairLayoutsAndLeavesTheRest) {
  const float cos[] = {0.0f, 1.0f};
  const float sin[] = {1.0f, 0.0f};
  std::vector<float> halves = {1, 2, 3, 4, 9};
  std::vector<float> interleaved = {1, 3, 2, 4, 9};
  RopeArgs args;
  args.num_heads = 1;
  args.head_dim = 5;
  args.rotary_dim = 4;
  args.cos = {cos, 1, 2, 2};
  args.sin = {sin, 1, 2, 2};
  args.x = make_matrix(halves.data(), 1, 5);
  ReferenceOps ops;
  ops.rope(args);
  EXPECT_EQ(halves, (std::vector<float>{-3, 2, 1, 4, 9}));
  args.layout = RopeLayout::kInterleaved;
  args.x = make_matrix(interleaved.data(), 1, 5);
  ops.rope(args);
  EXPECT_EQ(interleaved, (std::vector<float>{-3, 1, 2, 4, 9}));
}

// Attention over three positions in pages of two, out of order, against the formula.
TEST(ReferenceOps, AttentionFollowsBlockTableWindowAndSoftcap) {
  std::vector<float> memory(4 * 2 * 2 * 2);  // 4 blocks, k and v, 2 positions, D = 2
  std::byte* blocks[4];
  for (size_t b = 0; b < 4; ++b) blocks[b] = reinterpret_cast<std::byte*>(&memory[8 * b]);
  KvLayerView kv;
  kv.blocks = blocks;
  kv.v_offset_bytes = 4 * sizeof(float);
  kv.block_tokens = 2;
  kv.num_kv_heads = 1;
  kv.head_dim = 2;
  const int32_t table[] = {3, 1};
  const SequenceSpan sequence{0, 3, 0, table};
  std::vector<float> k = {1, 0, 0, 1, 1, 1};
  std::vector<float> v = {1, 2, 3, 4, 5, 6};
  std::vector<float> q = {1, 2, 0.5f, -1, 2, 1};
  ReferenceOps ops;
  ops.kv_write({make_matrix(k.data(), 3, 2), make_matrix(v.data(), 3, 2), kv, {&sequence, 1}});
  for (const int32_t window : {0, 2}) {
    for (const float cap : {0.0f, 1.5f}) {
      std::vector<float> out(6);
      AttentionArgs args;
      args.q = make_matrix(q.data(), 3, 2);
      args.out = make_matrix(out.data(), 3, 2);
      args.kv = kv;
      args.sequences = {&sequence, 1};
      args.num_heads = 1;
      args.window = window;
      args.scale = 0.7f;
      args.softcap = cap;
      ops.attention(args);
      for (size_t t = 0; t < 3; ++t) {
        double total = 0.0;
        double want[2] = {};
        for (size_t j = 0; j <= t; ++j) {
          if (window != 0 && t - j >= static_cast<size_t>(window)) continue;
          double score = 0.7 * (q[2 * t] * k[2 * j] + q[2 * t + 1] * k[2 * j + 1]);
          if (cap != 0.0f) score = cap * std::tanh(score / cap);
          total += std::exp(score);
          for (size_t d = 0; d < 2; ++d) want[d] += std::exp(score) * v[2 * j + d];
        }
        for (size_t d = 0; d < 2; ++d) EXPECT_NEAR(out[2 * t + d], want[d] / total, 1e-6);
      }
    }
  }
}

TEST(ReferenceOps, ExpertChoiceBreaksTiesByIndexAndSurvivesNan) {
  std::vector<float> probabilities(4);
  std::vector<int32_t> chosen(2);
  std::vector<float> weights(2);
  choose_experts(std::vector<float>{1, 2, 2, 2}, true, probabilities, chosen, weights);
  EXPECT_EQ(chosen, (std::vector<int32_t>{1, 2}));
  EXPECT_NEAR(weights[0], 0.5f, 1e-6f);
  choose_experts(std::vector<float>{0, 0, 0, std::log(3.0f)}, false, probabilities, chosen,
                 weights);
  EXPECT_EQ(chosen, (std::vector<int32_t>{0, 3}));
  EXPECT_NEAR(weights[1], 0.5f, 1e-6f);
  EXPECT_NEAR(weights[0], 1.0f / 6.0f, 1e-6f);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  choose_experts(std::vector<float>{nan, nan, nan, nan}, true, probabilities, chosen, weights);
  EXPECT_EQ(chosen, (std::vector<int32_t>{0, 1}));
}

}  // namespace
}  // namespace ruvllm::reference
