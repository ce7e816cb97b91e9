// One tile of quant_panel.h's products: MX rows of x times NV panels. See quant_panel_impl.h.
#pragma once

#include "kernels/matmul/quant_panel.h"
#include "kernels/matmul/quant_panel_dot.h"
#include "kernels/matmul/quant_panel_fetch.h"
#include "kernels/matmul/quant_panel_formats.h"

namespace ruvllm::kernels {
namespace {

// Groups [first, first + count) of a row; first: a multiple of kXBlock.
struct GroupRange {
  int64_t first;
  int64_t count;
  int64_t all;           // groups of the row
  int64_t scale_groups;  // this and the next as in QuantPanelArgs
  bool compact_scales;
  bool one_x_scale;
  int64_t stream_ahead_bytes;
};

// Tiles of x of the same number of rows, one after the other.
struct TilesOfX {
  const uint32_t* words;
  int64_t stride;  // words of a tile
  int64_t count;

  const uint32_t* at(int64_t tile, int64_t word) const { return words + tile * stride + word; }
};

// Walks NV panels block by block of x: what the groups of a block are multiplied with.
template <class S, class Fmt, int NV>
class PanelBlocks {
  using I = typename S::I;
  using F = typename S::F;
  static constexpr int kRows = S::kRows;

 public:
  using Codes = Fmt;

  PanelBlocks(const uint8_t* const* panels, const GroupRange& range)
      : scale_groups_(Fmt::kGrouped ? range.scale_groups : 1),
        compact_(range.compact_scales),
        stream_ahead_bytes_(range.stream_ahead_bytes) {
    int64_t offset = range.first * Fmt::group_bytes(kRows);
    if constexpr (Fmt::kTwoLevel) offset += range.first / 8 * Fmt::super_bytes(kRows);
    if constexpr (Fmt::kGrouped) {
      header_bytes_ = Fmt::header_bytes(kRows, compact_);
      offset += (range.first + scale_groups_ - 1) / scale_groups_ * header_bytes_;
      // Where a scale goes on, its header lies before the groups that it has had.
      const int64_t under = range.first % scale_groups_;
      left_ = under == 0 ? 0 : scale_groups_ - under;
      head_ = -(under * Fmt::group_bytes(kRows) + header_bytes_);
      if (kXBlock % scale_groups_ == 0) block_bytes_ = place(kXBlock);
    }
    for (int n = 0; n < NV; ++n) {
      w_[n] = block_[n] = panels[n] + offset;
      d_[n] = m_[n] = S::zero_f32();
    }
    next_group_ = range.first;
  }

  // Goes on to the next `count` <= kXBlock groups.
  RUVLLM_INLINE void next(int64_t count) {
    if constexpr (Fmt::kTwoLevel) {
      if (next_group_ % 8 == 0) {
#pragma GCC unroll 4
        for (int n = 0; n < NV; ++n) {
          d_[n] = S::load_f16(w_[n]);
          if constexpr (Fmt::kMinimum) {
            const float part = 1.0f / 128;
            m_[n] = S::mul(S::load_f16(w_[n] + 2 * kRows), S::broadcast_f32(&part));
          }
          w_[n] += Fmt::super_bytes(kRows);
        }
      }
      next_group_ += count;
    }
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) {
      block_[n] = w_[n];
      if constexpr (!Fmt::kGrouped) w_[n] += count * Fmt::group_bytes(kRows);
    }
    if constexpr (Fmt::kGrouped) {
      const int64_t bytes = block_bytes_ > 0 ? block_bytes_ : place(count);
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) w_[n] += bytes;
    }
  }

