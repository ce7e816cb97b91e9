// Grouped formats with scales over several groups (unit_groups()) on AMX-INT8: the dots of a unit
// are summed in tiles, over 64 columns a product, and scaled once.
//
// 32 rows of x by two panels take four tiles of sums, whose loads are shared: for a unit of 128
// columns 8 tiles loaded, 8 products, 4 tiles stored, 4 x 48 vector instructions. Tile loads,
// products and stores take 16 cycles of one of the two vector ports each (measured on Emerald
// Rapids), so that is 16 x 20 + 192 of them, 256 cycles of both: 512 multiply-adds a cycle, where a
// scale per 32 columns allows 175. The dots of a unit go through memory while the products of the
// next are under way.
#pragma once

#include "kernels/matmul/quant_panel.h"
#include "kernels/matmul/quant_panel_amx_blocks.h"
#include "kernels/matmul/quant_panel_formats.h"
#include "kernels/simd/amx_tile.h"

namespace ruvllm::kernels {
namespace {

enum {
  kWidePairs = kChunkGroups / 2,  // products of 64 columns in a chunk
};

// A chunk of a panel.
struct alignas(64) WidePanel {
  int8_t pairs[kWidePairs][2][8][kTileSide][4];  // of a pair's groups, as in ExpandedPanel
  ExpandedScales heads[kChunkGroups];            // by group
  bool zeros_done;

  float* scale(int64_t g) { return heads[g].scale; }
  int32_t* zero(int64_t g) { return heads[g].zero; }
  int8_t (*codes(int64_t g))[kTileSide][4] { return pairs[g / 2][g % 2]; }
};

// The dots of a unit and what is done with them, for one tile of x and one panel.
struct WideDots {
  const int32_t (*dots)[kTileSide];  // [16 rows of x][16 of w]
  const HeadOfX* x;
  int64_t first, last;  // groups of the block
  const ExpandedScales* w;
  float* parts;  // [16][16], of a block of several units
  float* sums;   // [16][16]
};

// kFirst, kLast: whether a block begins and ends with the unit. kCount: zero points are left.
template <class S, bool kFirst, bool kLast, bool kCount>
void add_wide(const WideDots& tile) {
  using I = typename S::I;
  using F = typename S::F;
  // Apart from what is written, so that they stay in registers.
  const int32_t(*const dots)[kTileSide] = tile.dots;
  const float* const scale_x = tile.x->scale;
  float* const parts = tile.parts;
  float* const sums = tile.sums;
  const F scale = S::load_f32(tile.w->scale);
  I zero = S::zero();
  if constexpr (kCount) zero = S::load((const uint8_t*)tile.w->zero);
#pragma GCC unroll 16
  for (int t = 0; t < kTileSide; ++t) {
    I dot = S::load((const uint8_t*)dots[t]);
    if constexpr (kCount) {
      for (int64_t g = tile.first; g < tile.last; ++g) {
        dot = S::sub_32(dot, S::dot_pairs_16(zero, S::broadcast_4(&tile.x->sum[g][t])));
      }
    }
    const F before = kFirst ? S::zero_f32() : S::load_f32(parts + t * kTileSide);
    const F part = S::fma(S::to_f32(dot), scale, before);
    if constexpr (kLast) {
      float* const sum = sums + t * kTileSide;
      S::store_f32(sum, S::fma(part, S::broadcast_f32(scale_x + t), S::load_f32(sum)));
    } else {
      S::store_f32(parts + t * kTileSide, part);
    }
  }
}

template <class S, bool kCount>
RUVLLM_INLINE void add_wide(const WideDots& tile, bool first, bool last) {
  if (first) {
    last ? add_wide<S, true, true, kCount>(tile) : add_wide<S, true, false, kCount>(tile);
  } else {
    last ? add_wide<S, false, true, kCount>(tile) : add_wide<S, false, false, kCount>(tile);
  }
}

// Products of parts (quant_panel_amx_blocks.h).
template <class T, class S>
struct AmxWideBlock {
  static constexpr int64_t kSide = kTileSide;
  static constexpr int64_t kPairBytes = kSide * 64;

