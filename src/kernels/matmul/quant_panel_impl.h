// The kernels of quant_panel.h, once, over an instruction set's `Simd` (see quant_panel_simd_avx2.h
// for what it must have). Lanes are rows of w, so that nothing is added across lanes and every
// instruction set sums in the same order.
//
// A tile is MX rows of x times NV panels; its integer sums fill the registers, its f32 sums stay in
// memory, where a multiply-add per group can wait. Dots begin at -zero * (sum of x), so that
// counting codes from zero costs nothing later. Without a dot product instruction (Simd::kHasDot)
// codes of up to 6 bits use 8-bit multiply-adds in wrapping 16-bit lanes. That is exact, for the
// true values fit them: 8 pairs of |code - zero| <= 16 (4 pairs of <= 32, with half scales) times
// 127 are at most 32,512. 8-bit codes are split into even and odd columns and multiplied as 16-bit
// pairs, which cannot overflow.
#pragma once

#define RUVLLM_INLINE inline __attribute__((always_inline))

#include "kernels/matmul/quant_panel.h"
#include "kernels/matmul/quant_panel_formats.h"
#include "kernels/matmul/quant_panel_tile.h"
#include "kernels/matmul/quant_panel_widened.h"

namespace ruvllm::kernels {
namespace {

// Products of neighbouring panels with all rows of x, tile by tile.
//
// Few rows: panels pass from memory once, in pairs, each pair by all tiles of x. Many rows: x no
// longer fits the second-level cache, so kRowsInL2 rows of it at a time meet all the panels
// (which fit it), in chunks of columns short enough that a tile and a pair of panels share the
// first level.
template <class S, class Fmt>
struct PanelBlock {
  static constexpr int kRows = S::kRows;
  using Form = DotForm<S, Fmt>;
  static constexpr bool kWide = Form::kWide;
  static constexpr int64_t kRowsInL2 = 8 * S::kTileX;
  // From so many rows of a product, and in its last kRowsInL2 from so many of these, widening a
  // pair of panels first pays. Measured on Zen 3, with / without: 128 rows 105 / 92 tokens a second
  // of a 1.1B model, 64 rows 88 / 93, 24 rows 82 / 93, 16 rows 80 / 83.
  static constexpr int64_t kLeastRowsWidened = 24 * S::kTileX;
  static constexpr int64_t kLeastWidened = 4 * S::kTileX;
  const QuantPanelArgs* args;
  int64_t first_panel;
  int64_t num_panels;
  // The panels after these are fetched meanwhile, in equal parts by all tiles.
  const uint8_t* ahead;
  int64_t lines_left;
  int64_t lines;  // a group

  // The tile of x that begins at row t, with panels p ... p + NV - 1, over groups [first, last).
  // widened: null, or these panels and groups.
  template <int MX, int NV>
  RUVLLM_INLINE void tile(int64_t t, int64_t p, int64_t first, int64_t last,
                          const WidenedPair<S, Fmt>* widened = nullptr) {
    alignas(64) float sums[MX * NV * kRows];
    const int64_t num_x = args->num_x - t < MX ? args->num_x - t : MX;
    const uint32_t* x = args->x + t * args->groups * Form::kWords;
    const uint8_t* panels[NV];
    float* out[NV];
    for (int n = 0; n < NV; ++n) {
      panels[n] = args->panels + index(p + n) * args->panel_bytes;
      out[n] = args->sums + t * args->sums_stride + index(p + n) * kRows;
    }
    for (int64_t i = 0; i < MX; ++i) {
      for (int n = 0; n < NV; ++n) {
        S::store_f32(
            sums + (i * NV + n) * kRows,
            first == 0 || i >= num_x ? S::zero_f32() : S::load_f32(out[n] + i * args->sums_stride));
      }
    }
    bool added = false;
    if constexpr (kWide && NV == 2) {
      if (widened != nullptr) {
        widened->template add<MX>(x + first * Form::kWords * MX, range(first, last), sums);
        added = true;
      }
    }
    if (!added) {
      const int64_t fetch = lines_left > 0 ? lines : 0;
      PanelTile<S, Fmt, MX, NV>::run(panels, x, range(first, last), ahead, fetch, sums);
      ahead += fetch * (last - first) * 64;
      lines_left -= fetch * (last - first);
    }
    for (int64_t i = 0; i < num_x; ++i) {
      for (int n = 0; n < NV; ++n) {
        S::store_f32(out[n] + i * args->sums_stride, S::load_f32(sums + (i * NV + n) * kRows));
      }
    }
  }

