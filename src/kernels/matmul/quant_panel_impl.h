// The kernels of quant_panel.h, once, over an instruction set's `Simd` (see quant_panel_simd_avx2.h
// for what it must have). Lanes are rows of w, so that nothing is added across lanes and every
// instruction set sums in the same order.
//
// A tile is MX rows of x times NV panels; its integer sums and, where they fit, the parts of a
// block of x are in registers, its f32 sums in memory. Dots begin at -zero * (sum of x), so that
// counting codes from zero costs nothing later. Without a dot product instruction (Simd::kHasDot)
// codes of up to 6 bits use 8-bit multiply-adds in wrapping 16-bit lanes. That is exact, for the
// true values fit them: 8 pairs of |code - zero| <= 16 (4 pairs of <= 32, with half scales) times
// 127 are at most 32,512. 8-bit codes are counted from 128 there; magnitudes of them times x with
// their signs are 16-bit pairs that cannot overflow, added as 32-bit numbers.
#pragma once

#ifndef RUVLLM_INLINE
#define RUVLLM_INLINE inline __attribute__((always_inline))
#endif

#include "kernels/matmul/quant_panel.h"
#include "kernels/matmul/quant_panel_dot.h"
#include "kernels/matmul/quant_panel_formats.h"
#include "kernels/matmul/quant_panel_halves.h"
#include "kernels/matmul/quant_panel_tile.h"

namespace ruvllm::kernels {
namespace {

// Products of neighbouring panels with all rows of x, tile by tile.
//
// Few rows: panels pass from memory once, two or three at a time, by all tiles of x. Many rows: x
// no longer fits the second-level cache, so kRowsInL2 rows of it at a time meet all the panels
// (which fit it), in chunks of columns.
template <class S, class Fmt>
struct PanelBlock {
  static constexpr int kRows = S::kRows;
  using Form = DotForm<S, Fmt>;
  // Twice as many where blocks are made ready first, which the rows pay for together, and without a
  // dot product, so that panels come from the second level half as often.
  static constexpr int64_t kRowsInL2 = (Form::kExpands || !S::kHasDot ? 16 : 8) * S::kTileX;
  const QuantPanelArgs* args;
  int64_t first_panel;
  int64_t num_panels;
  Fetcher next;  // the panels after these, in equal parts by all tiles

  // `tiles` <= kMost tiles of MX rows of x, from row t on, with panels p ... p + NV - 1, over
  // groups [first, last).
  template <int MX, int NV, int kMost = 1, bool kExpands = false>
  RUVLLM_INLINE void multiply(int64_t t, int64_t p, int64_t first, int64_t last,
                              int64_t tiles = 1) {
    alignas(64) float sums[kMost * MX * NV * kRows];
    const int64_t rows = args->num_x - t < tiles * MX ? args->num_x - t : tiles * MX;
    const TilesOfX x = {args->x + t * args->groups * Form::kWords, args->groups * Form::kWords * MX,
                        tiles};
    const uint8_t* panels[NV];
    float* out[NV];
    for (int n = 0; n < NV; ++n) {
      panels[n] = args->panels + index(p + n) * args->panel_bytes;
      out[n] = args->sums + t * args->sums_stride + index(p + n) * kRows;
    }
    for (int64_t i = 0; i < tiles * MX; ++i) {
      for (int n = 0; n < NV; ++n) {
        // Written when the tile is done.
        if (kMost > 1 && first == 0 && i < rows) {
          __builtin_prefetch(out[n] + i * args->sums_stride, 1, 2);
        }
        S::store_f32(
            sums + (i * NV + n) * kRows,
            first == 0 || i >= rows ? S::zero_f32() : S::load_f32(out[n] + i * args->sums_stride));
      }
    }
    if (kMost == 1 && first > 0) {  // The next tile's, which it begins with.
      for (int64_t i = MX; i < 2 * MX; ++i) {
        for (int n = 0; n < NV; ++n) __builtin_prefetch(out[n] + i * args->sums_stride, 1, 3);
      }
    }
    const bool fetches = Form::kFewRegisters && MX == S::kTileX && t == 0;
    PanelTile<S, Fmt, MX, NV, kExpands>::run(
        panels, x, range(first, last), next,
        fetches ? later_panels<NV>(panels, p + NV) : LaterPanels<NV>{}, sums);
    for (int64_t i = 0; i < rows; ++i) {
      for (int n = 0; n < NV; ++n) {
        S::store_f32(out[n] + i * args->sums_stride, S::load_f32(sums + (i * NV + n) * kRows));
      }
    }
  }

