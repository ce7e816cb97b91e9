// Up to 16 rows of attention over one segment of a bf16 cache in the arithmetic of tiles
// (attention.h: "Tiles"), which one tile has room for: decode. Over T and L as in
// attention_bf16_tiles_impl.h.
//
// What so few rows cost is the pairing of keys and values, so these are paired a block at a time
// in buffers that stay in the first cache, each while the products of the block before are under
// way. Each line of memory is asked for once: asking for one that is there already takes as long as
// pairing it does.
#pragma once

#include "kernels/attention/attention_bf16_impl.h"
#include "kernels/attention/attention_groups.h"
#include "kernels/simd/amx_tile.h"

namespace ruvllm::kernels {
namespace {

template <class T, class L>
class OneTile {
 public:
  static bool can(const AttentionSegment& s) {
    return s.tokens * s.group <= kSide && s.head_dim % kStep == 0 && in_groups(s);
  }
  explicit OneTile(const AttentionSegment& s)
      : s_(s),
        rows_(s.tokens * s.group),
        scores_(s.scratch),
        weights_(reinterpret_cast<uint32_t*>(scores_ + rows_ * kKeySegment)),
        q_(weights_ + rows_ * kKeySegment / 2),
        buffer_(q_ + rows_ * s.head_dim / 2) {}

  // False: what was computed does not count, for among values that only some rows see there is an
  // infinity or NaN, which a weight of zero does not keep away from the others.
  bool run() {
    range_ = begin_rows(s_, views_);
    if (range_.begin >= range_.end) return true;
    groups_.find(s_, range_, kKeysAhead / kKeyGroup);
    fetcher_ = groups_.fetcher<Fetcher>(rows_, 1);
    for (int r = 0; r < rows_; ++r) {
      round_q_row<L>(s_, r, s_.head_dim, reinterpret_cast<uint16_t*>(q_ + r * s_.head_dim / 2));
    }
    configure();
    score();
    weigh();
    add_values();
    tiles_.release();
    return !special_;
  }

 private:
  using Fetcher = GroupFetcher<4, false>;
  static constexpr int kSide = 16;  // rows and columns of a tile
  static constexpr int kStep = 32;  // elements, or keys, of one product
  static constexpr int kTileWords = kSide * kSide;
  static constexpr int kGroups = 2;   // of keys in a block
  static constexpr int kColumns = 4;  // tiles of output at a time

  // Tiles: sums 0 to 3, left side 4, right side 5 6.
  void configure() {
    TileConfig config;
    for (int left = 0; left <= 4; ++left) config.set(left, rows_, 64);
    config.set(5, kSide, 64);
    config.set(6, kSide, 64);
    tiles_.configure(config);
  }

  // A block of keys: [group][pair of elements][key].
  int64_t group_words() const { return int64_t{s_.head_dim} / 2 * kKeyGroup; }
  uint32_t* key_block(int group) const {
    return buffer_ + group / kGroups % 2 * kGroups * group_words();
  }
  void pair_keys(int group, int end) {
    const int head_dim = s_.head_dim;
    // What stands for a group outside the range is never seen.
    for (int g = larger(group, groups_.first()); g < smaller(group + kGroups, end); ++g) {
      uint32_t* to = key_block(group) + (g - group) * group_words();
      const uint16_t* from = groups_.keys(g);
      for (int d = 0; d < head_dim; d += kStep) {
        fetcher_.worked_on(kStep / 2);
        RUVLLM_UNROLL for (int i = 0; i < kStep; i += 2, to += kKeyGroup) {
          L::interleave_halves(from + (d + i) * kKeyGroup, to);
        }
      }
    }
  }
  // Scores, times nothing yet: [group][row][key].
  void score() {
    const int first = range_.begin / kKeyGroup / kGroups * kGroups;
    const int end = (range_.end + kKeyGroup - 1) / kKeyGroup;
    pair_keys(first, end);
    for (int group = first; group < end; group += kGroups) {
      if (group + kGroups < end) pair_keys(group + kGroups, end);
      const uint32_t* keys = key_block(group);
      const uint32_t* others = keys + group_words();
      tiles_.template zero<0>();
      tiles_.template zero<1>();
      for (int d = 0; d < s_.head_dim; d += kStep, keys += kTileWords, others += kTileWords) {
        tiles_.template load<4>(q_ + d / 2, int64_t{2} * s_.head_dim);
        tiles_.template load<5>(keys, 64);
        tiles_.template dot_bf16<0, 4, 5>();
        tiles_.template load<6>(others, 64);
        tiles_.template dot_bf16<1, 4, 6>();
      }
      float* out = scores_ + group * rows_ * kKeyGroup;
      tiles_.template store<0>(out, 64);
      tiles_.template store<1>(out + rows_ * kKeyGroup, 64);
    }
  }