  const QuantPanelArgs* args;
  Expand<WidePanel> expand;
  int64_t unit;
  T tiles;
  TiledX x;
  WidePanel w[2];
  Fetcher fetchers[2];  // of the panels that come next
  // Tiles of dots of the unit under way and the one before: [x][w].
  alignas(64) int32_t dots[2][2][2][kTileSide][kTileSide];
  PanelSums sums;
  alignas(64) float parts[2][2][kSide * kSide];  // of a block under way: [x][w]

  // Tiles: dots 2 i + j of tile i of x and panel j; x 4, 5; w 6, 7.
  void configure() {
    TileConfig shapes;
    const int height = (int)(args->num_x < kSide ? args->num_x : kSide);
    for (int i = 0; i < 4; ++i) shapes.set(i, height, 64);
    for (int i = 4; i < 6; ++i) shapes.set(i, height, 64);
    for (int i = 6; i < 8; ++i) shapes.set(i, kTileSide, 64);
    tiles.configure(shapes);
  }

  // A chunk of kX tiles of x, from tile `first_tile + i` on, by kW panels, from p on.
  struct Chunk {
    int64_t first_tile, i, p;
    int64_t first, count;  // groups
  };
  struct Unit {
    int64_t first, last;  // groups of the chunk
  };
  Unit unit_at(const Chunk& chunk, int64_t first) const {
    const int64_t last = first + unit;
    return {first, last < chunk.count ? last : chunk.count};
  }

  // Products of 64 columns. x: the first tile's, the second's.
  template <int kX, int kW>
  RUVLLM_INLINE void products(const int8_t* const (&x_codes)[2], int64_t pair) {
    tiles.template load<6>(w[0].pairs[pair], 64);
    tiles.template load<4>(x_codes[0] + pair * kPairBytes, 64);
    tiles.template dot_ss<0, 4, 6>();
    if constexpr (kW > 1) {
      tiles.template load<7>(w[1].pairs[pair], 64);
      tiles.template dot_ss<1, 4, 7>();
    }
    if constexpr (kX > 1) {
      tiles.template load<5>(x_codes[1] + pair * kPairBytes, 64);
      tiles.template dot_ss<2, 5, 6>();
      if constexpr (kW > 1) tiles.template dot_ss<3, 5, 7>();
    }
  }
  // The columns of a chunk in its two tiles of x, or of one.
  struct CodesOfX {
    const int8_t* of[2];
    CodesOfX(const TiledX& x, const Chunk& chunk, int num_tiles)
        : of{x.codes(chunk.first_tile + chunk.i, chunk.first / 2),
             x.codes(chunk.first_tile + chunk.i + num_tiles - 1, chunk.first / 2)} {}
  };

  template <int kX, int kW>
  RUVLLM_INLINE void begin(const CodesOfX& codes, const Unit& at) {
    fetchers[0].step();
    fetchers[1].step();
    tiles.template zero<0>();
    if constexpr (kW > 1) tiles.template zero<1>();
    if constexpr (kX > 1) tiles.template zero<2>();
    if constexpr (kX > 1 && kW > 1) tiles.template zero<3>();
    for (int64_t pair = at.first / 2; 2 * pair < at.last; ++pair) {
      products<kX, kW>(codes.of, pair);
    }
    auto& to = dots[at.first / unit % 2];
    tiles.template store<0>(to[0][0], 64);
    if constexpr (kW > 1) tiles.template store<1>(to[0][1], 64);
    if constexpr (kX > 1) tiles.template store<2>(to[1][0], 64);
    if constexpr (kX > 1 && kW > 1) tiles.template store<3>(to[1][1], 64);
  }

  template <int kX, int kW>
  RUVLLM_INLINE void finish(const Chunk& chunk, const Unit& at) {
    const bool first = at.first % kXBlock == 0;
    const bool last = at.last % kXBlock == 0 || at.last == chunk.count;
    const int64_t block = at.first / kXBlock;
    const int64_t first_of_block = block * kXBlock;
#pragma GCC unroll 2
    for (int i = 0; i < kX; ++i) {
#pragma GCC unroll 2
      for (int j = 0; j < kW; ++j) {
        const WideDots tile = {
            dots[at.first / unit % 2][i][j],
            &x.head(chunk.first_tile + chunk.i + i, chunk.first / kXBlock + block),
            at.first - first_of_block,
            at.last - first_of_block,
            &w[j].heads[at.first],
            parts[i][j],
            sums.of[chunk.p + j][chunk.i + i]};
        w[j].zeros_done ? add_wide<S, false>(tile, first, last)
                        : add_wide<S, true>(tile, first, last);
      }
    }
  }

