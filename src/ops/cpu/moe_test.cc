// CpuOps::moe against the reference device, and that a token's result is its own.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "ops/cpu/cpu_ops.h"

namespace ruvllm {
namespace {

constexpr int64_t kTokens = 9, kWidth = 24, kFfn = 40, kExperts = 5, kChosen = 2;

std::vector<float> random_floats(uint64_t seed, int64_t count) {
  std::vector<float> out(static_cast<size_t>(count));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(2.0 * random_uniform(seed, 1, i) - 1.0);
  }
  return out;
}

using Experts = std::vector<std::unique_ptr<Weight>>;

Experts make_experts(Ops& ops, const std::vector<float>& data, int64_t rows, int64_t cols) {
  Experts out;
  for (int64_t e = 0; e < kExperts; ++e) {
    const WeightSource source{make_view(data.data() + e * rows * cols, DType::kF32, {rows, cols})};
    out.push_back(*ops.make_weight({&source, 1}, {.compute = ComputeType::kF32}));
  }
  return out;
}

// The rows [first, first + count) of the batch.
std::vector<float> run(Ops& ops, int64_t first, int64_t count) {
  const std::vector<float> up = random_floats(1, kExperts * 2 * kFfn * kWidth);
  const std::vector<float> down = random_floats(2, kExperts * kWidth * kFfn);
  const std::vector<float> x = random_floats(3, kTokens * kWidth);
  const std::vector<float> logits = random_floats(4, kTokens * kExperts);
  std::vector<float> y = random_floats(5, kTokens * kWidth);  // the residual, in place
  const Experts gate_up = make_experts(ops, up, 2 * kFfn, kWidth);
  const Experts downs = make_experts(ops, down, kWidth, kFfn);
  MoeArgs args;
  args.x = {x.data() + first * kWidth, count, kWidth, kWidth};
  args.router_logits = {logits.data() + first * kExperts, count, kExperts, kExperts};
  args.experts_per_token = kChosen;
  args.gate_up = gate_up;
  args.down = downs;
  args.y = make_matrix(y.data() + first * kWidth, count, kWidth);
  args.residual = args.y;
  args.branch_scale = 0.5f;
  ops.moe(args);
  return {y.begin() + first * kWidth, y.begin() + (first + count) * kWidth};
}

TEST(CpuMoe, IsNearTheReference) {
  const std::vector<float> want = run(*make_reference_ops(), 0, kTokens);
  for (const kernels::IsaLevel level : kernels::all_isa_levels()) {
    if (!kernels::isa_supported(level)) continue;
    CpuOps ops(2, level);
    const std::vector<float> got = run(ops, 0, kTokens);
    // Three products deep: sums of 24 and 40 terms of magnitude below 1, 24 and 24 * 40.
    const float bound =
        0.5f * kFfn * kWidth * (kFfn + 2 * kWidth) * std::numeric_limits<float>::epsilon();
    for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], bound) << i;
  }
}

TEST(CpuMoe, ATokenDoesNotSeeItsNeighbours) {
  CpuOps ops(2, *kernels::pick_isa());
  const std::vector<float> all = run(ops, 0, kTokens);
  for (const int64_t count : {1, 2, 5}) {
    for (int64_t t = 0; t + count <= kTokens; t += count) {
      const std::vector<float> some = run(ops, t, count);
      ASSERT_EQ(0, std::memcmp(some.data(), all.data() + t * kWidth, some.size() * sizeof(float)));
    }
  }
}

}  // namespace
}  // namespace ruvllm
