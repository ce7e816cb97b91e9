// Attention over one segment of a bf16 cache with the dot product of AVX-512 BF16; the contract,
// down to the order of the additions, is in attention.h ("Lanes"). Over L, lanes as in
// attention_bf16_impl.h, whose store_pairs() puts the keys 2 i and 2 i + 1 side by side, with
//   P                          16 pairs of bf16
//   keys(p)                    the pairs (p[i], p[16 + i])
//   values(a, b, low, high)    the pairs (a[i], b[i]) of 32 elements
//   word(p)                    the pair *p 16 times
//   dot(sum, x, y)             a lane of sum = fma(odd x, odd y, sum), then the same of the even
// so that a model of them runs on any machine.
//
// Keys and values are used where they lie: a pair of elements of 16 keys, or 32 elements of a pair
// of values, is a load or two and a shuffle or two, which the products of the rows hide.
#pragma once

#include "kernels/attention/attention_bf16_impl.h"
#include "kernels/attention/attention_groups.h"

namespace ruvllm::kernels {
namespace {

constexpr int kPairRows = 8;   // of a register tile, at most
constexpr int kPairBlock = 8;  // groups of keys at a time: half a segment

using LaneFetcher = GroupFetcher<4, true>;

// sums[r * kKeySegment + 16 g + i] = q[r] . key i of group g.
template <class L, int kRows, int kGroups>
[[gnu::noinline]] void dot_pairs(const uint32_t* q, int64_t q_stride, const uint16_t* const* groups,
                                 int pairs, float* sums, LaneFetcher& fetcher) {
  typename L::F sum[kRows][kGroups];
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
    RUVLLM_UNROLL for (int g = 0; g < kGroups; ++g) sum[r][g] = L::zero();
  }
  LaneFetcher next = fetcher;
  for (int i = 0; i < pairs; ++i) {
    next.worked_on(kRows * kGroups);
    typename L::P keys[kGroups];
    RUVLLM_UNROLL for (int g = 0; g < kGroups; ++g) keys[g] =
        L::keys(groups[g] + i * 2 * kKeyGroup);
    RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
      const typename L::P x = L::word(q + r * q_stride + i);
      RUVLLM_UNROLL for (int g = 0; g < kGroups; ++g) sum[r][g] = L::dot(sum[r][g], x, keys[g]);
    }
  }
  fetcher = next;
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
    RUVLLM_UNROLL for (int g = 0; g < kGroups; ++g) {
      L::store(sums + r * kKeySegment + g * kKeyGroup, sum[r][g]);
    }
  }
}

// Groups of values [kKeyGroup, row_stride] by number, and the keys of them that count.
struct PairValues {
  const uint16_t* const* groups;
  int64_t row_stride;
  int begin;
  int end;
};

// out[r] += the sum over the keys of their weights, in pairs, times kTwos times 32 elements of
// their values, from `offset` on. The last vector is left alone where the rows of `out` have no
// room for it.
template <class L, int kRows, int kTwos>
[[gnu::noinline]] void add_pairs(const uint32_t* weights, const PairValues& values, int64_t offset,
                                 float* out, int64_t out_stride, LaneFetcher& fetcher) {
  constexpr int kVectors = 2 * kTwos;
  constexpr int kTwo = 2 * L::kLanes;
  static constexpr uint16_t kZeros[kTwo * kTwos] = {};
  const bool whole = offset + kTwos * kTwo <= out_stride;
  out += offset;
  typename L::F sum[kRows][kVectors];
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
    RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) {
      sum[r][n] =
          n + 1 < kVectors || whole ? L::load(out + r * out_stride + n * L::kLanes) : L::zero();
    }
  }
  const auto add = [&](int pair, const uint16_t* a, const uint16_t* b) {
    RUVLLM_UNROLL for (int n = 0; n < kTwos; ++n) {
      typename L::P low, high;
      L::values(a + n * kTwo, b + n * kTwo, low, high);
      RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
        const typename L::P weight = L::word(weights + r * kKeySegment + pair);
        sum[r][2 * n] = L::dot(sum[r][2 * n], weight, low);
        sum[r][2 * n + 1] = L::dot(sum[r][2 * n + 1], weight, high);
      }
    }
  };
  const auto row_at = [&](int key) {
    return values.groups[key / kKeyGroup] + key % kKeyGroup * values.row_stride + offset;
  };
  LaneFetcher next = fetcher;
  int j = values.begin;
  if (j % 2 != 0) {
    add(j / 2, kZeros, row_at(j));
    ++j;
  }
  while (j + 2 <= values.end) {
    const int end = smaller(values.end - 1, (j / kKeyGroup + 1) * kKeyGroup);
    const uint16_t* row = row_at(j);
    for (; j < end; j += 2, row += 2 * values.row_stride) {
      next.worked_on(2 * kRows * kTwos);
      add(j / 2, row, row + values.row_stride);
    }
  }
  if (j < values.end) add(j / 2, row_at(j), kZeros);
  fetcher = next;
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
    RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) {
      if (n + 1 < kVectors || whole) L::store(out + r * out_stride + n * L::kLanes, sum[r][n]);
    }
  }
}