  // Group i of the block in panel n.
  RUVLLM_INLINE const uint8_t* record(int64_t i, int n) const {
    if constexpr (Fmt::kGrouped) return block_[n] + record_at_[i];
    return block_[n] + i * Fmt::group_bytes(kRows);
  }
  static constexpr int kMinimums = kRows * (Fmt::kTwoLevel ? (Fmt::kHalves ? 2 : 1) : 2);
  static constexpr int kHigh =
      Fmt::kGrouped ? 0 : kMinimums + (Fmt::kMinimum ? kRows * (Fmt::kTwoLevel ? 1 : 2) : 0);
  static constexpr int kCodes = kHigh + kRows * (Fmt::kBits == 5 || Fmt::kBits == 3 ? 4
                                                 : Fmt::kBits == 6                  ? 8
                                                                                    : 0);
  RUVLLM_INLINE F scale(int64_t i, int n, int half) const {
    if constexpr (Fmt::kGrouped) {
      return compact_ ? S::load_f16(header(i, n)) : S::load_f32((const float*)header(i, n));
    }
    if constexpr (Fmt::kHalves) return S::mul(d_[n], S::load_i8(record(i, n) + half * kRows));
    if constexpr (Fmt::kTwoLevel) return S::mul(d_[n], S::load_u8(record(i, n)));
    return S::load_f16(record(i, n));
  }
  // By -128, as a record of x has its sum: no rounding.
  RUVLLM_INLINE F minimum(int64_t i, int n) const {
    const uint8_t* const at = record(i, n) + kMinimums;
    if constexpr (Fmt::kTwoLevel) return S::mul(m_[n], S::load_u8(at));
    const float part = -1.0f / 128;
    return S::mul(S::load_f16(at), S::broadcast_f32(&part));
  }
  // In the lower half of a lane.
  RUVLLM_INLINE I zero_point(int64_t i, int n) const {
    return load_zeros<S, Fmt>(header(i, n), compact_);
  }
  RUVLLM_INLINE int64_t stream_ahead_bytes() const { return stream_ahead_bytes_; }
  RUVLLM_INLINE const uint8_t* high(int64_t i, int n) const { return record(i, n) + kHigh; }
  RUVLLM_INLINE const uint8_t* codes(int64_t i, int n) const { return record(i, n) + kCodes; }

 private:
  // That of group i of a grouped format.
  RUVLLM_INLINE const uint8_t* header(int64_t i, int n) const { return block_[n] + head_at_[i]; }
  // Where the headers and records of the `count` groups of a block stand; its bytes.
  RUVLLM_INLINE int64_t place(int64_t count) {
    int64_t at = 0;
    for (int64_t i = 0; i < count; ++i, at += Fmt::group_bytes(kRows)) {
      if (left_ == 0) {
        head_ = at;
        at += header_bytes_;
        left_ = scale_groups_;
      }
      --left_;
      head_at_[i] = head_;
      record_at_[i] = at;
    }
    head_ -= at;
    return at;
  }

  const uint8_t* w_[NV];      // where the next block begins
  const uint8_t* block_[NV];  // where this one does
  F d_[NV];                   // two-level factors
  F m_[NV];
  int64_t next_group_;
  // Grouped formats:
  int64_t scale_groups_;
  bool compact_;
  int64_t stream_ahead_bytes_;
  int64_t header_bytes_;
  int64_t left_ = 0;         // groups under the last header
  int64_t head_ = 0;         // the last header from the block's begin
  int64_t block_bytes_ = 0;  // where all blocks are alike, else 0
  static constexpr int kPlaces = Fmt::kGrouped ? kXBlock : 1;
  int64_t head_at_[kPlaces];
  int64_t record_at_[kPlaces];
};

// A block made ready for several tiles of x: codes are bytes, scales f32, each at a cache line.
template <class S, class Fmt, int NV>
class ExpandedBlock {
  using I = typename S::I;
  using F = typename S::F;
  static constexpr int kRows = S::kRows;
  static constexpr int kHalves = Fmt::kHalves ? 2 : 1;

 public:
  // The format with a byte for each code.
  struct Codes : Fmt {
    static constexpr bool kBytes = true;
  };

