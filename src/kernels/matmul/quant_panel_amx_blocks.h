// What the tile kernels of quant_panel_amx_impl.h multiply: a chunk of a panel with its codes as
// signed bytes and its scales as f32 (one form for all formats), made once for many rows of x.
#pragma once

#include "kernels/matmul/quant_panel.h"
#include "kernels/matmul/quant_panel_dot.h"
#include "kernels/matmul/quant_panel_fetch.h"
#include "kernels/matmul/quant_panel_formats.h"

namespace ruvllm::kernels {
namespace {

enum {
  kChunkGroups = 16,  // 10 KB of w and 8 KB of x a tile: together in L1
  kPartTiles = 32,    // of x, whose columns of a chunk stay in the second level
  kPartPanels = 16,   // that keep their sums meanwhile: 512 KB
};

// What is multiplied at a time: rows of x from row t on, t a multiple of 16, by the panels
// [p, last_p).
struct PanelPart {
  int64_t t, rows;
  int64_t p, last_p;

  int64_t num_tiles() const { return (rows + kTileSide - 1) / kTileSide; }
  int64_t num_panels() const { return last_p - p; }
  // Of tile i of the part.
  int64_t rows_of_tile(int64_t i) const {
    const int64_t left = rows - i * kTileSide;
    return left < kTileSide ? left : int64_t{kTileSide};
  }
};

template <class Run>
void for_each_part(const QuantPanelArgs& args, Run run) {
  constexpr int64_t kRows = int64_t{kPartTiles} * kTileSide;
  for (int64_t t = 0; t < args.num_x; t += kRows) {
    const int64_t left = args.num_x - t;
    for (int64_t p = 0; p < args.num_panels; p += kPartPanels) {
      const int64_t rest = args.num_panels - p;
      run(PanelPart{t, left < kRows ? left : kRows, p,
                    p + (kPartPanels < rest ? int64_t{kPartPanels} : rest)});
    }
  }
}

// The sums of a part, by panel and tile of x. They go to their rows when all is done, a row of all
// panels at a time: rows are far apart, and tile after tile would write to few sets of the caches.
struct PanelSums {
  alignas(64) float of[kPartPanels][kPartTiles][kTileSide * kTileSide];

  void clear(const PanelPart& part) {
    const size_t bytes = sizeof of[0][0] * (size_t)part.num_tiles();
    for (int64_t n = 0; n < part.num_panels(); ++n) __builtin_memset(of[n], 0, bytes);
  }

  // finished(n, r, row of 16 sums): what is written for row r of the part's panel n.
  template <class S, class Finished>
  void write(const PanelPart& part, const QuantPanelArgs& args, Finished finished) const {
    constexpr int64_t kAhead = 4;  // rows that are made ready to be written
    float* out = args.sums + part.t * args.sums_stride + part.p * kTileSide;
    for (int64_t r = 0; r < part.rows; ++r, out += args.sums_stride) {
      if (r + kAhead < part.rows) {
        const float* const ahead = out + kAhead * args.sums_stride;
        for (int64_t n = 0; n < part.num_panels(); ++n) {
          __builtin_prefetch(ahead + n * kTileSide, 1, 2);
        }
      }
      for (int64_t n = 0; n < part.num_panels(); ++n) {
        const float* const sums = of[n][r / kTileSide] + r % kTileSide * kTileSide;
        S::store_f32(out + n * kTileSide, finished(n, r, sums));
      }
    }
  }
  template <class S>
  void write(const PanelPart& part, const QuantPanelArgs& args) const {
    write<S>(part, args, [](int64_t, int64_t, const float* sums) { return S::load_f32(sums); });
  }
};

// The scale and zero points of 16 rows of w in grouped formats.
struct alignas(64) ExpandedScales {
  float scale[kTileSide];
  int32_t zero[kTileSide];  // as in ExpandedPanel
};

// A chunk of one panel, whatever its format.
struct alignas(64) ExpandedPanel {
  struct Group {
    int8_t codes[8][kTileSide][4];  // columns 4j ... 4j + 3 at [j]: the right side of a product
    float scale[2][kTileSide];      // [1]: of the last 16 columns (half scales)
    float minimum[kTileSide];
    // Grouped formats: what must still be subtracted from each code, in the lower half of a lane.
    int32_t zero[kTileSide];
  };
  Group groups[kChunkGroups];
  // Whether all zero points were subtracted from the codes (those that leave signed bytes are).
  bool zeros_done;