template <class L>
class LaneAttention {
 public:
  explicit LaneAttention(const AttentionSegment& s)
      : s_(s),
        rows_(s.tokens * s.group),
        wide_((s.head_dim + kWide - 1) / kWide * kWide),
        scores_(s.scratch),
        q_(reinterpret_cast<uint16_t*>(scores_ + int64_t{rows_} * kKeySegment)),
        packed_(q_ + int64_t{rows_} * wide_) {}

  void run() {
    range_ = begin_rows(s_, views_);
    if (range_.begin >= range_.end) return;
    in_groups_ = in_groups(s_);
    if (in_groups_) {
      const int ahead = smaller(kKeysAhead / kKeyGroup, kLinesAhead / lines_of(s_, kKeyGroup));
      groups_.find(s_, range_, larger(ahead, 1));
      fetcher_ = groups_.fetcher<LaneFetcher>(rows_, rows_);
    }
    const int weighing_lines = in_groups_ ? groups_.weighing_lines(rows_) : 0;
    for (int r = 0; r < rows_; ++r) round_q_row<L>(s_, r, wide_, q_ + int64_t{r} * wide_);
    score();
    for (int r = 0; r < rows_; r += 16) {
      const auto row_at = [&](int i) {
        float* row = scores_ + (r + i) * kKeySegment;
        return ScoreRow{row, L::kLanes, reinterpret_cast<uint32_t*>(row), L::kLanes};
      };
      weigh_rows<L>(s_, views_, r, smaller(rows_ - r, 16), range_, row_at,
                    [&](int) { fetcher_.fetch_lines(weighing_lines); });
    }
    add_values();
  }

 private:
  static constexpr int kWide = 32;
  static constexpr int kGroups = kKeySegment / kKeyGroup;
  static constexpr int kTile = 64;         // keys whose values are added at a time
  static constexpr int kLinesAhead = 256;  // 16 KB: a third of a first cache

  // Keys in pairs of elements lie in place where groups are whole and elements come in twos.
  void score() {
    const int first = range_.begin / kKeyGroup;
    const int last = (range_.end - 1) / kKeyGroup;
    const bool in_place = in_groups_ && s_.head_dim % 2 == 0;
    const uint16_t* groups[kGroups];
    for (int i = 0; i < kGroups; ++i) {
      // Those outside the range repeat its ends: they are computed, and then not seen.
      const int g = first + clamped(i - first, last - first);
      if (in_place) {
        groups[i] = groups_.keys(g);
      } else {
        uint16_t* to = packed_ + int64_t{g} * wide_ * kKeyGroup;
        if (g == i) gather_keys(g, to);
        groups[i] = to;
      }
    }
    const int pairs = in_place ? s_.head_dim / 2 : wide_ / 2;
    for (int block = first / kPairBlock * kPairBlock; block <= last; block += kPairBlock) {
      score_block(groups + block, pairs, smaller(last + 1 - block, kPairBlock),
                  scores_ + block * kKeyGroup);
    }
  }
  // The keys of a group that are in the range, one element at a time, and zeros.
  void gather_keys(int group, uint16_t* to) const {
    memset(to, 0, static_cast<size_t>(wide_ * kKeyGroup) * sizeof(uint16_t));
    const int end = smaller((group + 1) * kKeyGroup, range_.end);
    for (int key = larger(group * kKeyGroup, range_.begin); key < end; ++key) {
      const Slot at = slot_of(s_, s_.k_pages, key);
      const auto* page = reinterpret_cast<const uint16_t*>(at.page);
      for (int d = 0; d < s_.head_dim; ++d) {
        to[d * kKeyGroup + key % kKeyGroup] =
            page[key_element(s_.page_tokens, s_.head_dim, at.slot, d)];
      }
    }
  }

  // Rows of the next register tile, when there are `left`: all of about the same height.
  static int tile_rows(int left) {
    const int tiles = (left + kPairRows - 1) / kPairRows;
    return (left + tiles - 1) / tiles;
  }
  // Calls run.operator()<n>(), 1 <= n <= N.
  template <int N = kPairRows, class Run>
  static void with_rows(int n, const Run& run) {
    if constexpr (N > 1) {
      if (n < N) return with_rows<N - 1>(n, run);
    }
    run.template operator()<N>();
  }