  // The `count` groups of the block.
  [[gnu::noinline]] void fill(const PanelBlocks<S, Fmt, NV>& w, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      for (int n = 0; n < NV; ++n) {
        for (int half = 0; half < kHalves; ++half) {
          S::store_f32(scale_[i][half][n], w.scale(i, n, half));
        }
        if constexpr (Fmt::kMinimum) S::store_f32(minimum_[i][n], w.minimum(i, n));
        if constexpr (Fmt::kGrouped) S::store(zero_point_[i][n], w.zero_point(i, n));
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j) {
          S::store(codes_[i][n][j], load_codes<S, Fmt>(w.high(i, n), w.codes(i, n), j));
        }
      }
    }
  }
  RUVLLM_INLINE F scale(int64_t i, int n, int half) const {
    return S::load_f32(scale_[i][half][n]);
  }
  RUVLLM_INLINE F minimum(int64_t i, int n) const { return S::load_f32(minimum_[i][n]); }
  RUVLLM_INLINE I zero_point(int64_t i, int n) const {
    return S::load((const uint8_t*)zero_point_[i][n]);
  }
  RUVLLM_INLINE const uint8_t* high(int64_t, int) const { return nullptr; }
  RUVLLM_INLINE const uint8_t* codes(int64_t i, int n) const { return codes_[i][n][0]; }

 private:
  alignas(64) uint8_t codes_[kXBlock][NV][8][4 * kRows];
  alignas(64) float scale_[kXBlock][kHalves][NV][kRows];
  alignas(64) float minimum_[Fmt::kMinimum ? kXBlock : 1][NV][kRows];
  alignas(64) int32_t zero_point_[Fmt::kGrouped ? kXBlock : 1][NV][kRows];
};

// kExpands: whether blocks are made ready first.
template <class S, class Fmt, int MX, int NV, bool kExpands = false>
struct PanelTile {
  using I = typename S::I;
  using F = typename S::F;
  using Form = DotForm<S, Fmt>;
  using Blocks = PanelBlocks<S, Fmt, NV>;
  static constexpr int kRows = S::kRows;
  static constexpr bool kMayBeExact = Fmt::kGrouped && Fmt::kBits == 8;
  static constexpr int64_t kSums = MX * NV * kRows;  // of a tile
  static constexpr int kAtOnce = MX < Form::rows_at_once(NV) ? MX : Form::rows_at_once(NV);
  // Whether parts stay in registers beside dots, weights, x and a product.
  static constexpr bool kKeepsParts = 2 * kAtOnce * NV + NV + 2 <= S::kRegisters;
  // And, where panels stream, those of all rows, which meet a group while it is at hand then.
  static constexpr bool kAllParts =
      (MX > kAtOnce) && NV == Form::streams(MX) && (MX + kAtOnce) * NV + NV + 2 <= S::kRegisters;
  template <class W>
  using Dot = GroupDot<S, typename W::Codes, MX, NV, kAtOnce>;

