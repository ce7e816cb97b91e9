// CpuOps::lora_delta beside the plain loops, and with the same bits whatever stands beside a row.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "base/float_types.h"
#include "ops/cpu/cpu_ops.h"

namespace ruvllm {
namespace {

std::vector<float> random_floats(uint32_t seed, int64_t count, float limit) {
  std::vector<float> out(static_cast<size_t>(count));
  uint32_t state = seed * 2654435761u + 1;
  for (float& x : out) {
    state = state * 1664525u + 1013904223u;
    x = (static_cast<float>(state >> 8) * 0x1p-23f - 1.0f) * limit;
  }
  return out;
}

// Terms with numbers of their own, f32 or bf16 in turn.
struct Terms {
  std::vector<std::vector<float>> numbers;
  std::vector<std::vector<uint16_t>> narrow;
  std::vector<LoraTerm> terms;

  const void* take(uint32_t seed, int64_t count, DType dtype) {
    numbers.push_back(random_floats(seed, count, 1.0f));
    if (dtype == DType::kF32) return numbers.back().data();
    std::vector<uint16_t>& bits = narrow.emplace_back();
    for (const float value : numbers.back()) bits.push_back(f32_to_bf16(value));
    return bits.data();
  }
  void add(int64_t k, int32_t rank, int64_t first, int64_t columns, float scale, int32_t gate) {
    const auto seed = static_cast<uint32_t>(numbers.size()) + static_cast<uint32_t>(rank) * 77;
    const DType dtype = terms.size() % 2 == 0 ? DType::kBF16 : DType::kF32;
    const void* a = take(seed, k * rank, dtype);
    const void* b = take(seed + 1, lora_panel_elements(columns, rank), dtype);
    terms.push_back({a, b, dtype, rank, first, columns, scale, gate});
  }
};

constexpr int64_t kRows = 9;
constexpr int64_t kOutputs = 5000;

struct Batch {
  int64_t k;
  std::vector<float> x = random_floats(5, kRows* k, 1.0f);
  std::vector<float> gates = random_floats(6, kRows * 4, 1.0f);
  Terms first, second;
  std::vector<int32_t> first_rows = {0, 3, 8}, second_rows = {1, 2, 7};

  explicit Batch(int64_t columns) : k(columns) {
    first.add(k, 16, 0, 3000, 2.0f, -1);
    first.add(k, 70, 3000, 2000, 0.5f, 1);
    second.add(k, 1, 100, 4100, 1.0f, 3);
    second.add(k, 3, 0, kOutputs, -1.5f, 0);
  }
  ConstMatrixF32 gate_rows() const { return {gates.data(), kRows, 4, 4}; }
  ConstMatrixF32 x_rows() const { return {x.data(), kRows, k, k}; }
};

std::vector<float> run(Ops& ops, const Batch& batch, bool plain, int only_row = -1) {
  std::vector<float> delta(kRows * kOutputs, 99.0f);
  std::vector<int32_t> one = {only_row};
  std::vector<LoraArgs::Rows> groups;
  const auto has = [&](const std::vector<int32_t>& rows) {
    return std::find(rows.begin(), rows.end(), only_row) != rows.end();
  };
  if (only_row < 0) {
    groups = {{batch.first.terms, batch.first_rows, batch.gate_rows()},
              {batch.second.terms, batch.second_rows, batch.gate_rows()}};
  } else if (has(batch.first_rows)) {
    groups = {{batch.first.terms, one, batch.gate_rows()}};
  } else if (has(batch.second_rows)) {
    groups = {{batch.second.terms, one, batch.gate_rows()}};
  }
  LoraArgs args;
  args.x = batch.x_rows();
  args.groups = groups;
  args.delta = make_matrix(delta.data(), kRows, kOutputs);
  if (plain) {
    ops.Ops::lora_delta(args);
  } else {
    ops.lora_delta(args);
  }
  return delta;
}

TEST(CpuLora, EqualsThePlainLoops) {
  for (const kernels::IsaLevel isa : kernels::all_isa_levels()) {
    if (!kernels::isa_supported(isa)) continue;
    for (const int64_t k : {64, 67, 600}) {
      const Batch batch(k);
      CpuOps ops(3, isa);
      const std::vector<float> want = run(ops, batch, true);
      const std::vector<float> got = run(ops, batch, false);
      // |low| <= k, |B| <= 1: each of at most 86 ranks adds at most k * eps * (a few).
      const float limit = 2.0f * 86.0f * static_cast<float>(k) * 0x1p-23f;
      for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], limit) << i;
    }
  }
}

TEST(CpuLora, ARowDoesNotDependOnItsNeighboursNorOnThreads) {
  const auto isa = kernels::pick_isa();
  ASSERT_TRUE(isa.has_value());
  const Batch batch(67);
  CpuOps many(4, *isa);
  CpuOps single(1, *isa);
  const std::vector<float> all = run(many, batch, false);
  EXPECT_EQ(0, std::memcmp(all.data(), run(single, batch, false).data(), all.size() * 4));
  for (int row = 0; row < kRows; ++row) {
    const std::vector<float> alone = run(many, batch, false, row);
    const size_t at = static_cast<size_t>(row) * kOutputs;
    EXPECT_EQ(0, std::memcmp(all.data() + at, alone.data() + at, kOutputs * 4)) << row;
  }
}

TEST(CpuLora, RowsWithoutAnAdapterGetANegativeZero) {
  const auto isa = kernels::pick_isa();
  ASSERT_TRUE(isa.has_value());
  const Batch batch(64);
  CpuOps ops(2, *isa);
  for (const bool plain : {false, true}) {
    const std::vector<float> delta = run(ops, batch, plain);
    for (const int64_t row : {4, 5, 6}) {
      for (int64_t n = 0; n < kOutputs; ++n) {
        const float value = delta[static_cast<size_t>(row * kOutputs + n)];
        ASSERT_TRUE(value == 0.0f && std::signbit(value)) << row << " " << n;
      }
    }
  }
}

TEST(CpuLora, AnEmbeddingGathersItsRows) {
  const auto isa = kernels::pick_isa();
  ASSERT_TRUE(isa.has_value());
  CpuOps ops(2, *isa);
  const std::vector<float> a = {1, 2, 3, 4, 5, 6};  // [V = 3, R = 2]
  std::vector<float> b(static_cast<size_t>(lora_panel_elements(3, 2)));
  const float rows_of_b[2][3] = {{1, 0, -1}, {10, 20, 30}};
  for (int j = 0; j < 2; ++j) {
    for (int n = 0; n < 3; ++n) b[static_cast<size_t>(lora_panel_index(n, j, 2))] = rows_of_b[j][n];
  }
  const LoraTerm term = {a.data(), b.data(), DType::kF32, 2, 0, 3, 2.0f, -1};
  const std::vector<int32_t> ids = {2, 0};
  const std::vector<int32_t> rows = {0, 1};
  const LoraArgs::Rows group = {{&term, 1}, rows, {}};
  std::vector<float> delta(6);
  LoraArgs args;
  args.ids = ids;
  args.groups = {&group, 1};
  args.delta = make_matrix(delta.data(), 2, 3);
  const std::vector<float> want = {2 * (5 + 60), 2 * (0 + 120), 2 * (-5 + 180),
                                   2 * (1 + 20), 2 * (0 + 40),  2 * (-1 + 60)};
  ops.lora_delta(args);
  EXPECT_EQ(delta, want);
  ops.Ops::lora_delta(args);
  EXPECT_EQ(delta, want);
}

}  // namespace
}  // namespace ruvllm
