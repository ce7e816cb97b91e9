// Up to 16 rows of attention over one segment of a bf16 cache in the arithmetic of tiles
// (attention.h: "Tiles"), which one tile has room for: decode. Over T and L as in
// attention_bf16_tiles_impl.h.
//
// What so few rows cost is the pairing of keys and values, so these are paired a block at a time
// in buffers that stay in the first cache, each while the products of the block before are under
// way. Each line of memory is asked for once, at the pace of the pairing: asking for one that is
// there already takes as long as pairing it does.
#pragma once

#include "kernels/attention/attention_bf16_impl.h"
#include "kernels/simd/amx_tile.h"
#include "kernels/simd/unroll.h"

namespace ruvllm::kernels {
namespace {

// Fetches the groups of a list one after the other, as many lines at a time as are due.
class GroupFetcher {
 public:
  // `lines` of a group each. `rate`: lines fetched for 16 that are worked on.
  GroupFetcher(const char* const* groups, int count, int lines, int rate)
      : groups_(groups), end_(groups + count), lines_(lines), rate_(rate) {}

  void worked_on(int lines) {
    for (due_ += lines * rate_; due_ >= 16 * kAtOnce; due_ -= 16 * kAtOnce) fetch();
  }
  void fetch() {
    if (left_ == 0) {
      if (groups_ == end_) return;
      at_ = *groups_++;
      left_ = lines_;
    }
    RUVLLM_UNROLL for (int i = 0; i < kAtOnce; ++i) __builtin_prefetch(at_ + i * 64, 0, 2);
    at_ += kAtOnce * 64;
    left_ -= kAtOnce;
  }
  static constexpr int kAtOnce = 4;

 private:
  const char* const* groups_;
  const char* const* end_;
  const int lines_;
  const int rate_;
  int due_ = 0;
  int left_ = 0;  // lines of the group
  const char* at_ = nullptr;
};

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
    find_groups();
    GroupFetcher fetcher = groups_ahead();
    fetcher_ = &fetcher;
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
  static constexpr int kSide = 16;  // rows and columns of a tile
  static constexpr int kStep = 32;  // elements, or keys, of one product
  static constexpr int kMaxGroups = kKeySegment / kKeyGroup;
  static constexpr int kGroupsAhead = kKeysAhead / kKeyGroup;  // fetched before they are read
  static constexpr int kLinesAWeighing = 32;  // fetched while a row is weighed, not more
  static constexpr int kTileWords = kSide * kSide;
  static constexpr int kGroups = 2;   // of keys in a block
  static constexpr int kColumns = 4;  // tiles of output at a time

  // Where the groups of the range lie: keys, values, and the keys that come next.
  void find_groups() {
    first_group_ = range_.begin / kKeyGroup;
    num_groups_ = (range_.end + kKeyGroup - 1) / kKeyGroup - first_group_;
    list_groups(s_.k_pages, first_group_, num_groups_, groups_);
    list_groups(s_.v_pages, first_group_, num_groups_, groups_ + num_groups_);
    if (s_.next_k_pages == nullptr) return;
    list_groups(s_.next_k_pages, 0, kGroupsAhead, groups_ + 2 * num_groups_);
  }
  void list_groups(const void* const* pages, int first, int count, const char** groups) const {
    const int64_t group_bytes = int64_t{s_.head_dim} * kKeyGroup * int64_t{sizeof(uint16_t)};
    const int64_t position = s_.key_begin + first * kKeyGroup;
    pages += position / s_.page_tokens - s_.key_begin / s_.page_tokens;
    const int groups_a_page = s_.page_tokens / kKeyGroup;
    int in_page = static_cast<int>(position % s_.page_tokens) / kKeyGroup;
    for (int i = 0; i < count; ++i) {
      groups[i] = static_cast<const char*>(*pages) + in_page * group_bytes;
      if (++in_page < groups_a_page) continue;
      in_page = 0;
      ++pages;
    }
  }
  const uint16_t* keys_of(int group) const {
    return reinterpret_cast<const uint16_t*>(groups_[group - first_group_]);
  }
  const uint16_t* values_of(int key) const {
    return reinterpret_cast<const uint16_t*>(
               groups_[num_groups_ + key / kKeyGroup - first_group_]) +
           key % kKeyGroup * s_.head_dim;
  }
  // All but the first keys, which whoever ran before has fetched, at the pace of the work.
  GroupFetcher groups_ahead() {
    const int first = smaller(kGroupsAhead, num_groups_);
    const int count = 2 * num_groups_ + (s_.next_k_pages != nullptr ? kGroupsAhead : 0) - first;
    const int lines = s_.head_dim * kKeyGroup / 32;
    const int all = 2 * num_groups_ * lines;
    weighing_lines_ = smaller(kLinesAWeighing, all / 4 / rows_);
    const int rate = (count * lines - rows_ * weighing_lines_) * 16 / all + 1;
    return {groups_ + first, count, lines, larger(rate, 0)};
  }

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
    for (int g = larger(group, first_group_); g < smaller(group + kGroups, end); ++g) {
      uint32_t* to = key_block(group) + (g - group) * group_words();
      const uint16_t* from = keys_of(g);
      for (int d = 0; d < head_dim; d += kStep) {
        fetcher_->worked_on(kStep / 2);
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
    const auto between = [&](int) {
      for (int i = 0; i < weighing_lines_; i += GroupFetcher::kAtOnce) fetcher_->fetch();
    };
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
        fetcher_->worked_on(4 * kCount);
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
  const char* groups_[2 * kMaxGroups + kGroupsAhead];
  int first_group_ = 0;
  int num_groups_ = 0;
  int weighing_lines_ = 0;  // fetched after each row's weights
  bool alike_ = true;       // all rows see the same
  bool special_ = false;    // an infinity or NaN among values of which some rows see less
  GroupFetcher* fetcher_ = nullptr;
  T tiles_;
};

}  // namespace
}  // namespace ruvllm::kernels
