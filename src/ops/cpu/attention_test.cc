// Attention of CpuOps is right: against sums in double over the stored keys and values, and beside
// the reference device. (attention_bits_test.cc: its bits.)
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "ops/cpu/attention_test_util.h"

namespace ruvllm {
namespace {

INSTANTIATE_TEST_SUITE_P(Isa, AttentionTest,
                         testing::Values(IsaLevel::kGeneric, IsaLevel::kNeon, IsaLevel::kAvx2,
                                         IsaLevel::kAvx512, IsaLevel::kAvx512Bf16, IsaLevel::kAmx),
                         [](const auto& info) {
                           return std::string(kernels::isa_name(info.param));
                         });

// Whole prompts of every shape against the double sums.
TEST_P(AttentionTest, PrefillIsRight) {
  const Shape shapes[] = {
      {1, 1, 8},
      {4, 2, 16},
      {4, 1, 24},
      {5, 5, 20},
      {6, 3, 80, DType::kF32, 100},
      {8, 1, 64, DType::kF16},
      {32, 4, 64, DType::kBF16},
      {2, 2, 128, DType::kF32, 0, 5.0f},
      {3, 1, 256, DType::kBF16, 16},
      {70, 1, 32},
      {4, 2, 36, DType::kBF16, 1},
      {4, 4, 40, DType::kF16, 64, 2.0f},
      {8, 2, 64, DType::kI8},
      {7, 1, 20, DType::kI8, 30},
      {3, 3, 128, DType::kI8, 0, 8.0f},
      {5, 1, 112, DType::kBF16},
  };
  Random random(1);
  const auto ops = make_ops(2);
  for (const Shape& s : shapes) {
    for (const int64_t tokens : {1, 17, 64, 65, 130}) {
      PagedKv kv(s, 16, tokens, random);
      const std::vector<int32_t> table = kv.take(tokens);
      const int64_t kv_cols = int64_t{s.kv_heads} * s.dim;
      const std::vector<float> k = random.floats(tokens * kv_cols, 2.0f);
      const std::vector<float> v = random.floats(tokens * kv_cols, 2.0f);
      const std::vector<float> q = random.floats(tokens * s.heads * s.dim, 2.0f);
      kv.write(*ops, table, k, v);
      const SequenceSpan span{0, tokens, 0, table};
      std::vector<float> out;
      ops->attention(make_args(s, kv.view(), q, out, {&span, 1}));
      const std::vector<float> stored_k = as_stored(k, s.dtype, s.dim);
      const std::vector<float> stored_v = as_stored(v, s.dtype, s.dim);
      const int32_t group = s.heads / s.kv_heads;
      for (int64_t t = 0; t < tokens; ++t) {
        for (int32_t h = 0; h < s.heads; ++h) {
          const int64_t at = (t * s.heads + h) * s.dim;
          const Exact exact = exact_row(s, q.data() + at, stored_k, stored_v, h / group, t);
          for (int32_t d = 0; d < s.dim; ++d) {
            ASSERT_NEAR(out[static_cast<size_t>(at + d)], exact.out[static_cast<size_t>(d)],
                        tolerance(exact, s))
                << "D " << s.dim << " tokens " << tokens << " row " << t << " head " << h;
          }
        }
      }
    }
  }
}

// Single late positions, where keys lie in several segments; large scores.
TEST_P(AttentionTest, LongDecodeIsRight) {
  const Shape shapes[] = {{4, 2, 64},
                          {8, 1, 64, DType::kBF16},
                          {2, 2, 24, DType::kF32, 600},
                          {2, 1, 128, DType::kF16, 0, 30.0f},
                          {8, 2, 64, DType::kI8}};
  Random random(2);
  for (const Shape& s : shapes) {
    constexpr int64_t kTokens = 1700;
    PagedKv kv(s, 16, kTokens, random);
    const std::vector<int32_t> table = kv.take(kTokens);
    const int64_t kv_cols = int64_t{s.kv_heads} * s.dim;
    const std::vector<float> k = random.floats(kTokens * kv_cols, 6.0f);
    const std::vector<float> v = random.floats(kTokens * kv_cols, 1.0f);
    const auto ops = make_ops(3);
    kv.write(*ops, table, k, v);
    const std::vector<float> stored_k = as_stored(k, s.dtype, s.dim);
    const std::vector<float> stored_v = as_stored(v, s.dtype, s.dim);
    const auto reference = make_reference_ops();
    for (const int64_t position : {510, 511, 512, 1023, 1024, 1699}) {
      const std::vector<float> q = random.floats(int64_t{s.heads} * s.dim, 6.0f);
      const SequenceSpan span{0, 1, position, table};
      std::vector<float> out;
      ops->attention(make_args(s, kv.view(), q, out, {&span, 1}));
      std::vector<float> reference_out;
      reference->attention(make_args(s, kv.view(), q, reference_out, {&span, 1}));
      for (int32_t h = 0; h < s.heads; ++h) {
        const Exact exact = exact_row(s, q.data() + int64_t{h} * s.dim, stored_k, stored_v,
                                      h / (s.heads / s.kv_heads), position);
        for (int32_t d = 0; d < s.dim; ++d) {
          const auto at = static_cast<size_t>(h * s.dim + d);
          ASSERT_NEAR(out[at], exact.out[static_cast<size_t>(d)], tolerance(exact, s))
              << "D " << s.dim << " position " << position << " head " << h;
          ASSERT_NEAR(reference_out[at], exact.out[static_cast<size_t>(d)], exact.tolerance);
        }
      }
    }
  }
}

TEST_P(AttentionTest, PagesBehindTheWindowAreNotRead) {
  const Shape s{4, 2, 32, DType::kF32, 20};
  Random random(5);
  const auto ops = make_ops(1);
  PagedKv kv(s, 16, 600, random);
  std::vector<int32_t> table = kv.take(600);
  const std::vector<float> k = random.floats(600 * 64, 1.0f);
  const std::vector<float> v = random.floats(600 * 64, 1.0f);
  kv.write(*ops, table, k, v);
  const std::vector<float> q = random.floats(3 * 128, 1.0f);
  const SequenceSpan span{0, 3, 590, table};
  std::vector<float> expected;
  ops->attention(make_args(s, kv.view(), q, expected, {&span, 1}));
  for (size_t i = 0; i < 571 / 16; ++i) table[i] = -1;
  std::vector<float> got;
  ops->attention(make_args(s, kv.view(), q, got, {&span, 1}));
  EXPECT_EQ(got, expected);
}

// Sequences that fork from common prefixes, blocks of several sizes, rows of prefill and others'
// between: with sharing and without, alone and together, the bits are the same.
TEST_P(AttentionTest, NanOfALaterTokenStaysThere) {
  const Shape s{6, 2, 40};
  Random random(11);
  const auto ops = make_ops(2);
  PagedKv kv(s, 16, 100, random);
  const std::vector<int32_t> table = kv.take(100);
  std::vector<float> k = random.floats(100 * 80, 1.0f);
  std::vector<float> v = random.floats(100 * 80, 1.0f);
  const std::vector<float> q = random.floats(100 * 240, 1.0f);
  kv.write(*ops, table, k, v);
  const SequenceSpan span{0, 100, 0, table};
  std::vector<float> expected;
  ops->attention(make_args(s, kv.view(), q, expected, {&span, 1}));
  constexpr int64_t kBad = 70;
  std::fill_n(k.begin() + kBad * 80, 80, std::numeric_limits<float>::quiet_NaN());
  std::fill_n(v.begin() + kBad * 80, 80, std::numeric_limits<float>::infinity());
  kv.write(*ops, table, k, v);
  std::vector<float> got;
  ops->attention(make_args(s, kv.view(), q, got, {&span, 1}));
  EXPECT_EQ(0, std::memcmp(got.data(), expected.data(), kBad * 240 * sizeof(float)));
  EXPECT_TRUE(std::isnan(got[kBad * 240]));
}

TEST_P(AttentionTest, RowsOfAWiderMatrix) {
  const Shape s{4, 2, 32};
  Random random(6);
  const auto ops = make_ops(2);
  PagedKv kv(s, 16, 40, random);
  const std::vector<int32_t> table = kv.take(40);
  kv.write(*ops, table, random.floats(40 * 64, 1.0f), random.floats(40 * 64, 1.0f));
  const std::vector<float> q = random.floats(40 * 128, 1.0f);
  const SequenceSpan span{0, 40, 0, table};
  std::vector<float> expected;
  ops->attention(make_args(s, kv.view(), q, expected, {&span, 1}));
  std::vector<float> wide_q(40 * 300, -1.0f);
  for (size_t t = 0; t < 40; ++t)
    std::copy_n(q.begin() + t * 128, 128, wide_q.begin() + t * 300 + 5);
  std::vector<float> wide_out(40 * 200, -7.0f);
  AttentionArgs args = make_args(s, kv.view(), q, expected, {&span, 1});
  ops->attention(args);
  args.q = {wide_q.data() + 5, 40, 128, 300};
  args.out = {wide_out.data() + 3, 40, 128, 200};
  ops->attention(args);
  for (size_t t = 0; t < 40; ++t) {
    for (size_t i = 0; i < 200; ++i) {
      const bool inside = i >= 3 && i < 131;
      ASSERT_EQ(wide_out[t * 200 + i], inside ? expected[t * 128 + i - 3] : -7.0f);
    }
  }
}

TEST_P(AttentionTest, NoRowsAndEmptySequences) {
  const Shape s{2, 1, 16};
  Random random(8);
  const auto ops = make_ops(2);
  PagedKv kv(s, 16, 16, random);
  std::vector<float> out;
  ops->attention(make_args(s, kv.view(), {}, out, {}));
  const std::vector<int32_t> table = kv.take(1);
  const SequenceSpan empty{0, 0, 0, table};
  ops->attention(make_args(s, kv.view(), {}, out, {&empty, 1}));
}

// The cache's bytes are those the reference device writes.
TEST_P(AttentionTest, KvWriteBitForBit) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kI8}) {
    for (const int32_t block_tokens : {1, 16, 24}) {
      const Shape s{4, 3, 20, dtype};
      const int64_t cols = 60;
      Random random(9);
      const std::vector<float> k = random.floats(300 * cols, 70000.0f);
      const std::vector<float> v = random.floats(300 * cols, 1e-4f);
      std::vector<std::vector<std::vector<std::byte>>> images;
      for (const bool reference : {true, false}) {
        Random same(10);
        PagedKv kv(s, block_tokens, 400, same);
        const std::vector<int32_t> first = kv.take(210);
        const std::vector<int32_t> second = kv.take(100);
        const SequenceSpan spans[] = {{0, 200, 7, first}, {200, 100, 0, second}};
        const KvWriteArgs args{.k = {k.data(), 300, cols, cols},
                               .v = {v.data(), 300, cols, cols},
                               .kv = kv.view(),
                               .sequences = spans};
        if (reference) {
          make_reference_ops()->kv_write(args);
        } else {
          make_ops(3)->kv_write(args);
        }
        images.push_back(kv.memory());
      }
      EXPECT_TRUE(images[0] == images[1]) << dtype_info(dtype).name << " " << block_tokens;
    }
  }
}

}  // namespace
}  // namespace ruvllm
