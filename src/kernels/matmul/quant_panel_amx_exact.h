// Codes of 8 bits with one scale a row of w, and one a row of x (QuantPanelArgs::one_x_scale), on
// AMX-INT8: the sums over all columns are exact, so they stay in tiles, and each output is scaled
// once.
//
// 32 rows of x by two panels take four tiles of sums: four tiles loaded for four products of 64
// columns. Up to kExactPairs products follow each other before the sums leave the tiles; x of so
// many columns and kPartTiles tiles (1 MB) stays in the second level, from which it comes (and a
// pair of panels, too) while products are under way. Measured on Emerald Rapids: 10.4 ns a product,
// where products alone take 5.8; in chunks of 512 columns, whose w the first level holds, 10.9.
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
  Fetcher fetchers[2];                                // of the panels that come next
  alignas(64) uint8_t w[2][kExactPairs][kPairBytes];  // signed codes of two panels
  float scale_w[kPartPanels][kSide];
  PanelSums sums;  // integers until the last chunk

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
  // A chunk's codes as signed bytes; an odd group at the end is filled up by zeros.
  void unpack(int64_t panel, const Chunk& chunk, int j) {
    const uint8_t* const from = codes_of(panel);
    const int64_t end = args->groups * (kPairBytes / 2);
    const typename S::I zero = S::set1_8(128);
    for (int64_t pair = chunk.first; pair < chunk.last; ++pair) {
      uint8_t* const to = w[j][pair - chunk.first];
      for (int64_t i = 0; i < kPairBytes; i += 64) {
        const int64_t at = pair * kPairBytes + i;
        S::store(to + i, at < end ? S::sub_8(S::load(from + at), zero) : S::zero());
      }
    }
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
  void multiply(const PanelPart& part, const Chunk& chunk, int64_t i, int64_t n) {
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
    const uint8_t* w0 = w[0][0];
    const uint8_t* w1 = w[kLastW][0];
    for (int64_t pair = chunk.first; pair < chunk.last; ++pair) {
      tiles.template load<6>(w0, 64);
      tiles.template load<4>(x0, 64);
      tiles.template dot_ss<0, 4, 6>();
      if constexpr (kW > 1) {
        tiles.template load<7>(w1, 64);
        tiles.template dot_ss<1, 4, 7>();
      }
      if constexpr (kX > 1) {
        tiles.template load<5>(x1, 64);
        tiles.template dot_ss<2, 5, 6>();
        if constexpr (kW > 1) tiles.template dot_ss<3, 5, 7>();
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

  void finish(const PanelPart& part) {
    using F = typename S::F;
    sums.write<S>(part, *args, [&](int64_t n, int64_t r, const float* of) {
      const F dot = S::to_f32(S::load((const uint8_t*)of));
      const F scaled = S::fma(dot, S::load_f32(scale_w[n]), S::zero_f32());
      const float* const scale_x = x.head((part.t + r) / kSide, 0).scale + r % kSide;
      return S::fma(scaled, S::broadcast_f32(scale_x), S::zero_f32());
    });
  }

  // The two panels in w, or one, by all tiles of x.
  template <int kW>
  void multiply_panels(const PanelPart& part, const Chunk& chunk, int64_t n) {
    const int64_t num_tiles = part.num_tiles();
    for (int64_t i = 0; i < num_tiles; i += 2) {
      if (num_tiles - i == 1) {
        multiply<1, kW>(part, chunk, i, n);
      } else {
        multiply<2, kW>(part, chunk, i, n);
      }
    }
  }
  // The codes of the chunk that comes after this one into the second level.
  void fetch_next(const PanelPart& part, const Chunk& chunk, int64_t n) {
    const int64_t steps = (part.num_tiles() + 1) / 2 * (chunk.last - chunk.first);
    const int64_t bytes = (chunk.last - chunk.first) * kPairBytes;
    const bool same_columns = part.p + n + 2 < part.last_p;
    const int64_t panel = same_columns ? part.p + n + 2 : part.p;
    const uint8_t* const next =
        codes_of(panel) + (same_columns ? chunk.first : chunk.last) * kPairBytes;
    fetchers[0] = Fetcher(next, bytes, steps);
    fetchers[1] = Fetcher(next + args->panel_bytes, bytes, steps);
  }

  void multiply_part(const PanelPart& part) {
    for (int64_t n = 0; n < part.last_p - part.p; ++n) unpack_scale(part.p + n, scale_w[n]);
    const int64_t pairs = x_tile_pairs(args->groups);
    for (int64_t first = 0; first < pairs; first += kExactPairs) {
      const int64_t last = pairs - first < kExactPairs ? pairs : first + kExactPairs;
      const Chunk chunk{first, last};
      for (int64_t n = 0; n < part.last_p - part.p; n += 2) {
        const bool two = part.p + n + 1 < part.last_p;
        unpack(part.p + n, chunk, 0);
        if (two) unpack(part.p + n + 1, chunk, 1);
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
