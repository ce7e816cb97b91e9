// Codes of 8 bits with one scale a row of w, and one a row of x (QuantPanelArgs::one_x_scale), on
// AMX-INT8: the sums over all columns are exact, so they stay in tiles, and each output is scaled
// once.
//
// 32 rows of x by two panels take four tiles of sums: four tiles loaded for four products of 64
// columns. Up to kExactPairs products follow each other before the sums leave the tiles; x of so
// many columns and kPartTiles tiles (1 MB) stays in the second level, from which it comes (and a
// pair of panels, too) while products are under way. A loop of that takes 8.5 to 10.4 ns a product
// on Emerald Rapids, where products alone take 5.8; in chunks of 512 columns, whose w the first
// level holds, 10.9.
#pragma once

#include "kernels/matmul/quant_panel.h"
#include "kernels/matmul/quant_panel_amx_blocks.h"
#include "kernels/matmul/quant_panel_fetch.h"
#include "kernels/matmul/quant_panel_formats.h"
#include "kernels/simd/amx_tile.h"

namespace ruvllm::kernels {
namespace {

enum { kExactPairs = 32 };  // products of 64 columns in a chunk

template <class T, class S>
struct AmxExactBlock {
  static constexpr int64_t kSide = kTileSide;
  static constexpr int64_t kPairBytes = kSide * 64;

  const QuantPanelArgs* args;
  TiledX x;
  T tiles;
  Fetcher fetchers[2];                                 // of the panels that come next
  alignas(64) uint8_t w[2][kExactPairs * kPairBytes];  // codes of two panels
  float scale_w[kPartPanels][kSide];
  PanelSums sums;  // integers, as the tiles hold them

  // Columns, in products.
  struct Chunk {
    int64_t first, last;
  };

  // Tiles: dots 2 i + j of tile i of x and panel j; x 4, 5; w 6, 7.
  void configure() {
    TileConfig shapes;
    const int height = (int)(args->num_x < kSide ? args->num_x : kSide);
    for (int i = 0; i < 6; ++i) shapes.set(i, height, 64);
    for (int i = 6; i < 8; ++i) shapes.set(i, kTileSide, 64);
    tiles.configure(shapes);
  }

  const uint8_t* codes_of(int64_t panel) const {
    return args->panels + panel * args->panel_bytes +
           I8::header_bytes(kTileSide, args->compact_scales);
  }
  void unpack_scale(int64_t panel, float* scale) const {
    const uint8_t* const header = args->panels + panel * args->panel_bytes;
    S::store_f32(scale,
                 args->compact_scales ? S::load_f16(header) : S::load_f32((const float*)header));
  }
  // Whether tiles are loaded from the panels as they lie: in whole cache lines, and no more than
  // there are.
  bool lie_in_tiles() const {
    return (uintptr_t)codes_of(0) % 64 == 0 && args->panel_bytes % 64 == 0 && args->groups % 2 == 0;
  }
  // A chunk's codes: where they are or copied to w[j], an odd group at the end filled up by zeros.
  const uint8_t* codes(int64_t panel, const Chunk& chunk, int j) {
    const uint8_t* const from = codes_of(panel) + chunk.first * kPairBytes;
    if (lie_in_tiles()) return from;
    const int64_t bytes = (chunk.last - chunk.first) * kPairBytes;
    const int64_t left = args->groups * (kPairBytes / 2) - chunk.first * kPairBytes;
    const int64_t given = left < bytes ? left : bytes;
    __builtin_memcpy(w[j], from, (size_t)given);
    __builtin_memset(w[j] + given, 0, (size_t)(bytes - given));
    return w[j];
  }

  template <int C>
  RUVLLM_INLINE void begin_sum(const Chunk& chunk, const float* sum) {
    if (chunk.first == 0) {
      tiles.template zero<C>();
    } else {
      tiles.template load<C>(sum, 64);
    }
  }

