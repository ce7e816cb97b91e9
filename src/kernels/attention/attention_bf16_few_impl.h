// One or two rows of attention over one segment of a bf16 cache in the arithmetic of tiles
// (attention.h: "Tiles"), on vectors: keys and values are used where they lie instead of being
// repacked for products of a tile that is mostly empty. Over L, lanes as in attention_bf16_impl.h,
// with
//   widen(p, low, high)      p[0 ... 15] and p[16 ... 31] of bf16 as f32
//   chain(a, b, sum)         fma(a, b, sum), subnormal inputs and results as zeros
//   sum(a, b)                a + b, likewise
//   TileArithmetic           has to live where chain() and sum() are called
// so that a model of it runs on any machine.
#pragma once

#include "kernels/attention/attention_bf16_impl.h"
#include "kernels/simd/unroll.h"

namespace ruvllm::kernels {
namespace {

// sums[r * kKeySegment + 16 g + i] = q[r] . key i of group g. Fetches as many groups from `next`.
template <class L, int kRows, int kGroups, bool kFetch>
[[gnu::noinline]] void dot_few(const float* q, const uint16_t* const* groups,
                               const uint16_t* const* next, int head_dim, float* sums) {
  using F = typename L::F;
  F sum[kRows][kGroups];
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
    RUVLLM_UNROLL for (int g = 0; g < kGroups; ++g) sum[r][g] = L::zero();
  }
  for (int step = 0; step < head_dim; step += 32) {
    F even[kRows][kGroups];
    F odd[kRows][kGroups];
    RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
      RUVLLM_UNROLL for (int g = 0; g < kGroups; ++g) even[r][g] = odd[r][g] = L::zero();
    }
    for (int d = step; d < step + 32; d += 2) {
      RUVLLM_UNROLL for (int g = 0; g < kGroups; ++g) {
        if constexpr (kFetch) fetch<L>(next[g] + d * kKeyGroup);
        F low, high;
        L::widen(groups[g] + d * kKeyGroup, low, high);
        RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
          even[r][g] = L::chain(L::set1(q[r * head_dim + d]), low, even[r][g]);
          odd[r][g] = L::chain(L::set1(q[r * head_dim + d + 1]), high, odd[r][g]);
        }
      }
    }
    RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
      RUVLLM_UNROLL for (int g = 0; g < kGroups; ++g) {
        sum[r][g] = L::sum(sum[r][g], L::sum(even[r][g], odd[r][g]));
      }
    }
  }
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
    RUVLLM_UNROLL for (int g = 0; g < kGroups; ++g) {
      L::store(sums + r * kKeySegment + g * kKeyGroup, sum[r][g]);
    }
  }
}

// Values by key, of the keys [begin, end), and what is fetched beside each of them, or null.
struct FewValues {
  const uint16_t* const* rows;
  const uint16_t* const* ahead;
  int begin;
  int end;
};

// out[r] = the sum over the keys of their weights times kTwos times 32 elements of their values,
// from `offset` on.
template <class L, int kRows, int kTwos>
[[gnu::noinline]] void add_few(const float* weights, const FewValues& values, int offset,
                               float* out, int64_t out_stride) {
  using F = typename L::F;
  constexpr int kVectors = 2 * kTwos;
  F sum[kRows][kVectors];
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
    RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) sum[r][n] = L::zero();
  }
  for (int step = values.begin / 32 * 32; step < values.end; step += 32) {
    F chains[2][kRows][kVectors];
    RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
      RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) {
        chains[0][r][n] = chains[1][r][n] = L::zero();
      }
    }
    const auto add = [&](int key, F(&chain)[kRows][kVectors]) __attribute__((always_inline)) {
      const uint16_t* row = values.rows[key] + offset;
      RUVLLM_UNROLL for (int n = 0; n < kVectors; n += 2) {
        if (values.ahead != nullptr) fetch<L>(values.ahead[key] + offset + n * L::kLanes);
        F low, high;
        L::widen(row + n * L::kLanes, low, high);
        RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
          const F weight = L::set1(weights[r * kKeySegment + key]);
          chain[r][n] = L::chain(weight, low, chain[r][n]);
          chain[r][n + 1] = L::chain(weight, high, chain[r][n + 1]);
        }
      }
    };
    if (step >= values.begin && step + 32 <= values.end) {
      for (int i = step; i < step + 16; ++i) {
        add(i, chains[0]);
        add(i + 16, chains[1]);
      }
    } else {
      for (int i = larger(step, values.begin); i < smaller(step + 16, values.end); ++i) {
        add(i, chains[0]);
      }
      for (int i = larger(step + 16, values.begin); i < smaller(step + 32, values.end); ++i) {
        add(i, chains[1]);
      }
    }
    RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
      RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) {
        sum[r][n] = L::sum(sum[r][n], L::sum(chains[0][r][n], chains[1][r][n]));
      }
    }
  }
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
    RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) {
      // A zero is positive.
      L::store(out + r * out_stride + offset + n * L::kLanes, L::sum(sum[r][n], L::zero()));
    }
  }
}

template <class L>
class FewRows {
 public:
  static constexpr int kMaxRows = 2;
  static bool can(const AttentionSegment& s) {
    return s.tokens * s.group <= kMaxRows && s.head_dim % 32 == 0 && in_groups(s);
  }
  explicit FewRows(const AttentionSegment& s)
      : s_(s),
        rows_(s.tokens * s.group),
        scores_(s.scratch),
        q_(scores_ + int64_t{rows_} * kKeySegment) {}

