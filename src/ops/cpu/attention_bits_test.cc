// Attention of CpuOps has the same bits however the work is cut.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "ops/cpu/attention_test_util.h"

namespace ruvllm {
namespace {

class AttentionBits : public AttentionTest {};

INSTANTIATE_TEST_SUITE_P(Isa, AttentionBits,
                         testing::Values(IsaLevel::kGeneric, IsaLevel::kNeon, IsaLevel::kAvx2,
                                         IsaLevel::kAvx512, IsaLevel::kAvx512Bf16, IsaLevel::kAmx),
                         [](const auto& info) {
                           return std::string(kernels::isa_name(info.param));
                         });

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

TEST_P(AttentionBits, BitsDoNotDependOnHowTheWorkIsCut) {
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
TEST_P(AttentionBits, SharedPrefixesChangeNoBit) {
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

}  // namespace
}  // namespace ruvllm
