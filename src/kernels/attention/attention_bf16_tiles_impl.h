// Attention over one segment of a bf16 cache on tiles of bf16 products; the contract, down to the
// order of the additions, is in attention.h ("Tiles"). Over T, the tiles of simd/amx_tile.h, and
// L, lanes as in attention_bf16_impl.h, whose store_pairs() puts a's lanes below those of b's, with
//   interleave(a, b, to)     16 words: a[i] below b[i]
//   interleave_halves(a, to) the same with b = a + 16
//   any_special(words)       whether one of 16 words holds an infinity or NaN
// so that a model of both runs on any machine.
//
// Rows of q are the left side of the first product, weights that of the second; keys and values
// are repacked into pairs once per segment: a load, a permutation and a store for 64 bytes. Rows go
// in tiles of at most 16, all of the same height; where that does not come out even, the last tile
// takes rows of the one before again, and finds the same. While the weights of a tile are computed,
// between two rows, the scores of the next tile and the output of the one before are, a few
// products at a time: the vectors' units have no multiplier left where tiles are multiplied, or
// one, and a block of either kind of work alone leaves the other's idle (Emerald Rapids: 1.3 times
// as fast).
#pragma once

#include "kernels/attention/attention_bf16_few_impl.h"
#include "kernels/attention/attention_bf16_impl.h"
#include "kernels/attention/attention_bf16_one_tile_impl.h"
#include "kernels/simd/amx_tile.h"

namespace ruvllm::kernels {
namespace {

template <class T, class L>
class TileAttention {
 public:
  explicit TileAttention(const AttentionSegment& s)
      : s_(s),
        rows_(s.tokens * s.group),
        wide_((s.head_dim + kStep - 1) / kStep * kStep),
        columns_((s.head_dim + kSide - 1) / kSide),
        num_tiles_((rows_ + kSide - 1) / kSide),
        height_((rows_ + num_tiles_ - 1) / num_tiles_),
        scores_(s.scratch),
        weights_(reinterpret_cast<uint32_t*>(scores_ + 2 * kSide * kKeySegment)),
        keys_(weights_ + kSide * kKeySegment),
        values_(keys_ + int64_t{wide_} / 2 * kKeySegment),
        q_(reinterpret_cast<uint16_t*>(values_ + int64_t{wide_} / 2 * kKeySegment)) {}

  void run() {
    range_ = begin_rows(s_, views_);
    if (range_.begin >= range_.end) return;
    Prefetcher prefetcher(s_, range_);
    prefetcher.fetch(lines_of(s_, kAhead));
    prefetcher_ = &prefetcher;
    round_q();
    pack_keys();
    configure();
    Scores first = scores_of(0);
    finish_all(first);
    pack_values(range_);
    if (!all_see_the_same() && any_special(range_)) {
      run_apart();
    } else {
      for (int tile = 0; tile < num_tiles_; ++tile) weigh(tile);
      Outputs last = outputs_of(num_tiles_ - 1);
      finish_all(last);
    }
    tiles_.release();
    make_zeros_positive();
  }

 private:
  static constexpr int kSide = 16;    // rows and columns of a tile
  static constexpr int kStep = 32;    // elements, or keys, of one product
  static constexpr int kAtOnce = 2;   // tiles of sums, of scores and of output each
  static constexpr int kAhead = 128;  // keys whose memory is asked for before they are read
  static constexpr int kTileWords = kSide * kSide;

  int first_row(int tile) const { return smaller(tile * height_, rows_ - height_); }
  // Keys that a row of the tile sees.
  KeyRange tile_range(int tile) const {
    KeyRange range = {kKeySegment, 0};
    for (int r = first_row(tile); r < first_row(tile) + height_; ++r) {
      if (views_[r].begin >= views_[r].end) continue;
      range.begin = smaller(range.begin, views_[r].begin);
      range.end = larger(range.end, views_[r].end);
    }
    return range;
  }