  // Into the first level: what lies some way after group i of the block, a group's bytes of it. Of
  // one row, which reads everything once, it passes by the second level where stream_ahead_bytes()
  // says how far ahead.
  static RUVLLM_INLINE void fetch_ahead(const Blocks& w, int64_t i) {
    if constexpr (MX <= Form::kStreamRows && NV == Form::streams(MX)) {
      const int64_t given = w.stream_ahead_bytes();
      if (MX == 1 && given > 0) return fetch_at<kOnce>(w, i, given);
      const int64_t ahead = given > 0 ? given : int64_t{Form::bytes_ahead(MX)};
      if (ahead > 0) fetch_at<kAgain>(w, i, ahead);
    }
  }
  static constexpr int kOnce = 0;
  static constexpr int kAgain = 3;
  template <int kLocality>
  static RUVLLM_INLINE void fetch_at(const Blocks& w, int64_t i, int64_t ahead) {
    // And the line that a header may put between two groups of 8 bits (Zen 5: 4 % faster; with 4
    // bits 4 % slower).
    constexpr int kFetchedBytes =
        Fmt::group_bytes(kRows) + (Fmt::kGrouped && Fmt::kBits == 8 ? 64 : 0);
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) {
      for (int byte = 0; byte < kFetchedBytes; byte += 64) {
        __builtin_prefetch(w.record(i, n) + ahead + byte, 0, kLocality);
      }
    }
  }

  // Of a block that was made ready: nothing.
  static RUVLLM_INLINE void fetch_ahead(const ExpandedBlock<S, Fmt, NV>&, int64_t) {}

  // part[t][n] = fma(float(dot), scale, part), of kAtOnce rows.
  static RUVLLM_INLINE void add_scaled(const I (&dot)[kAtOnce][NV], const F (&scale)[NV],
                                       F (&part)[kAtOnce][NV]) {
#pragma GCC unroll 8
    for (int t = 0; t < kAtOnce; ++t) {
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) part[t][n] = S::fma(S::to_f32(dot[t][n]), scale[n], part[t][n]);
    }
  }

  // What comes meanwhile, with each group of each tile.
  template <class W>
  static RUVLLM_INLINE void fetch(const W& w, int64_t i, Fetcher& next) {
    fetch_ahead(w, i);
    next.step();
  }

  // Group i of the block, kHalf of it (2: all); x: of the rows' group.
  template <int kHalf, class W>
  static RUVLLM_INLINE void add_group(const W& w, int64_t i, const uint32_t* x,
                                      F (&part)[kAtOnce][NV]) {
    const uint8_t* high[NV];
    const uint8_t* codes[NV];
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) {
      high[n] = w.high(i, n);
      codes[n] = w.codes(i, n);
    }
    I dot[kAtOnce][NV];
    Dot<W>::template run<kHalf == 1 ? 4 : 0, kHalf == 2 ? 8 : 4, kHalf>(high, codes, x, dot);
    F scale[NV];
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) scale[n] = w.scale(i, n, kHalf % 2);
    add_scaled(dot, scale, part);
    if constexpr (Fmt::kMinimum) {
      F minimum[NV];
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) minimum[n] = w.minimum(i, n);
#pragma GCC unroll 8
      for (int t = 0; t < kAtOnce; ++t) {
        const F total = S::to_f32(Dot<W>::offset(x, t));
#pragma GCC unroll 4
        for (int n = 0; n < NV; ++n) part[t][n] = S::fma(minimum[n], total, part[t][n]);
      }
    }
  }

  // The dots of groups [i, i + count) of the block, all under one scale of a grouped format.
  template <class W>
  static RUVLLM_INLINE void unit_dots(const W& w, int64_t i, int64_t count, const uint32_t* x,
                                      Fetcher* next, I (&sum)[kAtOnce][NV]) {
    // The zero points' share.
    static constexpr int32_t k128 = 128;
    I minus_sum[kAtOnce];
#pragma GCC unroll 8
    for (int t = 0; t < kAtOnce; ++t) {
      I offset = Dot<W>::offset(x, t);
      for (int64_t g = 1; g < count; ++g) {
        offset = S::add_32(offset, Dot<W>::offset(x + g * Form::kWords * MX, t));
      }
      minus_sum[t] = S::shift_right_32(offset, 7);
    }
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) {
      I zero = w.zero_point(i, n);
      if constexpr (Form::kSigned) zero = S::sub_16(zero, S::broadcast_4(&k128));
#pragma GCC unroll 8
      for (int t = 0; t < kAtOnce; ++t) sum[t][n] = S::dot_pairs_16(zero, minus_sum[t]);
    }
    for (int64_t g = i; g < i + count; ++g, x += Form::kWords * MX) {
      if (next != nullptr) fetch(w, g, *next);
      const uint8_t* high[NV];
      const uint8_t* codes[NV];
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) {
        high[n] = w.high(g, n);
        codes[n] = w.codes(g, n);
      }
      if constexpr (Dot<W>::kGoesOn) {
        Dot<W>::template run<0, 8, 2, true>(high, codes, x, sum);
        continue;
      }
      I dot[kAtOnce][NV];
      Dot<W>::template run<0, 8, 2>(high, codes, x, dot);