  GroupRange range(int64_t first, int64_t last) const {
    return {first, last - first, args->scale_groups, args->x_groups};
  }

  // The panel p of the block; beyond the last: the last again.
  int64_t index(int64_t p) const { return first_panel + (p < num_panels ? p : num_panels - 1); }

  // All rows, which are one tile of up to kStreamRows, with each panel after the other.
  void stream() {
    if (args->num_x == 1) return stream_tile<1>(0);
    if (args->num_x == 2) return stream_tile<2>(0);
    if constexpr (Form::kStreamRows > 2) {
      args->num_x <= 4 ? stream_tile<4>(0) : stream_tile<S::kTileX>(0);
    }
  }
  template <int MX>
  void stream_tile(int64_t t) {
    constexpr int kStreams = Form::streams(MX);
    for (int64_t p = 0; p < num_panels; p += kStreams) tile<MX, kStreams>(t, p, 0, args->groups);
  }

  // The tiles of rows [t, last_t) with panels p and p + 1.
  RUVLLM_INLINE void tiles(int64_t t, int64_t last_t, int64_t p, int64_t first, int64_t last,
                           const WidenedPair<S, Fmt>* widened) {
    for (; t + S::kTileX <= last_t; t += S::kTileX) {
      tile<S::kTileX, 2>(t, p, first, last, widened);
    }
    const int64_t rest = t < last_t ? next_tile_rows(last_t - t, S::kTileX) : 0;
    if constexpr (S::kTileX > 4) {
      if (rest == S::kTileX) tile<S::kTileX, 2>(t, p, first, last, widened);
    }
    if (rest == 4) tile<4, 2>(t, p, first, last, widened);
  }

  RUVLLM_INLINE void widen(int64_t p, int64_t first, int64_t last, WidenedPair<S, Fmt>& to) const {
    int64_t offset = first * Fmt::group_bytes(kRows);
    if constexpr (Fmt::kGrouped) offset += first / args->scale_groups * Fmt::header_bytes(kRows);
    const uint8_t* const w[2] = {args->panels + index(p) * args->panel_bytes + offset,
                                 args->panels + index(p + 1) * args->panel_bytes + offset};
    to.widen(w, last - first, args->scale_groups);
  }

  // Panels [p, last_p), chunk by chunk of the columns. widened: null, or room for a pair.
  RUVLLM_INLINE void panels(int64_t p, int64_t last_p, int64_t chunk,
                            WidenedPair<S, Fmt>* widened) {
    for (int64_t first = 0; first < args->groups; first += chunk) {
      const int64_t last = first + chunk < args->groups ? first + chunk : args->groups;
      for (int64_t t = 0; t < args->num_x; t += kRowsInL2) {
        const int64_t last_t = t + kRowsInL2 < args->num_x ? t + kRowsInL2 : args->num_x;
        for (int64_t pair = p; pair < last_p; pair += 2) {
          // The last rows may be too few to pay for it.
          WidenedPair<S, Fmt>* const pays = last_t - t >= kLeastWidened ? widened : nullptr;
          if constexpr (kWide) {
            if (pays != nullptr) widen(pair, first, last, *pays);
          }
          tiles(t, last_t, pair, first, last, pays);
        }
      }
    }
  }