  float* scale(int64_t g) { return groups[g].scale[0]; }
  int32_t* zero(int64_t g) { return groups[g].zero; }
  int8_t (*codes(int64_t g))[kTileSide][4] { return groups[g].codes; }
};

// Fills it, chunk after chunk of a panel. S: the vectors of quant_panel_simd_avx512.h.
template <class S, class Fmt>
class PanelExpander {
  using I = typename S::I;
  using F = typename S::F;
  using Group = ExpandedPanel::Group;
  static constexpr int kRows = S::kRows;
  static_assert(kRows == kTileSide);

 public:
  // w: group `first` of the panel or, with super-groups and scales over several groups, what
  // precedes it there. Returns where the next chunk begins.
  const uint8_t* fill(const uint8_t* w, int64_t first, int64_t count, ExpandedPanel& to) {
    to.zeros_done = true;
    for (int64_t g = 0; g < count; ++g) {
      if constexpr (Fmt::kTwoLevel) {
        if ((first + g) % 8 == 0) {
          super_scale_ = S::load_f16(w);
          if constexpr (Fmt::kMinimum) super_minimum_ = S::load_f16(w + 2 * kRows);
          w += Fmt::super_bytes(kRows);
        }
      }
      fill_scales(w, to.groups[g]);
      constexpr int kMinimums = kRows * (Fmt::kTwoLevel ? (Fmt::kHalves ? 2 : 1) : 2);
      constexpr int kHigh = kMinimums + (Fmt::kMinimum ? kRows * (Fmt::kTwoLevel ? 1 : 2) : 0);
      constexpr int kCodes = kHigh + kRows * (Fmt::kBits == 5 ? 4 : Fmt::kBits == 6 ? 8 : 0);
      constexpr int kZero = Fmt::kZeroLog2 < 0 ? 0 : 1 << (Fmt::kZeroLog2 & 31);
      fill_codes(w + kHigh, w + kCodes, S::set1_8(kZero), to.groups[g].codes);
      w += Fmt::group_bytes(kRows);
    }
    return w;
  }

  // fill() of a grouped format. Chunk: ExpandedPanel, or WidePanel.
  template <class Chunk>
  const uint8_t* fill_grouped(const uint8_t* w, int64_t first, int64_t count,
                              const QuantPanelArgs& args, Chunk& to) {
    const int64_t scale_groups = args.scale_groups;
    const int64_t header_bytes = Fmt::header_bytes(kRows, args.compact_scales);
    to.zeros_done = true;
    int64_t under = first % scale_groups;  // groups of the scale before this one
    head_ = w - under * Fmt::group_bytes(kRows) - header_bytes;
    for (int64_t g = 0; g < count; ++g) {
      if (under == 0) {
        head_ = w;
        w += header_bytes;
      }
      if (under == 0 || g == 0) to.zeros_done &= split_header(args.compact_scales);
      S::store_f32(to.scale(g), scale_);
      S::store(to.zero(g), rest_);
      if (++under == scale_groups) under = 0;
      fill_codes(w, w + (Fmt::kBits == 3 ? kRows * 4 : 0), zero_, to.codes(g));
      w += Fmt::group_bytes(kRows);
    }
    return w;
  }

  // fill() of a grouped format with half scales, whose zero points always leave signed bytes.
  const uint8_t* fill_halves(const uint8_t* w, int64_t count, bool compact, ExpandedPanel& to) {
    to.zeros_done = true;
    for (int64_t g = 0; g < count; ++g) {
      I zeros[2];
      load_half_zeros<S, Fmt>(w, compact, zeros);
      for (int half = 0; half < 2; ++half) {
        const I low = S::shift_right_16(S::shift_left_16(zeros[half], 8), 8);
        zeros[half] = S::or_bits(low, S::shift_left_16(low, 8));
        const int at = half * kRows;
        S::store_f32(to.groups[g].scale[half],
                     compact ? S::load_f16(w + 2 * at) : S::load_f32((const float*)w + at));
      }
      w += Fmt::header_bytes(kRows, compact);
      const uint8_t* const codes = w + (Fmt::kBits == 3 ? kRows * 4 : 0);
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) {
        S::store(to.groups[g].codes[j], S::sub_8(load_codes<S, Fmt>(w, codes, j), zeros[j / 4]));
      }
      w += Fmt::group_bytes(kRows);
    }
    return w;
  }

