// Attention of CpuOps: right (against sums in double over the stored keys and values, and beside
// the reference device), and the same bits however the work is cut.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "base/float_types.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/kv_layout.h"
#include "tensor/dequantize.h"

namespace ruvllm {
namespace {

using kernels::IsaLevel;

constexpr double kEps = 0x1p-24;

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint64_t next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ ^ (state_ >> 31)) * 0xbf58476d1ce4e5b9u >> 20;
  }
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
  std::vector<float> floats(int64_t n, float limit) {
    std::vector<float> out(static_cast<size_t>(n));
    for (float& x : out) x = (static_cast<float>(next() & 0xffffff) * 0x1p-23f - 1.0f) * limit;
    return out;
  }

 private:
  uint64_t state_;
};

struct Shape {
  int32_t heads, kv_heads, dim;
  DType dtype = DType::kF32;
  int32_t window = 0;
  float softcap = 0.0f;
};

// A paged cache of one layer that stands behind another layer's bytes, its blocks in shuffled
// order. What was never written is all ones: NaN in every format.
class PagedKv {
 public:
  PagedKv(const Shape& shape, int32_t block_tokens, int64_t max_tokens, Random& random)
      : shape_(shape) {
    const int64_t part =
        int64_t{shape.kv_heads} * block_tokens * kv_row_bytes(shape.dtype, shape.dim);
    view_ = {.k_offset_bytes = 64,
             .v_offset_bytes = 64 + (part + 31) / 16 * 16,
             .dtype = shape.dtype,
             .block_tokens = block_tokens,
             .num_kv_heads = shape.kv_heads,
             .head_dim = shape.dim};
    const int64_t block_bytes = view_.v_offset_bytes + part;
    const int64_t blocks = (max_tokens + block_tokens - 1) / block_tokens + 3;
    for (int64_t i = 0; i < blocks; ++i) {
      memory_.emplace_back(static_cast<size_t>(block_bytes), std::byte{0xff});
      free_.push_back(static_cast<int32_t>(i));
    }
    for (auto& block : memory_) blocks_.push_back(block.data());
    for (size_t i = free_.size(); i > 1; --i) {
      std::swap(free_[i - 1], free_[static_cast<size_t>(random.below(static_cast<int64_t>(i)))]);
    }
    view_.blocks = blocks_.data();
  }

  std::vector<int32_t> take(int64_t tokens) {
    std::vector<int32_t> table;
    for (int64_t i = 0; i < tokens; i += view_.block_tokens) {
      table.push_back(free_.back());
      free_.pop_back();
    }
    return table;
  }

  // k and v are [tokens, K*D], stored at positions 0...
  void write(Ops& ops, const std::vector<int32_t>& table, const std::vector<float>& k,
             const std::vector<float>& v) const {
    write_after(ops, table, 0, k, v);
  }

  // The same for positions begin...
  void write_after(Ops& ops, const std::vector<int32_t>& table, int64_t begin,
                   const std::vector<float>& k, const std::vector<float>& v) const {
    const int64_t cols = int64_t{shape_.kv_heads} * shape_.dim;
    const int64_t tokens = static_cast<int64_t>(k.size()) / cols;
    const SequenceSpan span{0, tokens, begin, table};
    ops.kv_write({.k = {k.data(), tokens, cols, cols},
                  .v = {v.data(), tokens, cols, cols},
                  .kv = view_,
                  .sequences = {&span, 1}});
  }

  const KvLayerView& view() const { return view_; }
  const std::vector<std::vector<std::byte>>& memory() const { return memory_; }

 private:
  Shape shape_;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<std::byte*> blocks_;
  std::vector<int32_t> free_;
  KvLayerView view_;
};

AttentionArgs make_args(const Shape& s, const KvLayerView& view, const std::vector<float>& q,
                        std::vector<float>& out, std::span<const SequenceSpan> spans) {
  const int64_t cols = int64_t{s.heads} * s.dim;
  const int64_t rows = static_cast<int64_t>(q.size()) / cols;
  out.assign(q.size(), std::numeric_limits<float>::quiet_NaN());
  return {.q = {q.data(), rows, cols, cols},
          .out = {out.data(), rows, cols, cols},
          .kv = view,
          .sequences = spans,
          .num_heads = s.heads,
          .window = s.window,
          .scale = 1.0f / std::sqrt(static_cast<float>(s.dim)),
          .softcap = s.softcap};
}