  // Groups of a chunk of the columns.
  int64_t chunk_groups() const {
    const int64_t scale = Fmt::kGrouped ? args->scale_groups : 1;  // chunks hold whole ones
    if constexpr (kWide) {
      // 16-bit codes of x are too much for the first level even where x has few rows.
      if (args->num_x <= S::kTileX) return args->groups;
      const int64_t most = WidenedPair<S, Fmt>::kGroups;
      return scale > most ? scale : most / scale * scale;
    }
    // Few rows: shorter streams of the panels lose more than the first level gains.
    if (args->num_x <= kRowsInL2) return args->groups;
    // (A tile's beginning and end cost as much as 2 groups. Zen 4, 64 against 32: 3 % faster.)
    constexpr int64_t kMost = S::kHasDot ? 64 : 32;
    return (kMost + scale - 1) / scale * scale;
  }

  void run() {
    if (args->num_x <= Form::kStreamRows) return stream();
    const bool many = args->num_x > kRowsInL2;
    const int64_t chunk = chunk_groups();
    WidenedPair<S, Fmt> room;
    const bool fits = kWide && chunk <= WidenedPair<S, Fmt>::kGroups;
    WidenedPair<S, Fmt>* const widened = fits && args->num_x >= kLeastRowsWidened ? &room : nullptr;
    const int64_t step = many ? num_panels : 2;
    for (int64_t p = 0; p < num_panels; p += step) {
      panels(p, p + step < num_panels ? p + step : num_panels, chunk, widened);
    }
    // One or two rows that are left.
    const int64_t rest = args->num_x % S::kTileX;
    const int64_t whole = args->num_x - rest;
    if (rest == 2) stream_tile<2>(whole);
    if (rest == 1) stream_tile<1>(whole);
  }
};

template <class S, class Fmt>
void panel_product(const QuantPanelArgs* args) {
  const int64_t tiles = (args->num_x + S::kTileX - 1) / S::kTileX;
  const bool streams = args->num_x <= DotForm<S, Fmt>::kStreamRows;
  const int64_t passes = 2 * tiles * args->groups;
  // Where the products take longer than memory does, nothing needs to be fetched ahead.
  const int64_t step = args->num_x > PanelBlock<S, Fmt>::kRowsInL2 ? args->num_panels : 4;
  for (int64_t p = 0; p < args->num_panels; p += step) {
    PanelBlock<S, Fmt> block;
    block.args = args;
    block.first_panel = p;
    block.num_panels = args->num_panels - p < step ? args->num_panels - p : step;
    block.ahead = args->panels + (p + step) * args->panel_bytes;
    const int64_t next = !streams && p + step < args->num_panels ? args->num_panels - p - step : 0;
    block.lines_left = (next < 4 ? next : 4) * args->panel_bytes / 64;
    block.lines = (block.lines_left + passes - 1) / passes;
    block.run();
  }
}

template <class S>
constexpr QuantPanelKernel make_quant_panel() {
  constexpr ActivationForm kEight = S::kHasDot ? ActivationForm::kInt8 : ActivationForm::kInt16;
  constexpr ActivationForm kNarrow = ActivationForm::kInt8;
  return {S::kRows,
          S::kTileX,
          S::kTileX,
          {{kEight, panel_product<S, Q8_0>},
           {kNarrow, panel_product<S, Q4_0>},
           {kNarrow, panel_product<S, Q4_1>},
           {kNarrow, panel_product<S, Q5_0>},
           {kNarrow, panel_product<S, Q5_1>},
           {kNarrow, panel_product<S, Q4_K>},
           {kNarrow, panel_product<S, Q5_K>},
           {kNarrow, panel_product<S, Q6_K>},
           {kEight, panel_product<S, I8>},
           {kNarrow, panel_product<S, I4>},
           {kNarrow, panel_product<S, I3>},
           {kNarrow, panel_product<S, I2>}}};
}

}  // namespace
}  // namespace ruvllm::kernels