  void run() {
    range_ = begin_rows(s_, views_);
    if (range_.begin >= range_.end) return;
    for (int r = 0; r < rows_; ++r) round_row(r);
    {
      const typename L::TileArithmetic arithmetic;
      score();
    }
    const auto row_at = [&](int row) {
      float* scores = scores_ + row * kKeySegment;
      return ScoreRow{scores, L::kLanes, reinterpret_cast<uint32_t*>(scores), 2 * L::kLanes};
    };
    weigh_rows<Unpaired>(s_, views_, 0, rows_, range_, row_at, [](int) {});
    const typename L::TileArithmetic arithmetic;
    add_values();
  }

 private:
  static constexpr int kGroups = kKeySegment / kKeyGroup;
  static constexpr int kBlock = 8;                  // groups of keys at a time
  static constexpr int kTile = kBlock * kKeyGroup;  // keys by which values are fetched ahead
  static_assert(kTile == kKeysAhead);

  // Weights stay f32.
  struct Unpaired : L {
    static void store_pairs(uint32_t* to, typename L::F low, typename L::F high) {
      L::store(reinterpret_cast<float*>(to), low);
      L::store(reinterpret_cast<float*>(to) + L::kLanes, high);
    }
  };

  void round_row(int r) const {
    float* to = q_ + int64_t{r} * s_.head_dim;
    auto* half = reinterpret_cast<uint16_t*>(q_ + int64_t{rows_} * s_.head_dim);
    round_q_row<L>(s_, r, s_.head_dim, half);
    for (int d = 0; d < s_.head_dim; d += 2 * L::kLanes) {
      typename L::F low, high;
      L::widen(half + d, low, high);
      L::store(to + d, low);
      L::store(to + d + L::kLanes, high);
    }
  }

  void score() const {
    const int first = range_.begin / kKeyGroup;
    const int last = (range_.end - 1) / kKeyGroup;
    const uint16_t* groups[kGroups];
    const uint16_t* values[kGroups];
    for (int i = 0; i < kGroups; ++i) {
      // Those outside the range repeat its ends: they are computed, and then not seen.
      const int g = first + clamped(i - first, last - first);
      groups[i] = static_cast<const uint16_t*>(group_of(s_, s_.k_pages, g));
      values[i] = static_cast<const uint16_t*>(group_of(s_, s_.v_pages, g));
    }
    const int first_block = first / kBlock * kBlock;
    for (int block = first_block; block <= last; block += kBlock) {
      const bool more = block + kBlock <= last;
      const uint16_t* const* next = more ? groups + block + kBlock : values + first_block;
      float* to = scores_ + block * kKeyGroup;
      const int count = smaller(last + 1 - block, kBlock);
      if (rows_ == 1) {
        score_block<1, 4>(groups + block, next, count, to);
      } else {
        score_block<2, 4>(groups + block, next, count, to);
      }
    }
  }
  template <int kRows, int kAtOnce>
  void score_block(const uint16_t* const* groups, const uint16_t* const* next, int count,
                   float* to) const {
    for (int g = 0; g < count; g += kAtOnce) {
      dot_few<L, kRows, kAtOnce, true>(q_, groups + g, next + g, s_.head_dim, to + g * kKeyGroup);
    }
  }

  void add_values() const {
    const uint16_t* rows[2 * kKeySegment];
    value_rows(s_, 0, range_.begin, range_.end, rows);
    // Beside the values of a key those of the key kTile later, at last the keys that come next.
    const bool more = rows_ahead(s_, range_.end, kTile, rows);
    for (int r = 0; r < rows_;) {
      const RowView& view = views_[r];
      int alike = 1;
      while (r + alike < rows_ && views_[r + alike].begin == view.begin &&
             views_[r + alike].end == view.end) {
        ++alike;
      }
      const bool fetch_ahead = r == 0 && (more || range_.end > kTile);
      const FewValues values = {rows, fetch_ahead ? rows + kTile : nullptr, view.begin, view.end};
      if (view.begin < view.end) add_alike(r, alike, values);
      r += alike;
    }
  }
  void add_alike(int r, int count, const FewValues& values) const {
    if (count == 1) {
      return s_.head_dim % 128 == 0  ? add_rows<1, 4>(r, values)
             : s_.head_dim % 64 == 0 ? add_rows<1, 2>(r, values)
                                     : add_rows<1, 1>(r, values);
    }
    return s_.head_dim % 64 == 0 ? add_rows<2, 2>(r, values) : add_rows<2, 1>(r, values);
  }
  template <int kRows, int kTwos>
  void add_rows(int r, const FewValues& values) const {
    const int64_t stride = attention_stride(s_.head_dim);
    for (int offset = 0; offset < s_.head_dim; offset += kTwos * 2 * L::kLanes) {
      add_few<L, kRows, kTwos>(scores_ + r * kKeySegment, values, offset, s_.state.out + r * stride,
                               stride);
    }
  }

  const AttentionSegment& s_;
  const int rows_;
  RowView views_[kMaxRows];
  KeyRange range_ = {0, 0};
  float* const scores_;  // [rows, kKeySegment]; then weights
  float* const q_;       // [rows, D], rounded to bf16
};

}  // namespace
}  // namespace ruvllm::kernels