  // A chunk of kX tiles of x, from tile i of the part on, by kW panels, the part's from n on.
  template <int kX, int kW>
  void multiply(const PanelPart& part, const Chunk& chunk, const uint8_t* const (&from)[2],
                int64_t i, int64_t n) {
    constexpr int kLastX = kX - 1;  // where there is no second tile, the first again, unused
    constexpr int kLastW = kW - 1;
    auto& row0 = sums.of[n];
    auto& row1 = sums.of[n + kLastW];
    begin_sum<0>(chunk, row0[i]);
    if constexpr (kW > 1) begin_sum<1>(chunk, row1[i]);
    if constexpr (kX > 1) begin_sum<2>(chunk, row0[i + kLastX]);
    if constexpr (kX > 1 && kW > 1) begin_sum<3>(chunk, row1[i + kLastX]);
    const int64_t tile = part.t / kSide + i;
    const int8_t* x0 = x.codes(tile, chunk.first);
    const int8_t* x1 = x.codes(tile + kLastX, chunk.first);
    const uint8_t* w0 = from[0];
    const uint8_t* w1 = from[kLastW];
    for (int64_t pair = chunk.first; pair < chunk.last; ++pair) {
      tiles.template load<6>(w0, 64);
      tiles.template load<4>(x0, 64);
      tiles.template dot_su<0, 4, 6>();
      if constexpr (kW > 1) {
        tiles.template load<7>(w1, 64);
        tiles.template dot_su<1, 4, 7>();
      }
      if constexpr (kX > 1) {
        tiles.template load<5>(x1, 64);
        tiles.template dot_su<2, 5, 6>();
        if constexpr (kW > 1) tiles.template dot_su<3, 5, 7>();
      }
      fetchers[0].step();
      fetchers[1].step();
      w0 += kPairBytes;
      w1 += kPairBytes;
      x0 += kPairBytes;
      x1 += kPairBytes;
    }
    tiles.template store<0>(row0[i], 64);
    if constexpr (kW > 1) tiles.template store<1>(row1[i], 64);
    if constexpr (kX > 1) tiles.template store<2>(row0[i + kLastX], 64);
    if constexpr (kX > 1 && kW > 1) tiles.template store<3>(row1[i + kLastX], 64);
  }

  // The part's outputs: exact sums times the scales of w and x.
  void finish(const PanelPart& part) {
    using F = typename S::F;
    sums.write<S>(part, *args, [&](int64_t n, int64_t r, const float* of) {
      const int64_t tile = (part.t + r) / kSide;
      const int32_t zeros = 128 * x.sums(tile)[r % kSide];  // the zero points' part
      const F dot = S::to_f32(S::sub_32(S::load((const uint8_t*)of), S::broadcast_4(&zeros)));
      const F scaled = S::fma(dot, S::load_f32(scale_w[n]), S::zero_f32());
      const float* const scale_x = x.head(tile, 0).scale + r % kSide;
      return S::fma(scaled, S::broadcast_f32(scale_x), S::zero_f32());
    });
  }

  // Two panels, or one, by all tiles of x.
  template <int kW>
  void multiply_panels(const PanelPart& part, const Chunk& chunk, int64_t n) {
    const uint8_t* const from[2] = {codes(part.p + n, chunk, 0),
                                    codes(part.p + n + kW - 1, chunk, kW - 1)};
    const int64_t num_tiles = part.num_tiles();
    for (int64_t i = 0; i < num_tiles; i += 2) {
      if (num_tiles - i == 1) {
        multiply<1, kW>(part, chunk, from, i, n);
      } else {
        multiply<2, kW>(part, chunk, from, i, n);
      }
    }
  }
  // The codes that come after this chunk of the part's panels n and n + 1 into the second level:
  // the next two, or the first two of the next chunk, or those of the next part.
  void fetch_next(const PanelPart& part, const Chunk& chunk, int64_t n) {
    const int64_t steps = (part.num_tiles() + 1) / 2 * (chunk.last - chunk.first);
    const int64_t bytes = (chunk.last - chunk.first) * kPairBytes;
    int64_t panel = part.p + n + 2;
    int64_t column = chunk.first;
    if (panel >= part.last_p) {
      const bool more = chunk.last < x_tile_pairs(args->groups);
      panel = more ? part.p : part.last_p;
      column = more ? chunk.last : 0;
    }
    for (int64_t j = 0; j < 2; ++j) {
      const bool exists = panel + j < args->num_panels;
      fetchers[j] = Fetcher(codes_of(panel + j) + column * kPairBytes, exists ? bytes : 0, steps);
    }
  }

  void multiply_part(const PanelPart& part) {
    for (int64_t n = 0; n < part.last_p - part.p; ++n) unpack_scale(part.p + n, scale_w[n]);
    const int64_t pairs = x_tile_pairs(args->groups);
    for (int64_t first = 0; first < pairs; first += kExactPairs) {
      const int64_t last = pairs - first < kExactPairs ? pairs : first + kExactPairs;
      const Chunk chunk{first, last};
      for (int64_t n = 0; n < part.last_p - part.p; n += 2) {
        const bool two = part.p + n + 1 < part.last_p;
        fetch_next(part, chunk, n);
        two ? multiply_panels<2>(part, chunk, n) : multiply_panels<1>(part, chunk, n);
      }
    }
    finish(part);
  }

  void run() {
    x = {args->x, args->groups};
    configure();
    for_each_part(*args, [&](const PanelPart& part) { multiply_part(part); });
    tiles.release();
  }
};

}  // namespace
}  // namespace ruvllm::kernels