  // Work in `steps` steps. The scores of a tile, times nothing yet: [group][row][key].
  struct Scores {
    int steps;
    int due;     // of the next step, in height_-ths: see advance()
    int groups;  // left
    const uint16_t* q;
    const uint32_t* keys;
    float* out;
  };
  // The output of a tile, `kAtOnce` columns after the other.
  struct Outputs {
    int steps;
    int due;
    int columns;  // left
    int key_steps;
    int key_step;  // of these columns
    const uint32_t* weights;
    const uint32_t* values;
    float* out;
    int64_t out_row_bytes;
  };
  // As many steps as one row of a tile is of all.
  template <class Work>
  void advance(Work& work) {
    for (work.due += work.steps; work.due >= height_; work.due -= height_) step(work);
  }
  template <class Work>
  void finish_all(Work& work) {
    for (int i = 0; i < work.steps; ++i) step(work);
  }

  // Tiles: sums of scores 0 1, of output 2 3, left side 4, right side 5 6.
  void configure() {
    TileConfig config;
    for (int left = 0; left <= 4; ++left) config.set(left, height_, 64);
    config.set(5, kSide, 64);
    config.set(6, kSide, 64);
    tiles_.configure(config);
  }
  // sums[kFirst], and of two the next one += left * right.
  template <int kFirst>
  void multiply(const void* left, int64_t left_row_bytes, const uint32_t* right,
                int64_t right_tile_words, bool two) {
    tiles_.template load<4>(left, left_row_bytes);
    tiles_.template load<5>(right, 64);
    tiles_.template dot_bf16<kFirst, 4, 5>();
    if (!two) return;
    tiles_.template load<6>(right + right_tile_words, 64);
    tiles_.template dot_bf16<kFirst + 1, 4, 6>();
  }

  void round_q() {
    for (int r = 0; r < rows_; ++r) round_q_row<L>(s_, r, wide_, q_ + int64_t{r} * wide_);
  }

  // Keys: [group][pair of elements][key], the elements filled up with zeros.
  int64_t group_words() const { return int64_t{wide_} / 2 * kKeyGroup; }
  void pack_keys() {
    const bool whole_groups = s_.page_tokens % kKeyGroup == 0;
    for (int g = range_.begin / kKeyGroup; g * kKeyGroup < range_.end; ++g) {
      uint32_t* to = keys_ + g * group_words();
      prefetcher_->fetch(lines_of(s_, kKeyGroup));
      if (whole_groups) {
        const auto* from = static_cast<const uint16_t*>(group_of(s_, s_.k_pages, g));
        int d = 0;
        for (; d + 2 <= s_.head_dim; d += 2, to += kKeyGroup) {
          L::interleave_halves(from + d * kKeyGroup, to);
        }
        for (; d < wide_; d += 2, to += kKeyGroup) {
          L::interleave(d < s_.head_dim ? from + d * kKeyGroup : kZeros, kZeros, to);
        }
      } else {
        gather_keys(g, reinterpret_cast<uint16_t*>(to));
      }
    }
  }
  // The keys of a group that are in the range, one element at a time.
  void gather_keys(int group, uint16_t* to) const {
    memset(to, 0, static_cast<size_t>(group_words()) * sizeof(uint32_t));
    const int end = smaller((group + 1) * kKeyGroup, range_.end);
    for (int key = larger(group * kKeyGroup, range_.begin); key < end; ++key) {
      const Slot at = slot_of(s_, s_.k_pages, key);
      const auto* page = reinterpret_cast<const uint16_t*>(at.page);
      for (int d = 0; d < s_.head_dim; ++d) {
        to[(d / 2 * kKeyGroup + key % kKeyGroup) * 2 + d % 2] =
            page[key_element(s_.page_tokens, s_.head_dim, at.slot, d)];
      }
    }
  }

  // Scores and weights of a tile; two tiles' in turn.
  float* tile_scores(int tile) const { return scores_ + tile % 2 * kSide * kKeySegment; }
  uint32_t* tile_weights(int tile) const { return weights_ + tile % 2 * kSide * kKeySegment / 2; }