 private:
  RUVLLM_INLINE void fill_scales(const uint8_t* w, Group& to) {
    if constexpr (Fmt::kHalves) {
      S::store_f32(to.scale[0], S::mul(super_scale_, S::load_i8(w)));
      S::store_f32(to.scale[1], S::mul(super_scale_, S::load_i8(w + kRows)));
    } else if constexpr (Fmt::kTwoLevel) {
      S::store_f32(to.scale[0], S::mul(super_scale_, S::load_u8(w)));
      if constexpr (Fmt::kMinimum) {
        S::store_f32(to.minimum, S::negate(S::mul(super_minimum_, S::load_u8(w + kRows))));
      }
    } else {
      S::store_f32(to.scale[0], S::load_f16(w));
      if constexpr (Fmt::kMinimum) S::store_f32(to.minimum, S::load_f16(w + 2 * kRows));
    }
  }

  static RUVLLM_INLINE void fill_codes(const uint8_t* high, const uint8_t* codes, I zero,
                                       int8_t (*to)[kTileSide][4]) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      S::store(to[j], S::sub_8(load_codes<S, Fmt>(high, codes, j), zero));
    }
  }

  // Reads the scale and zero points at head_; these are split into what is taken from the codes,
  // all rows the same way, and the rest. False: there is a rest.
  RUVLLM_INLINE bool split_header(bool compact) {
    constexpr int kMost = (1 << Fmt::kBits) - 1;
    const I all = load_zeros<S, Fmt>(head_, compact);
    int32_t lanes[kRows];
    S::store(lanes, all);
    int16_t zeros[kRows];
    for (int r = 0; r < kRows; ++r) zeros[r] = (int16_t)lanes[r];
    int outside = 0;
    for (int r = 0; r < kRows; ++r) outside |= (zeros[r] > 128) | (zeros[r] < kMost - 127);
    scale_ = compact ? S::load_f16(head_) : S::load_f32((const float*)head_);
    if (outside == 0) {
      const I low = S::shift_right_16(S::shift_left_16(all, 8), 8);
      const I two = S::or_bits(low, S::shift_left_16(low, 8));
      zero_ = S::or_bits(two, S::shift_left_32(two, 16));
      rest_ = S::zero();
      return true;
    }
    constexpr int kCommon = Fmt::kBits == 8 ? 128 : 0;
    int32_t rest[kRows];
    for (int r = 0; r < kRows; ++r) rest[r] = (zeros[r] - kCommon) & 0xffff;
    rest_ = S::load((const uint8_t*)rest);
    zero_ = S::set1_8(kCommon);
    return false;
  }

  F super_scale_ = S::zero_f32();
  F super_minimum_ = S::zero_f32();
  // Grouped formats, of the header at head_:
  const uint8_t* head_ = nullptr;
  F scale_ = S::zero_f32();
  I zero_ = S::zero();  // taken from each code
  I rest_ = S::zero();
};

// Makes groups [first, first + count) of a panel, from w on, a chunk; returns where the next
// begins.
template <class Chunk>
using Expand = const uint8_t* (*)(const uint8_t* w, int64_t first, int64_t count,
                                  const QuantPanelArgs& args, Chunk& to);
template <class S, class Fmt, class Chunk>
const uint8_t* expand_panel(const uint8_t* w, int64_t first, int64_t count,
                            const QuantPanelArgs& args, Chunk& to) {
  PanelExpander<S, Fmt> expander;
  if constexpr (Fmt::kGrouped && Fmt::kHalves) {
    return expander.fill_halves(w, count, args.compact_scales, to);
  } else if constexpr (Fmt::kGrouped) {
    return expander.fill_grouped(w, first, count, args, to);
  } else {
    return expander.fill(w, first, count, to);
  }
}

}  // namespace
}  // namespace ruvllm::kernels