  // Weights: [step][row][pair of keys].
  void weigh() {
    const auto row_at = [&](int row) {
      return ScoreRow{scores_ + row * kSide, rows_ * kSide, weights_ + row * kSide, rows_ * kSide};
    };
    const auto between = [&](int) { fetcher_.fetch_lines(groups_.weighing_lines(rows_)); };
    weigh_rows<L>(s_, views_, 0, rows_, range_, row_at, between);
  }

  void add_values() {
    alike_ = true;
    for (int r = 1; r < rows_; ++r) {
      alike_ &= views_[r].begin == views_[0].begin && views_[r].end == views_[0].end;
    }
    int d = 0;
    for (; d + kColumns * kSide <= s_.head_dim; d += kColumns * kSide) add_columns<kColumns>(d);
    for (; d < s_.head_dim; d += 2 * kSide) add_columns<2>(d);
  }
  // Elements [d, d + 16 kCount) of the output.
  template <int kCount>
  void add_columns(int d) {
    const int first = range_.begin / kStep * kStep;
    uint32_t* block = buffer_;
    uint32_t* next = buffer_ + kColumns * kTileWords;
    pair_values<kCount>(first, d, block);
    each_tile<kCount>([&]<int kTile>()
                          __attribute__((always_inline)) { tiles_.template zero<kTile>(); });
    for (int key = first; key < range_.end; key += kStep) {
      if (key + kStep < range_.end) pair_values<kCount>(key + kStep, d, next);
      tiles_.template load<4>(weights_ + key / kStep * rows_ * kSide, 64);
      each_tile<kCount>([&]<int kTile>() __attribute__((always_inline)) {
        tiles_.template load<5 + kTile % 2>(block + kTile * kTileWords, 64);
        tiles_.template dot_bf16<kTile, 4, 5 + kTile % 2>();
      });
      uint32_t* const done = block;
      block = next;
      next = done;
    }
    const int64_t stride = attention_stride(s_.head_dim);
    float* out = s_.state.out + d;
    each_tile<kCount>([&]<int kTile>() __attribute__((always_inline)) {
      tiles_.template store<kTile>(out + kTile * kSide, stride * int64_t{sizeof(float)});
    });
    // Subnormal sums and values that nobody sees may have turned a zero's sign.
    for (int r = 0; r < rows_; ++r) {
      for (int i = 0; i < kCount * kSide; i += L::kLanes) {
        float* at = out + r * stride + i;
        L::store(at, L::add(L::load(at), L::zero()));
      }
    }
  }
  template <int kCount, class Function>
  static void each_tile(const Function& function) {
    function.template operator()<0>();
    function.template operator()<1>();
    if constexpr (kCount == 4) {
      function.template operator()<2>();
      function.template operator()<3>();
    }
  }

  const uint16_t* values_of(int key) const {
    return groups_.values(key / kKeyGroup) + key % kKeyGroup * s_.head_dim;
  }
  // A block of values, zeros for keys outside the range: [column of 16 elements][i][element], in
  // pairs of the keys i and 16 + i.
  template <int kCount>
  void pair_values(int key, int d, uint32_t* to) {
    const bool check = !alike_;
    if (key >= range_.begin && key + kStep <= range_.end) {
      const uint16_t* low = values_of(key) + d;
      const uint16_t* high = values_of(key + kSide) + d;
      const int64_t row = s_.head_dim;
      for (int i = 0; i < kSide; i += 4, low += 4 * row, high += 4 * row, to += 4 * kSide) {
        fetcher_.worked_on(4 * kCount);
        RUVLLM_UNROLL for (int j = 0; j < 4; ++j) {
          pair_rows<kCount>(low + j * row, high + j * row, to + j * kSide, check);
        }
      }
      return;
    }
    const auto seen_or_zeros = [&](int at) {
      return at >= range_.begin && at < range_.end ? values_of(at) + d : kZeros;
    };
    for (int i = 0; i < kSide; ++i, to += kSide) {
      pair_rows<kCount>(seen_or_zeros(key + i), seen_or_zeros(key + kSide + i), to, check);
    }
  }
  template <int kCount>
  void pair_rows(const uint16_t* a, const uint16_t* b, uint32_t* to, bool check) {
    RUVLLM_UNROLL for (int c = 0; c < kCount; ++c) {
      L::interleave(a + c * kSide, b + c * kSide, to + c * kTileWords);
    }
    if (!check) return;
    for (int c = 0; c < kCount; ++c) special_ |= L::any_special(to + c * kTileWords);
  }

  static constexpr uint16_t kZeros[kColumns * kSide] = {};

  const AttentionSegment& s_;
  const int rows_;
  RowView views_[kSide];
  KeyRange range_ = {0, 0};
  float* const scores_;
  uint32_t* const weights_;
  uint32_t* const q_;       // [rows, D] of bf16
  uint32_t* const buffer_;  // two blocks
  SegmentGroups groups_;
  Fetcher fetcher_;
  bool alike_ = true;     // all rows see the same
  bool special_ = false;  // an infinity or NaN among values of which some rows see less
  T tiles_;
};

}  // namespace
}  // namespace ruvllm::kernels