  GroupRange range(int64_t first, int64_t last) const {
    return {first,
            last - first,
            args->groups,
            args->scale_groups,
            args->compact_scales,
            args->one_x_scale,
            args->stream_ahead_bytes};
  }

  // Those from panel p on, or, at the end, the first of what is next, as seen from `panels`.
  template <int NV>
  LaterPanels<NV> later_panels(const uint8_t* const* panels, int64_t p) const {
    LaterPanels<NV> later;
    later.any = p < num_panels || args->next_panels != nullptr;
    if (!later.any) return later;
    for (int n = 0; n < NV; ++n) {
      const uint8_t* const at = p < num_panels ? args->panels + index(p + n) * args->panel_bytes
                                               : args->next_panels + n * args->panel_bytes;
      later.distance[n] = at - panels[n];
    }
    return later;
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
    for (int64_t p = 0; p < num_panels; p += kStreams) {
      multiply<MX, kStreams>(t, p, 0, args->groups);
    }
  }

  // The tiles of rows [t, last_t), at most kRowsInL2, or kMostTilesAsTheyLie where blocks could be
  // made ready first and are not, with NV panels from p on.
  template <int NV, bool kExpands = Form::kExpands>
  RUVLLM_INLINE void tiles(int64_t t, int64_t last_t, int64_t p, int64_t first, int64_t last) {
    constexpr int kMost = !Form::kManyRegisters && !Form::kFewRegisters ? 1
                          : Form::kExpands && !kExpands                 ? Form::kMostTilesAsTheyLie
                                                                        : kRowsInL2 / S::kTileX;
    const int64_t left = (last_t - t) % S::kTileX;
    const int64_t rest = left > 0 ? next_tile_rows(left, S::kTileX) : 0;
    const int64_t whole = (last_t - t) / S::kTileX + (rest == S::kTileX ? 1 : 0);
    for (int64_t i = 0; i < whole; i += kMost) {
      multiply<S::kTileX, NV, kMost, kExpands>(t + i * S::kTileX, p, first, last,
                                               whole - i < kMost ? whole - i : int64_t{kMost});
    }
    if constexpr (S::kTileX > 4) {
      if (rest != 4) return;
      for (int64_t n = p; n < p + NV && n < num_panels; ++n) {
        multiply<4, 1>(last_t - left, n, first, last);
      }
    }
  }

  // While the panels before `p` meet the first rows of x: `count` panels from p on, the groups
  // [first, last) of them, come from memory.
  RUVLLM_INLINE void fetch_meanwhile(int64_t p, int64_t count, int64_t first, int64_t last,
                                     int64_t tiles) {
    const uint8_t* from = args->panels + (first_panel + p) * args->panel_bytes;
    if (p >= num_panels) {  // the first chunk of what is next
      if (args->next_panels == nullptr || last < args->groups) return;
      from = args->next_panels;
      last -= first;
      first = p = 0;
    }
    if (count > num_panels - p) count = num_panels - p;
    const int64_t begin = args->panel_bytes * first / args->groups;
    const int64_t end = args->panel_bytes * last / args->groups;
    next = Fetcher({from + begin, end - begin, count, args->panel_bytes}, tiles * (last - first));
  }

  // Panels [p, last_p), chunk by chunk of the columns.
  RUVLLM_INLINE void panels(int64_t p, int64_t last_p, int64_t chunk) {
    const bool fetches = Form::kManyRegisters && args->num_x > kRowsInL2;
    for (int64_t first = 0; first < args->groups; first += chunk) {
      const int64_t last = first + chunk < args->groups ? first + chunk : args->groups;
      for (int64_t t = 0; t < args->num_x; t += kRowsInL2) {
        const int64_t last_t = t + kRowsInL2 < args->num_x ? t + kRowsInL2 : args->num_x;
        int64_t n = p;
        if constexpr (Form::kMostTilesAsTheyLie > 0) {
          if (as_they_lie(args->num_x)) {
            for (; n < last_p; n += 2) tiles<2, false>(t, last_t, n, first, last);
            continue;
          }
        }
        if constexpr (Form::kThreePanels) {  // 3, 3, ..., and at last 3, 2 or 2 and 2
          for (; last_p - n > 4 || last_p - n == 3; n += 3) {
            if (fetches && t == 0) fetch_meanwhile(n + 3, 3, first, last, kRowsInL2 / S::kTileX);
            tiles<3>(t, last_t, n, first, last);
          }
        }
        for (; n < last_p; n += 2) {
          if (fetches && t == 0) fetch_meanwhile(n + 2, 2, first, last, kRowsInL2 / S::kTileX);
          tiles<2>(t, last_t, n, first, last);
        }
      }
    }
  }