// The values as the cache's format rounds them; x is rows of `dim`.
std::vector<float> as_stored(const std::vector<float>& x, DType dtype, int32_t dim) {
  std::vector<float> out(x.size());
  if (dtype == DType::kI8) {
    std::vector<int8_t> codes(static_cast<size_t>(dim));
    for (size_t i = 0; i < x.size(); i += codes.size()) {
      const uint16_t bits = quantize_kv_row(x.data() + i, dim, codes.data(), 1);
      for (size_t d = 0; d < codes.size(); ++d) out[i + d] = codes[d] * bf16_to_f32(bits);
    }
    return out;
  }
  std::vector<std::byte> packed(x.size() * 4);
  quantize_row(dtype, x.data(), packed.data(), static_cast<int64_t>(x.size()));
  dequantize_row(dtype, packed.data(), out.data(), static_cast<int64_t>(x.size()));
  return out;
}

// One output row of one head in double, and how far an f32 evaluation may be from it.
struct Exact {
  std::vector<double> out;
  double tolerance = 0;
};

Exact exact_row(const Shape& s, const float* q, const std::vector<float>& k,
                const std::vector<float>& v, int32_t kv_head, int64_t position) {
  const int64_t cols = int64_t{s.kv_heads} * s.dim;
  const double scale = 1.0f / std::sqrt(static_cast<float>(s.dim));
  const int64_t begin = s.window > 0 ? std::max<int64_t>(position - s.window + 1, 0) : 0;
  std::vector<double> scores;
  double largest = -1e300;
  double largest_terms = 0;  // of the sums of magnitudes behind the scores
  double largest_value = 0;
  for (int64_t p = begin; p <= position; ++p) {
    double score = 0;
    double terms = 0;
    for (int32_t d = 0; d < s.dim; ++d) {
      const auto at = static_cast<size_t>(p * cols + kv_head * s.dim + d);
      score += static_cast<double>(q[d]) * k[at];
      terms += std::fabs(static_cast<double>(q[d]) * k[at]);
      largest_value = std::max(largest_value, std::fabs(static_cast<double>(v[at])));
    }
    score *= scale;
    if (s.softcap != 0) score = s.softcap * std::tanh(score / s.softcap);
    scores.push_back(score);
    largest = std::max(largest, score);
    largest_terms = std::max(largest_terms, terms * scale);
  }
  Exact exact{std::vector<double>(static_cast<size_t>(s.dim), 0.0), 0};
  double sum = 0;
  for (int64_t p = begin; p <= position; ++p) {
    const double weight = std::exp(scores[static_cast<size_t>(p - begin)] - largest);
    sum += weight;
    for (int32_t d = 0; d < s.dim; ++d) {
      exact.out[static_cast<size_t>(d)] +=
          weight * v[static_cast<size_t>(p * cols + kv_head * s.dim + d)];
    }
  }
  for (double& x : exact.out) x /= sum;
  // A score is off by the roundings of its sum, a weight relatively by twice that (its own and the
  // maximum's) and a few of exp; the weighted mean adds the roundings of a sum over the keys.
  const double keys = static_cast<double>(scores.size());
  exact.tolerance =
      largest_value * kEps *
      (2 * largest_terms * (std::sqrt(static_cast<double>(s.dim)) + 8) + std::sqrt(keys) + 32);
  return exact;
}

class AttentionTest : public testing::TestWithParam<IsaLevel> {
 protected:
  void SetUp() override {
    if (!kernels::isa_supported(GetParam())) {
      GTEST_SKIP() << "not run: this machine has no " << kernels::isa_name(GetParam());
    }
  }
  std::unique_ptr<CpuOps> make_ops(int threads) const {
    return std::make_unique<CpuOps>(threads, GetParam());
  }
};

INSTANTIATE_TEST_SUITE_P(Isa, AttentionTest,
                         testing::Values(IsaLevel::kGeneric, IsaLevel::kAvx2, IsaLevel::kAvx512),
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
                        exact.tolerance)
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
          ASSERT_NEAR(out[at], exact.out[static_cast<size_t>(d)], exact.tolerance)
              << "D " << s.dim << " position " << position << " head " << h;
          ASSERT_NEAR(reference_out[at], exact.out[static_cast<size_t>(d)], exact.tolerance);
        }
      }
    }
  }
}

// The bits of a row are those of the whole prompt in one call, for every way to cut the work.
class Invariance {
 public:
  Invariance(const Shape& shape, IsaLevel isa, int64_t tokens, uint64_t seed)
      : shape_(shape), isa_(isa), tokens_(tokens), random_(seed) {
    const int64_t kv_cols = int64_t{shape.kv_heads} * shape.dim;
    k_ = random_.floats(tokens * kv_cols, 2.0f);
    v_ = random_.floats(tokens * kv_cols, 2.0f);
    q_ = random_.floats(tokens * row(), 2.0f);
    expected_ = run(1, 16, {{0, tokens}}, 0);
  }