  template <int kX, int kW>
  void multiply(const Chunk& chunk) {
    const CodesOfX codes(x, chunk, kX);
    Unit at = unit_at(chunk, 0);
    begin<kX, kW>(codes, at);
    while (at.last < chunk.count) {
      const Unit next = unit_at(chunk, at.last);
      begin<kX, kW>(codes, next);
      finish<kX, kW>(chunk, at);
      at = next;
    }
    finish<kX, kW>(chunk, at);
  }

  // Into the second level; what is beyond the end of something is nothing.
  static void prefetch(const void* begin, int64_t bytes) {
    const char* const from = (const char*)begin;
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i, 0, 2);
  }

  // All tiles of x by a pair of panels, or the last one; those are in w. next: what is multiplied
  // afterwards, `bytes` of each panel.
  void multiply_pair(const PanelPart& part, Chunk chunk, int64_t panels_left, const uint8_t* next,
                     int64_t bytes) {
    const int64_t steps = (part.num_tiles() + 1) / 2 * ((chunk.count + unit - 1) / unit);
    fetchers[0] = Fetcher(next, bytes, steps);
    fetchers[1] = Fetcher(next + args->panel_bytes, bytes, steps);
    for (int64_t i = 0; i < part.num_tiles(); i += 2) {
      chunk.i = i;
      const bool one_tile = part.num_tiles() - i == 1;
      const bool one_panel = panels_left == 1;
      if (one_tile) {
        one_panel ? multiply<1, 1>(chunk) : multiply<1, 2>(chunk);
      } else {
        one_panel ? multiply<2, 1>(chunk) : multiply<2, 2>(chunk);
      }
    }
  }

  // Groups [first, first + count) of the columns, `offset` bytes into each panel; returns how many
  // bytes of a panel they are.
  int64_t multiply_chunk(const PanelPart& part, int64_t first, int64_t count, int64_t offset) {
    const int64_t first_tile = part.t / kSide;
    int64_t bytes = 0;
    int64_t fetched = 0;  // tiles of x of the next chunk
    for (int64_t n = part.p; n < part.last_p; n += 2) {
      const int64_t left = part.last_p - n;
      for (int64_t j = 0; j < 2 && j < left; ++j) {
        const uint8_t* from = args->panels + (n + j) * args->panel_bytes + offset;
        bytes = expand(from, first, count, *args, w[j]) - from;
      }
      const int64_t due = part.num_tiles() * (n + 2 - part.p) / (part.last_p - part.p);
      for (; fetched < due && fetched < part.num_tiles(); ++fetched) {
        prefetch(x.codes(first_tile + fetched, (first + count) / 2), count / 2 * kPairBytes);
      }
      // The next pair's chunk, or the first pair's next one.
      const uint8_t* const next = left > 2
                                      ? args->panels + (n + 2) * args->panel_bytes + offset
                                      : args->panels + part.p * args->panel_bytes + offset + bytes;
      multiply_pair(part, {first_tile, 0, n - part.p, first, count}, left, next, bytes);
    }
    return bytes;
  }

  void multiply_part(const PanelPart& part) {
    sums.clear(part);
    int64_t offset = 0;
    for (int64_t first = 0; first < args->groups; first += kChunkGroups) {
      const int64_t left = args->groups - first;
      offset +=
          multiply_chunk(part, first, kChunkGroups < left ? int64_t{kChunkGroups} : left, offset);
    }
    sums.write<S>(part, *args);
  }

  void run() {
    x = {args->x, args->groups};
    unit = unit_groups(args->scale_groups, args->groups);
    configure();
    for_each_part(*args, [&](const PanelPart& part) { multiply_part(part); });
    tiles.release();
  }
};

}  // namespace
}  // namespace ruvllm::kernels
