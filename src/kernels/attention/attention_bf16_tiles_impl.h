// Attention over one segment of a bf16 cache on tiles of bf16 products; the contract, down to the
// order of the additions, is in attention.h ("Tiles"). Over T, the tiles of simd/amx_tile.h, and
// L, lanes as in attention_bf16_impl.h, whose store_pairs() puts a's lanes below those of b's, with
//   interleave(a, b, to)     16 words: a[i] below b[i]
//   any_special(words)       whether one of 16 words holds an infinity or NaN
// so that a model of both runs on any machine.
//
// Rows of q are the left side of the first product, weights that of the second; keys and values
// are repacked into pairs once per segment: a load, a permutation and a store for 64 bytes. Rows go
// in tiles of at most 16, all of the same height; where that does not come out even, the last tile
// takes rows of the one before again, and finds the same.
#pragma once

#include "kernels/attention/attention_bf16_impl.h"
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
        q_(reinterpret_cast<uint16_t*>(scores_ + int64_t{rows_} * kKeySegment)),
        packed_(reinterpret_cast<uint32_t*>(q_ + int64_t{rows_} * wide_)) {}

  void run() {
    range_ = begin_rows(s_, views_);
    if (range_.begin >= range_.end) return;
    // A row or two compute so little that they only wait for memory, and are best left to it.
    Prefetcher prefetcher(s_, rows_ > 2 ? range_ : KeyRange{0, 0});
    prefetcher.fetch(lines_of(s_, kAhead));
    prefetcher_ = &prefetcher;
    round_q();
    pack_keys();
    configure();
    score_blocks(first_row(0), tile_range(0), 0, kBlocks);
    for (int tile = 0; tile < num_tiles_; ++tile) weigh_tile(tile);
    add_values();
    tiles_.release();
  }

 private:
  static constexpr int kSide = 16;   // rows and columns of a tile
  static constexpr int kStep = 32;   // elements, or keys, of one product
  static constexpr int kAtOnce = 4;  // tiles of sums
  static constexpr int kBlocks = kKeySegment / (kSide * kAtOnce);
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

  // Tiles: sums 0 1 2 3, left side 4, right side 5 and 6 in turn.
  void configure() {
    TileConfig config;
    for (int sum = 0; sum < kAtOnce; ++sum) config.set(sum, height_, 64);
    config.set(4, height_, 64);
    config.set(5, kSide, 64);
    config.set(6, kSide, 64);
    tiles_.configure(config);
  }

  // kCount tiles beside each other: out[16 i ...] = the sum over steps of left * right[i].
  struct Product {
    const void* left;  // steps lie 64 bytes apart
    int64_t left_row_bytes;
    const uint32_t* right;
    int64_t right_tile_words;  // from one of the kCount to the next
    int64_t right_step_words;
    int steps;
    float* out;
    int64_t out_row_bytes;
  };
  template <int kCount>
  void multiply(const Product& p) {
    tiles_.template zero<0>();
    if constexpr (kCount > 1) tiles_.template zero<1>();
    if constexpr (kCount > 2) tiles_.template zero<2>();
    if constexpr (kCount > 3) tiles_.template zero<3>();
    for (int step = 0; step < p.steps; ++step) {
      const uint32_t* right = p.right + step * p.right_step_words;
      tiles_.template load<4>(static_cast<const char*>(p.left) + 64 * step, p.left_row_bytes);
      tiles_.template load<5>(right, 64);
      tiles_.template dot_bf16<0, 4, 5>();
      if constexpr (kCount > 1) {
        tiles_.template load<6>(right + p.right_tile_words, 64);
        tiles_.template dot_bf16<1, 4, 6>();
      }
      if constexpr (kCount > 2) {
        tiles_.template load<5>(right + 2 * p.right_tile_words, 64);
        tiles_.template dot_bf16<2, 4, 5>();
      }
      if constexpr (kCount > 3) {
        tiles_.template load<6>(right + 3 * p.right_tile_words, 64);
        tiles_.template dot_bf16<3, 4, 6>();
      }
    }
    tiles_.template store<0>(p.out, p.out_row_bytes);
    if constexpr (kCount > 1) tiles_.template store<1>(p.out + kSide, p.out_row_bytes);
    if constexpr (kCount > 2) tiles_.template store<2>(p.out + 2 * kSide, p.out_row_bytes);
    if constexpr (kCount > 3) tiles_.template store<3>(p.out + 3 * kSide, p.out_row_bytes);
  }
  void multiply(int count, const Product& p) {
    switch (count) {
      case 1:
        return multiply<1>(p);
      case 2:
        return multiply<2>(p);
      case 3:
        return multiply<3>(p);
      default:
        return multiply<4>(p);
    }
  }

  void round_q() {
    for (int r = 0; r < rows_; ++r) round_q_row<L>(s_, r, wide_, q_ + int64_t{r} * wide_);
  }

  // Keys: [group][pair of elements][key], the elements filled up with zeros.
  int64_t group_words() const { return int64_t{wide_} / 2 * kKeyGroup; }
  void pack_keys() {
    const bool whole_groups = s_.page_tokens % kKeyGroup == 0;
    for (int g = range_.begin / kKeyGroup; g * kKeyGroup < range_.end; ++g) {
      uint32_t* to = packed_ + g * group_words();
      prefetcher_->fetch(lines_of(s_, kKeyGroup));
      if (whole_groups) {
        const auto* from = static_cast<const uint16_t*>(group_of(s_, s_.k_pages, g));
        int d = 0;
        for (; d + 2 <= s_.head_dim; d += 2, to += kKeyGroup) {
          L::interleave(from + d * kKeyGroup, from + (d + 1) * kKeyGroup, to);
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

  // Scores of a tile's rows in the blocks of keys [first, end), times nothing yet.
  void score_blocks(int row, const KeyRange& range, int first, int end) {
    for (int block = first; block < end; ++block) {
      const int group = larger(block * kAtOnce, range.begin / kKeyGroup);
      const int count =
          smaller((block + 1) * kAtOnce, (range.end + kKeyGroup - 1) / kKeyGroup) - group;
      if (count <= 0) continue;
      multiply(count, {.left = q_ + int64_t{row} * wide_,
                       .left_row_bytes = int64_t{2} * wide_,
                       .right = packed_ + group * group_words(),
                       .right_tile_words = group_words(),
                       .right_step_words = kTileWords,
                       .steps = wide_ / kStep,
                       .out = scores_ + row * kKeySegment + group * kKeyGroup,
                       .out_row_bytes = kKeySegment * int64_t{sizeof(float)}});
    }
  }

  // The weights of a tile, and meanwhile the scores of the next: the one is work for the vectors,
  // the other for the tiles.
  void weigh_tile(int tile) {
    const int row = first_row(tile);
    const KeyRange range = tile_range(tile);
    const bool more = tile + 1 < num_tiles_;
    const KeyRange next = more ? tile_range(tile + 1) : KeyRange{0, 0};
    // Rows that the next tile takes again are left to it: its scores stand in the same place.
    const int count = more ? first_row(tile + 1) - row : height_;
    int block = 0;
    for (int i = 0; i < count; ++i) {
      prefetcher_->fetch(lines_of(s_, kAhead / 2) / rows_ + 1);
      weigh_row<L>(s_, row + i, views_[row + i], range, scores_ + (row + i) * kKeySegment);
      const int due = (i + 1) * kBlocks / count;
      if (more) score_blocks(first_row(tile + 1), next, block, due);
      block = due;
    }
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
    return packed_ + int64_t{step} * columns_ * kTileWords;
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
  void add_values() {
    pack_values(range_);
    if (!all_see_the_same() && any_special(range_)) {
      add_values_apart();
    } else {
      const int64_t stride = attention_stride(s_.head_dim);
      for (int tile = 0; tile < num_tiles_; ++tile) {
        const KeyRange range = tile_range(tile);
        if (range.begin >= range.end) continue;
        for (int c = 0; c < columns_; c += kAtOnce) {
          value_block(first_row(tile), range, c,
                      s_.state.out + first_row(tile) * stride + c * kSide, stride);
        }
      }
    }
    // Values that nobody sees may have turned a zero's sign: it is positive.
    const int64_t floats = rows_ * attention_stride(s_.head_dim);
    for (int64_t i = 0; i < floats; i += L::kLanes) {
      L::store(s_.state.out + i, L::add(L::load(s_.state.out + i), L::zero()));
    }
  }
  // A weight of zero does not keep an infinity or NaN away: the rows of one token after the other,
  // each over nothing but the values that it sees.
  void add_values_apart() {
    const int64_t stride = attention_stride(s_.head_dim);
    float out[kSide * kSide * kAtOnce];
    for (int t = 0; t < s_.tokens; ++t) {
      const RowView& view = views_[t * s_.group];
      if (view.begin >= view.end) continue;
      pack_values({view.begin, view.end});
      for (int r = t * s_.group; r < (t + 1) * s_.group; ++r) {
        const int row = smaller(r, rows_ - height_);
        for (int c = 0; c < columns_; c += kAtOnce) {
          value_block(row, {view.begin, view.end}, c, out, kSide * kAtOnce);
          const int count = smaller(columns_ - c, kAtOnce);
          memcpy(s_.state.out + r * stride + c * kSide, out + (r - row) * kSide * kAtOnce,
                 static_cast<size_t>(count * kSide) * sizeof(float));
        }
      }
    }
  }
  // Columns c ... of a tile's output.
  void value_block(int row, const KeyRange& range, int c, float* out, int64_t out_stride) {
    const int step = range.begin / kStep;
    multiply(smaller(columns_ - c, kAtOnce),
             {.left = scores_ + row * kKeySegment + step * kSide,
              .left_row_bytes = kKeySegment * int64_t{sizeof(float)},
              .right = packed_ + (int64_t{step} * columns_ + c) * kTileWords,
              .right_tile_words = kTileWords,
              .right_step_words = int64_t{columns_} * kTileWords,
              .steps = (range.end + kStep - 1) / kStep - step,
              .out = out,
              .out_row_bytes = out_stride * int64_t{sizeof(float)}});
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
  float* const scores_;     // [rows, kKeySegment]
  uint16_t* const q_;       // [rows, wide]
  uint32_t* const packed_;  // keys, then values
  Prefetcher* prefetcher_ = nullptr;
  T tiles_;
};

template <class T, class L>
void attend_tiles(const AttentionSegment& s) {
  TileAttention<T, L>(s).run();
}

}  // namespace
}  // namespace ruvllm::kernels