#pragma GCC unroll 8
      for (int t = 0; t < kAtOnce; ++t) {
#pragma GCC unroll 4
        for (int n = 0; n < NV; ++n) sum[t][n] = S::add_32(sum[t][n], dot[t][n]);
      }
    }
  }

  // Groups [i, i + unit) of the block with kAtOnce rows, from their first words on. next: null, or
  // what is fetched meanwhile.
  template <class W>
  static RUVLLM_INLINE void add_unit(const W& w, int64_t i, int64_t unit, const uint32_t* x,
                                     Fetcher* next, F (&part)[kAtOnce][NV]) {
    if constexpr (Fmt::kGrouped) {
      I dot[kAtOnce][NV];
      unit_dots(w, i, unit, x, next, dot);
      F scale[NV];
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) scale[n] = w.scale(i, n, 0);
      add_scaled(dot, scale, part);
      return;
    }
    if (next != nullptr) fetch(w, i, *next);
    if constexpr (Fmt::kHalves) {
      add_group<0>(w, i, x, part);
      add_group<1>(w, i, x, part);
    } else {
      add_group<2>(w, i, x, part);
    }
  }

  // A block of `count` groups with all rows: adds to sums.
  template <class W>
  static RUVLLM_INLINE void add_block(const W& w, int64_t count, int64_t unit, const uint32_t* x,
                                      Fetcher& next, float* sums) {
    constexpr int kTogether = kAllParts ? MX / kAtOnce : 1;
#pragma GCC unroll 4
    for (int first = 0; first < MX; first += kTogether * kAtOnce) {
      F part[kTogether][kAtOnce][NV];
#pragma GCC unroll 32
      for (int i = 0; i < kTogether * kAtOnce * NV; ++i) {
        part[i / (kAtOnce * NV)][i / NV % kAtOnce][i % NV] = S::zero_f32();
      }
      const uint32_t* at = x + first;
      for (int64_t i = 0; i < count; i += unit, at += unit * Form::kWords * MX) {
        const int64_t groups = unit < count - i ? unit : count - i;
#pragma GCC unroll 4
        for (int k = 0; k < kTogether; ++k) {
          add_unit(w, i, groups, at + k * kAtOnce, first + k == 0 ? &next : nullptr, part[k]);
          if constexpr (kTogether > 1) __asm__ volatile("" ::: "memory");  // in this order
        }
        if constexpr (!kKeepsParts) __asm__ volatile("" : "+m"(part));
      }
#pragma GCC unroll 8
      for (int t = 0; t < kTogether * kAtOnce; ++t) {
        const F scale_x = S::broadcast_f32(x + Form::kCodeWords * MX + first + t);
#pragma GCC unroll 4
        for (int n = 0; n < NV; ++n) {
          float* const sum = sums + ((first + t) * NV + n) * kRows;
          S::store_f32(sum, S::fma(part[t / kAtOnce][t % kAtOnce][n], scale_x, S::load_f32(sum)));
        }
      }
      if constexpr (kAtOnce < MX) __asm__ volatile("" ::: "memory");
    }
  }

  // The same where x has one scale: `sums` are integers.
  template <class W>
  static RUVLLM_INLINE void add_exact(const W& w, int64_t count, const uint32_t* x, Fetcher& next,
                                      float* sums) {
#pragma GCC unroll 4
    for (int first = 0; first < MX; first += kAtOnce) {
      I dot[kAtOnce][NV];
      unit_dots(w, 0, count, x + first, first == 0 ? &next : nullptr, dot);
#pragma GCC unroll 32
      for (int i = 0; i < kAtOnce * NV; ++i) {
        float* const sum = sums + (first * NV + i) * kRows;
        S::store(sum, S::add_32(S::load((const uint8_t*)sum), dot[i / NV][i % NV]));
      }
      if constexpr (kAtOnce < MX) __asm__ volatile("" ::: "memory");
    }
  }
  // The integers become sums. x: a group of the rows.
  static void end_exact(const Blocks& w, const uint32_t* x, float* sums) {
    for (int i = 0; i < MX * NV; ++i) {
      float* const sum = sums + i * kRows;
      const F total = S::to_f32(S::load((const uint8_t*)sum));
      const F part = S::fma(total, w.scale(0, i % NV, 0), S::zero_f32());
      const F scale_x = S::broadcast_f32(x + Form::kCodeWords * MX + i / NV);
      S::store_f32(sum, S::fma(part, scale_x, S::zero_f32()));
    }
  }

  // The block of `count` groups in later panels.
  static LaterPieces<NV> later_block(const Blocks& w, int64_t count, const LaterPanels<NV>& later) {
    LaterPieces<NV> pieces;
    if (!later.any) return pieces;
    const uint8_t* const end = w.record(count - 1, 0) + Fmt::group_bytes(kRows);
    pieces.lines = (end - w.record(0, 0)) / 64 + 1;
    for (int n = 0; n < NV; ++n) pieces.at[n] = w.record(0, n) + later.distance[n];
    return pieces;
  }

  // A block with all tiles, from `word` of them on.
  template <class W>
  static RUVLLM_INLINE void add_tiles(const W& w, int64_t count, int64_t unit, const TilesOfX& x,
                                      int64_t word, Fetcher& next, const LaterPieces<NV>& later,
                                      float* sums, bool exact) {
    for (int64_t i = 0; i < x.count; ++i) {
      if constexpr (Form::kFewRegisters) later.fetch(i, x.count);
      if (kMayBeExact && exact) {
        if constexpr (kMayBeExact) add_exact(w, count, x.at(i, word), next, sums + i * kSums);
      } else {
        add_block(w, count, unit, x.at(i, word), next, sums + i * kSums);
      }
      __asm__ volatile("" ::: "memory");  // the sums stay in memory
    }
  }

  // Adds the groups of the range to sums: [x.count][MX][NV][R], integers until the last where x has
  // one scale. panels: NV pointers. A block of them, which the first level holds, meets all tiles.
  // next: a step with each group of each tile. later: fetched block by block (Form::kFewRegisters).
  static void run(const uint8_t* const* panels, const TilesOfX& x, const GroupRange& range,
                  Fetcher& next, const LaterPanels<NV>& later, float* sums) {
    Blocks w(panels, range);
    const bool exact = kMayBeExact && range.one_x_scale;
    const int64_t unit = Fmt::kGrouped ? unit_groups(range.scale_groups, range.all) : 1;
    int64_t word = range.first * Form::kWords * MX;
    for (int64_t g = 0; g < range.count; g += kXBlock) {
      const int64_t count = kXBlock < range.count - g ? int64_t{kXBlock} : range.count - g;
      w.next(count);
      const LaterPieces<NV> block = later_block(w, count, later);
      if constexpr (kExpands) {
        ExpandedBlock<S, Fmt, NV> expanded;
        expanded.fill(w, count);
        add_tiles(expanded, count, unit, x, word, next, block, sums, exact);
      } else {
        add_tiles(w, count, unit, x, word, next, block, sums, exact);
      }
      word += count * Form::kWords * MX;
    }
    if constexpr (kMayBeExact) {
      if (exact && range.first + range.count == range.all) {
        for (int64_t i = 0; i < x.count; ++i) end_exact(w, x.at(i, 0), sums + i * kSums);
      }
    }
  }
};

}  // namespace
}  // namespace ruvllm::kernels