  // Whether so many rows take panels in pairs, as they lie, though blocks could be made ready for
  // them.
  static bool as_they_lie(int64_t num_x) { return num_x <= Form::kMostTilesAsTheyLie * S::kTileX; }

  // Groups of a chunk of the columns, whole blocks of x.
  int64_t chunk_groups() const {
    // Few rows: shorter streams of the panels lose more than the first level gains.
    if (args->num_x <= kRowsInL2) return args->groups;
    // (A tile's beginning and end cost as much as 2 groups. Zen 4, 64 against 32: 3 % faster.)
    return S::kHasDot ? 64 : 32;
  }

  void run() {
    if (args->num_x <= Form::kStreamRows) return stream();
    const bool many = args->num_x > kRowsInL2;
    const int64_t chunk = chunk_groups();
    const bool threes = Form::kThreePanels && !as_they_lie(args->num_x);
    const int64_t step = many || threes ? num_panels : 2;
    for (int64_t p = 0; p < num_panels; p += step) {
      panels(p, p + step < num_panels ? p + step : num_panels, chunk);
    }
    // One or two rows that are left.
    const int64_t rest = args->num_x % S::kTileX;
    const int64_t whole = args->num_x - rest;
    if (rest == 2) stream_tile<2>(whole);
    if (rest == 1) stream_tile<1>(whole);
  }
};

// Panels of the next block where `left` remain and x has few rows. threes: they go by threes.
constexpr int64_t panels_at_once(int64_t left, bool threes) {
  if (threes) return left > 4 || left == 3 ? 3 : left < 2 ? left : 2;
  return left < 4 ? left : 4;
}

template <class S, class Fmt>
void panel_product(const QuantPanelArgs* args) {
  const int64_t tiles = (args->num_x + S::kTileX - 1) / S::kTileX;
  const bool streams = args->num_x <= DotForm<S, Fmt>::kStreamRows;
  // Where the products take longer than memory does, nothing needs to be fetched ahead.
  const bool many = args->num_x > PanelBlock<S, Fmt>::kRowsInL2;
  const bool threes =
      DotForm<S, Fmt>::kThreePanels && !PanelBlock<S, Fmt>::as_they_lie(args->num_x);
  constexpr bool kByBlocks = DotForm<S, Fmt>::kFewRegisters;
  for (int64_t p = 0; p < args->num_panels;) {
    const int64_t left = args->num_panels - p;
    PanelBlock<S, Fmt> block;
    block.args = args;
    block.first_panel = p;
    block.num_panels = many || streams || kByBlocks ? left : panels_at_once(left, threes);
    p += block.num_panels;
    const bool last = p == args->num_panels;
    const uint8_t* const next = last ? args->next_panels : args->panels + p * args->panel_bytes;
    if (next != nullptr && !many && (streams || !kByBlocks)) {
      const int64_t passes = block.num_panels > 3 ? 2 : 1;
      const int64_t panels = panels_at_once(args->num_panels - (last ? 0 : p), threes);
      block.next = Fetcher(next, panels * args->panel_bytes, passes * tiles * args->groups);
    }
    block.run();
  }
}

template <class S>
constexpr QuantPanelKernel make_quant_panel() {
  return {S::kRows,
          S::kHasDot && S::kRegisters == 32 ? kTaskPanelsOfThrees : kTaskPanels,
          S::kTileX,
          nullptr,
          {panel_product<S, Q8_0>, panel_product<S, Q4_0>, panel_product<S, Q4_1>,
           panel_product<S, Q5_0>, panel_product<S, Q5_1>, panel_product<S, Q4_K>,
           panel_product<S, Q5_K>, panel_product<S, Q6_K>, panel_product<S, I8>,
           panel_product<S, I4>, panel_product<S, I3>, panel_product<S, I2>, halves_product<S, I4H>,
           halves_product<S, I3H>, halves_product<S, I2H>}};
}

}  // namespace
}  // namespace ruvllm::kernels
