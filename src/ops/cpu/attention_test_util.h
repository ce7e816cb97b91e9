// Tests only: paged caches with random contents, attention computed in double, and what every test
// of attention is run with.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/float_types.h"
#include "kernels/kernel_lists.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/kv_layout.h"
#include "tensor/dequantize.h"

namespace ruvllm {

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

inline AttentionArgs make_args(const Shape& s, const KvLayerView& view, const std::vector<float>& q,
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
inline std::vector<float> as_stored(const std::vector<float>& x, DType dtype, int32_t dim) {
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

// One output row of one head in double, and how far an f32 evaluation may be from it, and one that
// rounds q and the weights to bf16 (kernels/attention/attention.h, "Tiles").
struct Exact {
  std::vector<double> out;
  double tolerance = 0;
  double bf16_tolerance = 0;
};

inline Exact exact_row(const Shape& s, const float* q, const std::vector<float>& k,
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
  exact.bf16_tolerance = exact.tolerance + largest_value * (std::expm1(2 * 0x1p-9 * largest_terms) +
                                                            2 * (0x1p-9 + 1.1e-4));
  return exact;
}

class AttentionTest : public testing::TestWithParam<IsaLevel> {
 protected:
  void SetUp() override {
    if (!kernels::isa_supported(GetParam())) {
      GTEST_SKIP() << "not run: this machine has no " << kernels::isa_name(GetParam());
    }
  }
  double tolerance(const Exact& exact, const Shape& shape) const {
    const bool rounds = shape.dtype == DType::kBF16 &&
                        &kernels::attention_kernels(GetParam(), kernels::KvFormat::kBf16) !=
                            &kernels::attention_kernels(GetParam());
    return rounds ? exact.bf16_tolerance : exact.tolerance;
  }
  std::unique_ptr<CpuOps> make_ops(int threads) const {
    return std::make_unique<CpuOps>(threads, GetParam());
  }
};

}  // namespace ruvllm