  // The first `count` groups and those that make a register tile whole.
  void score_block(const uint16_t* const* groups, int pairs, int count, float* scores) {
    const auto* q = reinterpret_cast<const uint32_t*>(q_);
    const int64_t stride = wide_ / 2;
    int r = 0;
    const auto run = [&]<int kRows>() {
      constexpr int kAtOnce = kRows <= 2 ? 8 : kRows <= 6 ? 4 : 2;
      for (int g = 0; g < count; g += kAtOnce) {
        dot_pairs<L, kRows, kAtOnce>(q + r * stride, stride, groups + g, pairs,
                                     scores + r * kKeySegment + g * kKeyGroup, fetcher_);
      }
      r += kRows;
    };
    while (r < rows_) with_rows(tile_rows(rows_ - r), run);
  }

  // Groups of values by number, of the range; in place where they lie in whole groups and their
  // rows are whole vectors. Returns the stride of the rows.
  int64_t find_values(const uint16_t** groups) const {
    const int first = range_.begin / kKeyGroup;
    const int last = (range_.end - 1) / kKeyGroup;
    if (in_groups_ && s_.head_dim == wide_) {
      for (int g = first; g <= last; ++g) groups[g] = groups_.values(g);
      return s_.head_dim;
    }
    const uint16_t* rows[kKeySegment];
    value_rows(s_, 0, range_.begin, range_.end, rows);
    const auto bytes = static_cast<size_t>(s_.head_dim) * sizeof(uint16_t);
    const size_t rest = static_cast<size_t>(wide_) * sizeof(uint16_t) - bytes;
    for (int j = range_.begin; j < range_.end; ++j) {
      uint16_t* to = packed_ + int64_t{j} * wide_;
      memcpy(to, rows[j], bytes);
      memset(to + s_.head_dim, 0, rest);
    }
    for (int g = first; g <= last; ++g) groups[g] = packed_ + int64_t{g} * kKeyGroup * wide_;
    return wide_;
  }
  void add_values() {
    const uint16_t* groups[kGroups];
    const int64_t row_stride = find_values(groups);
    for (int tile = range_.begin / kTile * kTile; tile < range_.end; tile += kTile) {
      for (int r = 0; r < rows_;) {
        const KeyRange seen = seen_of_tile(views_[r], tile, kTile);
        const int alike = rows_alike(views_, rows_, r, tile, kTile);
        if (seen.begin < seen.end) add_tile(r, alike, {groups, row_stride, seen.begin, seen.end});
        r += alike;
      }
    }
  }
  // Rows [r, r + count), which see the same of a tile of values.
  void add_tile(int r, int count, const PairValues& values) {
    const int end = r + count;
    const auto run = [&]<int kRows>() {
      constexpr int kTwos = kRows == 1 ? 4 : kRows <= 4 ? 2 : 1;
      int twos = 0;
      if constexpr (kTwos >= 4) add_columns<kRows, 4>(r, twos, values);
      if constexpr (kTwos >= 2) add_columns<kRows, 2>(r, twos, values);
      add_columns<kRows, 1>(r, twos, values);
      r += kRows;
    };
    while (r < end) with_rows(tile_rows(end - r), run);
  }
  template <int kRows, int kTwos>
  void add_columns(int r, int& two, const PairValues& values) {
    const auto* weights = reinterpret_cast<const uint32_t*>(scores_) + r * kKeySegment;
    const int64_t stride = attention_stride(s_.head_dim);
    float* out = s_.state.out + r * stride;
    for (; two + kTwos <= wide_ / kWide; two += kTwos) {
      add_pairs<L, kRows, kTwos>(weights, values, int64_t{two} * kWide, out, stride, fetcher_);
    }
  }

  const AttentionSegment& s_;
  const int rows_;
  const int wide_;  // D in whole pairs of vectors
  RowView views_[kMaxAttentionRows];
  KeyRange range_ = {0, 0};
  bool in_groups_ = false;
  SegmentGroups groups_;    // if so
  LaneFetcher fetcher_;     // of them; or of nothing
  float* const scores_;     // [rows, kKeySegment]; then weights, [rows, 2 kKeySegment] in bf16
  uint16_t* const q_;       // [rows, wide]
  uint16_t* const packed_;  // keys or values that had to be gathered
};

template <class L>
void attend_lanes(const AttentionSegment& s) {
  LaneAttention<L>(s).run();
}

}  // namespace
}  // namespace ruvllm::kernels