  int64_t row() const { return int64_t{shape_.heads} * shape_.dim; }

  struct Chunk {
    int64_t begin, count;
  };

  // Attention of the chunks, each a call of its own, with `neighbours` other sequences in the same
  // call before and after it. Rows that no chunk covers stay NaN.
  std::vector<float> run(int threads, int32_t block_tokens, const std::vector<Chunk>& chunks,
                         int neighbours) {
    CpuOps ops(threads, isa_);
    PagedKv kv(shape_, block_tokens, tokens_ + 2 * (200 + block_tokens), random_);
    const std::vector<int32_t> table = kv.take(tokens_);
    const std::vector<int32_t> other_table = kv.take(200);
    kv.write(ops, table, k_, v_);
    const int64_t kv_cols = int64_t{shape_.kv_heads} * shape_.dim;
    kv.write(ops, other_table, random_.floats(200 * kv_cols, 3.0f),
             random_.floats(200 * kv_cols, 3.0f));
    std::vector<float> all(q_.size(), std::numeric_limits<float>::quiet_NaN());
    for (const Chunk& chunk : chunks) {
      std::vector<float> q;
      std::vector<SequenceSpan> spans;
      const auto add_other = [&](int64_t count, int64_t position) {
        spans.push_back({static_cast<int64_t>(q.size()) / row(), count, position, other_table});
        const std::vector<float> other = random_.floats(count * row(), 2.0f);
        q.insert(q.end(), other.begin(), other.end());
      };
      for (int i = 0; i < neighbours; ++i) add_other(1 + i * 5, 100 - i * 20);
      const int64_t own = static_cast<int64_t>(q.size());
      spans.push_back({own / row(), chunk.count, chunk.begin, table});
      const auto begin = q_.begin() + static_cast<std::ptrdiff_t>(chunk.begin * row());
      q.insert(q.end(), begin, begin + static_cast<std::ptrdiff_t>(chunk.count * row()));
      for (int i = 0; i < neighbours; ++i) add_other(1, 199 - i);
      std::vector<float> out;
      ops.attention(make_args(shape_, kv.view(), q, out, spans));
      std::memcpy(all.data() + chunk.begin * row(), out.data() + own,
                  static_cast<size_t>(chunk.count * row()) * sizeof(float));
    }
    return all;
  }

  void expect_same(const char* what, const std::vector<float>& got,
                   const std::vector<Chunk>& chunks) const {
    for (const Chunk& chunk : chunks) {
      for (int64_t i = chunk.begin * row(); i < (chunk.begin + chunk.count) * row(); ++i) {
        const auto at = static_cast<size_t>(i);
        ASSERT_EQ(std::bit_cast<uint32_t>(got[at]), std::bit_cast<uint32_t>(expected_[at]))
            << what << ": D " << shape_.dim << " window " << shape_.window << " position "
            << i / row() << " element " << i % row();
      }
    }
  }

  std::vector<Chunk> chunks_of(int64_t size) const {
    std::vector<Chunk> out;
    for (int64_t i = 0; i < tokens_; i += size) out.push_back({i, std::min(size, tokens_ - i)});
    return out;
  }

  // Decode steps at positions around every boundary.
  std::vector<Chunk> single_tokens() const {
    std::vector<Chunk> out;
    for (const int64_t p : {0,   1,   15,  16,  62,  63,  64,  65,   127,  128, 300,
                            510, 511, 512, 513, 575, 576, 640, 1023, 1024, 1025}) {
      if (p < tokens_) out.push_back({p, 1});
    }
    out.push_back({tokens_ - 1, 1});
    return out;
  }

 private:
  Shape shape_;
  IsaLevel isa_;
  int64_t tokens_;
  Random random_;
  std::vector<float> k_, v_, q_, expected_;
};