  Scores scores_of(int tile) const {
    const KeyRange range = tile_range(tile);
    const int first = range.begin / kKeyGroup;
    const int groups = larger((range.end + kKeyGroup - 1) / kKeyGroup - first, 0);
    return {.steps = (groups + 1) / kAtOnce,
            .due = 0,
            .groups = groups,
            .q = q_ + int64_t{first_row(tile)} * wide_,
            .keys = keys_ + first * group_words(),
            .out = tile_scores(tile) + first * kTileWords};
  }
  void step(Scores& work) {
    const bool two = work.groups > 1;
    tiles_.template zero<0>();
    tiles_.template zero<1>();
    const uint32_t* keys = work.keys;
    for (int d = 0; d < wide_; d += kStep, keys += kTileWords) {
      multiply<0>(work.q + d, int64_t{2} * wide_, keys, group_words(), two);
    }
    tiles_.template store<0>(work.out, 64);
    if (two) tiles_.template store<1>(work.out + kTileWords, 64);
    work.groups -= kAtOnce;
    work.keys += kAtOnce * group_words();
    work.out += kAtOnce * kTileWords;
  }

  // The weights of a tile, [step][row][pair of keys], and what its neighbours want of the tiles.
  void weigh(int tile) {
    Scores next = tile + 1 < num_tiles_ ? scores_of(tile + 1) : Scores{};
    Outputs before = tile > 0 ? outputs_of(tile - 1) : Outputs{};
    weigh_beside(tile, next, before);
  }
  void weigh_beside(int tile, Scores& next, Outputs& before) {
    const auto row_at = [&](int row) {
      return ScoreRow{tile_scores(tile) + row * kSide, kTileWords, tile_weights(tile) + row * kSide,
                      kTileWords};
    };
    const auto between = [&](int) {
      prefetcher_->fetch(lines_of(s_, kAhead) / rows_ + 1);
      advance(next);
      advance(before);
    };
    weigh_rows<L>(s_, views_, first_row(tile), height_, tile_range(tile), row_at, between);
  }

  // Values of the keys of `range`, zeros for all others: [step][column of 16 elements][i][element],
  // in pairs of the keys i and 16 + i.
  void pack_values(const KeyRange& range) {
    for (int key = range.begin / kStep * kStep; key < range.end; key += kStep) {
      const int begin = larger(range.begin - key, 0);
      const int end = smaller(range.end - key, kStep);
      const uint16_t* rows[kValueTile];
      value_rows(s_, key, begin, end, rows);
      uint32_t* to = packed_values(key / kStep);
      prefetcher_->fetch(lines_of(s_, kStep));
      for (int i = 0; i < kSide; ++i) {
        const int other = kSide + i;
        pack_pair(i >= begin && i < end ? rows[i] : nullptr,
                  other >= begin && other < end ? rows[other] : nullptr, to + i * kSide);
      }
    }
  }
  uint32_t* packed_values(int step) const {
    return values_ + int64_t{step} * columns_ * kTileWords;
  }
  // Two values, either of which may be null: zeros.
  void pack_pair(const uint16_t* a, const uint16_t* b, uint32_t* to) const {
    const int a_step = a == nullptr ? 0 : kSide;
    const int b_step = b == nullptr ? 0 : kSide;
    if (a == nullptr) a = kZeros;
    if (b == nullptr) b = kZeros;
    int c = 0;
    for (; (c + 1) * kSide <= s_.head_dim; ++c, to += kTileWords, a += a_step, b += b_step) {
      L::interleave(a, b, to);
    }
    if (c == columns_) return;
    const auto left = static_cast<size_t>(s_.head_dim - c * kSide) * sizeof(uint16_t);
    uint16_t rest[2][kSide] = {};
    memcpy(rest[0], a, left);
    memcpy(rest[1], b, left);
    L::interleave(rest[0], rest[1], to);
  }
  // Whether an infinity or NaN is among the packed values of the range's steps.
  bool any_special(const KeyRange& range) const {
    const uint32_t* end = packed_values((range.end + kStep - 1) / kStep);
    bool found = false;
    for (const uint32_t* words = packed_values(range.begin / kStep); words < end; words += kSide) {
      found |= L::any_special(words);
    }
    return found;
  }

  bool all_see_the_same() const {
    for (int r = 1; r < rows_; ++r) {
      if (views_[r].begin != views_[0].begin || views_[r].end != views_[0].end) return false;
    }
    return true;
  }
  // Of `columns` of the tile's, from `first` on.
  Outputs outputs_of(int tile, const KeyRange& range, int first, int columns, float* out,
                     int64_t out_stride) const {
    const int begin = range.begin / kStep;
    const int key_steps = range.begin < range.end ? (range.end + kStep - 1) / kStep - begin : 0;
    return {.steps = (columns + kAtOnce - 1) / kAtOnce * key_steps,
            .due = 0,
            .columns = columns,
            .key_steps = key_steps,
            .key_step = 0,
            .weights = tile_weights(tile) + begin * kTileWords,
            .values = packed_values(begin) + first * kTileWords,
            .out = out,
            .out_row_bytes = out_stride * int64_t{sizeof(float)}};
  }
  Outputs outputs_of(int tile) const {
    const int64_t stride = attention_stride(s_.head_dim);
    return outputs_of(tile, tile_range(tile), 0, columns_, s_.state.out + first_row(tile) * stride,
                      stride);
  }
  void step(Outputs& work) {
    const bool two = work.columns > 1;
    if (work.key_step == 0) {
      tiles_.template zero<2>();
      tiles_.template zero<3>();
    }
    multiply<2>(work.weights + work.key_step * kTileWords, 64,
                work.values + int64_t{work.key_step} * columns_ * kTileWords, kTileWords, two);
    if (++work.key_step < work.key_steps) return;
    tiles_.template store<2>(work.out, work.out_row_bytes);
    if (two) tiles_.template store<3>(work.out + kSide, work.out_row_bytes);
    work.key_step = 0;
    work.columns -= kAtOnce;
    work.values += kAtOnce * kTileWords;
    work.out += kAtOnce * kSide;
  }

  // A weight of zero does not keep an infinity or NaN away: the rows of one token after the other,
  // each over nothing but the values that it sees.
  void run_apart() {
    for (int tile = 0; tile < num_tiles_; ++tile) {
      Scores scores = scores_of(tile);
      finish_all(scores);
      Scores no_scores = {};
      Outputs no_outputs = {};
      weigh_beside(tile, no_scores, no_outputs);
      for (int r = first_row(tile); r < first_row(tile) + height_; ++r) add_row_apart(tile, r);
    }
  }
  void add_row_apart(int tile, int r) {
    const KeyRange view = {views_[r].begin, views_[r].end};
    if (view.begin >= view.end) return;
    if (r == first_row(tile) || r % s_.group == 0) pack_values(view);
    float out[kSide * kSide * kAtOnce];
    for (int c = 0; c < columns_; c += kAtOnce) {
      const int columns = smaller(columns_ - c, kAtOnce);
      Outputs work = outputs_of(tile, view, c, columns, out, kSide * kAtOnce);
      finish_all(work);
      memcpy(s_.state.out + r * attention_stride(s_.head_dim) + c * kSide,
             out + (r - first_row(tile)) * kSide * kAtOnce,
             static_cast<size_t>(columns * kSide) * sizeof(float));
    }
  }
  // Subnormal sums and values that nobody sees may have turned a zero's sign.
  void make_zeros_positive() {
    const int64_t floats = rows_ * attention_stride(s_.head_dim);
    for (int64_t i = 0; i < floats; i += L::kLanes) {
      L::store(s_.state.out + i, L::add(L::load(s_.state.out + i), L::zero()));
    }
  }

  static constexpr uint16_t kZeros[kSide] = {};

  const AttentionSegment& s_;
  const int rows_;
  const int wide_;     // D in whole steps
  const int columns_;  // D in tiles
  const int num_tiles_;
  const int height_;  // rows of a tile
  RowView views_[kMaxAttentionRows];
  KeyRange range_ = {0, 0};
  float* const scores_;      // of two tiles
  uint32_t* const weights_;  // of two tiles
  uint32_t* const keys_;     // in pairs
  uint32_t* const values_;
  uint16_t* const q_;  // [rows, wide]
  Prefetcher* prefetcher_ = nullptr;
  T tiles_;
};

template <class T, class L>
void attend_tiles(const AttentionSegment& s) {
  if (FewRows<L>::can(s)) return FewRows<L>(s).run();
  if (OneTile<T, L>::can(s) && OneTile<T, L>(s).run()) return;
  TileAttention<T, L>(s).run();
}

}  // namespace
}  // namespace ruvllm::kernels