TEST_P(AttentionTest, BitsDoNotDependOnHowTheWorkIsCut) {
  const Shape shapes[] = {{4, 2, 64},
                          {3, 1, 40, DType::kBF16},
                          {6, 2, 32, DType::kF32, 100},
                          {2, 2, 64, DType::kF16, 700, 20.0f},
                          {7, 1, 24, DType::kI8}};
  for (const Shape& shape : shapes) {
    Invariance test(shape, GetParam(), 1100, 7);
    const auto single = test.single_tokens();
    test.expect_same("decode, 1 thread", test.run(1, 16, single, 0), single);
    test.expect_same("decode, 4 threads", test.run(4, 16, single, 0), single);
    test.expect_same("decode in a batch", test.run(2, 16, single, 3), single);
    test.expect_same("pages of 1", test.run(2, 1, single, 0), single);
    test.expect_same("pages of 8", test.run(3, 8, single, 2), single);
    test.expect_same("pages of 32", test.run(1, 32, single, 0), single);
    test.expect_same("pages of 64", test.run(3, 64, single, 0), single);
    test.expect_same("pages of 24", test.run(2, 24, single, 1), single);
    test.expect_same("pages of 2048", test.run(2, 2048, single, 0), single);
    for (const int64_t size : {7, 64, 100, 1100}) {
      const auto chunks = test.chunks_of(size);
      test.expect_same(
          "chunks", test.run(size == 7 ? 1 : 2, size == 64 ? 1 : 16, chunks, size == 100 ? 2 : 0),
          chunks);
      if (HasFatalFailure()) return;
    }
  }
}

// Keys that no row may see hold NaN in every test above; here the table's entries for pages that
// the window has left are invalid as well.
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
TEST_P(AttentionTest, SharedPrefixesChangeNoBit) {
  const Shape shapes[] = {{8, 2, 64, DType::kBF16}, {3, 3, 24}, {4, 2, 32, DType::kI8, 3000, 9.0f}};
  for (const Shape& s : shapes) {
    for (const int32_t block_tokens : {1, 16, 48, 512}) {
      Random random(21);
      PagedKv kv(s, block_tokens, 24000, random);
      const int64_t kv_cols = int64_t{s.kv_heads} * s.dim;
      const auto ops = make_ops(3);
      // Tables that begin with `tokens` of another's, in whole blocks.
      std::vector<std::vector<int32_t>> tables;
      const auto fork = [&](int parent, int64_t tokens, int64_t length) {
        std::vector<int32_t> table;
        if (parent >= 0) {
          const auto& from = tables[static_cast<size_t>(parent)];
          table.assign(from.begin(), from.begin() + tokens / block_tokens);
        }
        const auto begin = static_cast<int64_t>(table.size()) * block_tokens;
        const std::vector<int32_t> own = kv.take(length - begin);
        table.insert(table.end(), own.begin(), own.end());
        kv.write_after(*ops, table, begin, random.floats((length - begin) * kv_cols, 2.0f),
                       random.floats((length - begin) * kv_cols, 2.0f));
        tables.push_back(std::move(table));
      };
      fork(-1, 0, 1400);    // 0
      fork(0, 1100, 1290);  // 1
      fork(0, 600, 1030);   // 2
      fork(2, 1024, 1300);  // 3
      fork(-1, 0, 300);     // 4
      fork(0, 1100, 1101);  // 5
      fork(2, 1024, 2000);  // 6
      fork(-1, 0, 2100);    // 7
      std::vector<SequenceSpan> spans;
      int64_t rows = 0;
      const auto add = [&](size_t table, int64_t count, int64_t position) {
        spans.push_back({rows, count, position, tables[table]});
        rows += count;
      };
      add(0, 1, 1399);
      add(4, 20, 250);
      add(1, 1, 1289);
      add(5, 1, 1100);
      add(6, 1, 1999);
      add(3, 1, 1299);
      add(4, 1, 299);
      add(2, 1, 1029);
      add(7, 1, 2099);
      add(0, 1, 1398);  // the same sequence again
      add(0, 1, 200);   // shorter than a segment
      const int64_t cols = int64_t{s.heads} * s.dim;
      const std::vector<float> q = random.floats(rows * cols, 2.0f);
      std::vector<float> shared;
      ops->attention(make_args(s, kv.view(), q, shared, spans));
      std::vector<float> unshared;
      AttentionArgs args = make_args(s, kv.view(), q, unshared, spans);
      args.share_prefixes = false;
      ops->attention(args);
      ASSERT_EQ(0, std::memcmp(shared.data(), unshared.data(), shared.size() * sizeof(float)))
          << "D " << s.dim << " blocks of " << block_tokens;
      const auto alone = make_ops(1);
      for (const SequenceSpan& span : spans) {
        const auto begin = q.begin() + span.first_row * cols;
        const std::vector<float> own(begin, begin + span.num_tokens * cols);
        SequenceSpan first = span;
        first.first_row = 0;
        std::vector<float> out;
        alone->attention(make_args(s, kv.view(), own, out, {&first, 1}));
        ASSERT_EQ(0, std::memcmp(out.data(), shared.data() + span.first_row * cols,
                                 out.size() * sizeof(float)))
            << "D " << s.dim << " blocks of " << block_tokens << " row " << span.first_row;
      }
    }
  }
}

// A row must not see even a NaN of a token after it in the same call.
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
