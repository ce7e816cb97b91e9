// The kernels of quant_panel.h on AMX-INT8, once, over the tiles T of simd/amx_tile.h (the
// instructions, or their model) and vectors S of 16 lanes. The arithmetic is that of quant_panel.h
// bit for bit: tiles give the exact integer dots, and what is done with them in f32 is what the
// other kernels do, in their order.
//
// Where w has a scale per group, a group of 32 columns is one product of tiles, 16 rows of x by 16
// rows of w (half of one, with half scales). Its 256 dots go through memory to the vectors, where
// they are scaled and added up. That costs more than the product: for 16 x 16 x 32 multiply-adds 32
// instructions (48 with minimums), and 12 where a block ends. The products of the next block are
// under way meanwhile, four tiles of them, because neither a product (52 cycles) nor its store can
// be waited for.
//
// Up to 8 rows of x stream the panels as the VNNI kernel does: memory bounds them, and tiles would
// first have to be made of everything. (Not where panels are tiles: quant_panel_amx_exact.h.)
#pragma once

#ifndef RUVLLM_INLINE
#define RUVLLM_INLINE inline __attribute__((always_inline))
#endif

#include "kernels/matmul/quant_panel.h"
#include "kernels/matmul/quant_panel_amx_blocks.h"
#include "kernels/matmul/quant_panel_amx_exact.h"
#include "kernels/matmul/quant_panel_amx_wide.h"
#include "kernels/matmul/quant_panel_formats.h"
#include "kernels/matmul/quant_panel_impl.h"
#include "kernels/simd/amx_tile.h"

namespace ruvllm::kernels {
namespace {

// What is done with the dots; formats that agree in it share the kernels. kCount: zero points are
// left to subtract (see ExpandedPanel).
template <bool kHalvesV, bool kMinimumV, bool kCountV>
struct ScalingOf {
  static constexpr bool kHalves = kHalvesV;
  static constexpr bool kMinimum = kMinimumV;
  static constexpr bool kCount = kCountV;
  static constexpr int kParts = kHalvesV ? 2 : 1;  // products of a group
};

// Tiles 0 to 3: dots; 4, 5: of x; 6, 7: of w.
inline TileConfig tile_shapes(bool halves) {
  TileConfig shapes;
  for (int i = 0; i < 4; ++i) shapes.set(i, kTileSide, 64);
  for (int i = 0; i < 2; ++i) {
    shapes.set(4 + i, kTileSide, halves ? 16 : 32);
    shapes.set(6 + i, halves ? 4 : 8, 64);
  }
  return shapes;
}

// The groups [g, g + count) of a chunk, count <= kXBlock, that have one scale of x.
struct BlockOfX {
  int64_t g;
  int64_t count;
};

// 16 rows of x and a chunk of a panel.
template <class T, class S, class Scaling>
struct TileProduct {
  using I = typename S::I;
  using F = typename S::F;
  static constexpr int kParts = Scaling::kParts;
  typedef int32_t Dots[kXBlock * kParts][kTileSide][kTileSide];

  const int8_t* x;       // of the chunk, in pairs of groups
  const HeadOfX* heads;  // of its blocks
  const ExpandedPanel& w;
  Fetcher& fetcher;
  int64_t rows;  // of x; beyond them nothing is done
  float* sums;   // [16][16]

  // One product, into tile kD.
  template <int kD>
  RUVLLM_INLINE void multiply(T& tiles, int64_t g, int64_t half, int32_t (*dots)[kTileSide]) const {
    constexpr int kBytes = 32 / kParts;
    fetcher.step();
    tiles.template zero<kD>();
    tiles.template load<4 + kD % 2>(x + g / 2 * (kTileSide * 64) + g % 2 * 32 + half * kBytes, 64);
    tiles.template load<6 + kD % 2>(w.groups[g].codes[half * 4], 64);
    tiles.template dot_ss<kD, 4 + kD % 2, 6 + kD % 2>();
    tiles.template store<kD>(dots, 64);
  }

  // Begins the products of a block.
  RUVLLM_INLINE void begin(T& tiles, const BlockOfX& block, Dots& dots) const {
    for (int64_t half = 0; half < kParts; ++half) {
      multiply<0>(tiles, block.g, half, dots[half]);
      if (block.count > 1) multiply<1>(tiles, block.g + 1, half, dots[kParts + half]);
      if (block.count > 2) multiply<2>(tiles, block.g + 2, half, dots[2 * kParts + half]);
      if (block.count > 3) multiply<3>(tiles, block.g + 3, half, dots[3 * kParts + half]);
    }
  }

  // What a block's dots are scaled with, in registers.
  struct Scales {
    F scale[kXBlock][kParts];
    F minimum[kXBlock];
    I zero[kXBlock];

    RUVLLM_INLINE Scales(const ExpandedPanel::Group* groups, int64_t count) {
#pragma GCC unroll 4
      for (int i = 0; i < kXBlock; ++i) {
        const ExpandedPanel::Group& group = groups[i < count ? i : 0];
#pragma GCC unroll 2
        for (int half = 0; half < kParts; ++half) scale[i][half] = S::load_f32(group.scale[half]);
        if constexpr (Scaling::kMinimum) minimum[i] = S::load_f32(group.minimum);
        if constexpr (Scaling::kCount) zero[i] = S::load((const uint8_t*)group.zero);
      }
    }
  };

  // Adds a block to the sums once its dots are there.
  template <bool kWhole>
  void finish(const BlockOfX& block, const Dots& dots) const {
    const HeadOfX& head = heads[block.g / kXBlock];
    const Scales of_w(w.groups + block.g, kWhole ? int64_t{kXBlock} : block.count);
    float* sum = sums;
    for (int64_t t = 0; t < rows; ++t, sum += kTileSide) {
      F part = S::zero_f32();
#pragma GCC unroll 4
      for (int i = 0; i < kXBlock; ++i) {
        if (!kWhole && i >= block.count) break;
#pragma GCC unroll 2
        for (int half = 0; half < kParts; ++half) {
          I dot = S::load((const uint8_t*)dots[i * kParts + half][t]);
          if constexpr (Scaling::kCount) {
            dot = S::sub_32(dot, S::dot_pairs_16(of_w.zero[i], S::broadcast_4(&head.sum[i][t])));
          }
          part = S::fma(S::to_f32(dot), of_w.scale[i][half], part);
        }
        if constexpr (Scaling::kMinimum) {
          part = S::fma(of_w.minimum[i], S::broadcast_f32(&head.total[i][t]), part);
        }
      }
      S::store_f32(sum, S::fma(part, S::broadcast_f32(&head.scale[t]), S::load_f32(sum)));
    }
  }
  void finish(const BlockOfX& block, const Dots& dots) const {
    block.count == kXBlock ? finish<true>(block, dots) : finish<false>(block, dots);
  }

  // All groups of the chunk. The dots of a block go to memory while those of the one before are
  // scaled.
  void add_chunk(T& tiles, int64_t count, Dots (&dots)[2]) const {
    const auto block_at = [&](int64_t g) {
      return BlockOfX{g, kXBlock < count - g ? int64_t{kXBlock} : count - g};
    };
    begin(tiles, block_at(0), dots[0]);
    int64_t g = 0;
    for (; g + kXBlock < count; g += kXBlock) {
      begin(tiles, block_at(g + kXBlock), dots[(g / kXBlock + 1) % 2]);
      finish(block_at(g), dots[g / kXBlock % 2]);
    }
    finish(block_at(g), dots[g / kXBlock % 2]);
  }
};

// Scaling: of the formats that share it, without the count of zero points.
template <class T, class S, class Scaling>
struct AmxBlock {
  using Counting = TileProduct<T, S, ScalingOf<false, false, true>>;
  using Product = TileProduct<T, S, Scaling>;

  const QuantPanelArgs* args;
  Expand<ExpandedPanel> expand;
  T tiles;
  TiledX x;
  ExpandedPanel w;
  alignas(64) typename Product::Dots dots[2];
  PanelSums sums;

  // The chunk in w, of the part's panel n, by all tiles of x.
  void multiply(const PanelPart& part, int64_t n, int64_t first, int64_t count, Fetcher& fetcher) {
    for (int64_t i = 0; i < part.num_tiles(); ++i) {
      const int64_t tile = part.t / kTileSide + i;
      const int8_t* const codes = x.codes(tile, first / 2);
      const HeadOfX* const heads = &x.head(tile, first / kXBlock);
      const int64_t rows = part.rows_of_tile(i);
      float* const to = sums.of[n][i];
      if constexpr (!Scaling::kHalves && !Scaling::kMinimum) {
        if (!w.zeros_done) {
          Counting{codes, heads, w, fetcher, rows, to}.add_chunk(tiles, count, dots);
          continue;
        }
      }
      Product{codes, heads, w, fetcher, rows, to}.add_chunk(tiles, count, dots);
    }
  }

  void multiply_part(const PanelPart& part) {
    sums.clear(part);
    int64_t offset = 0;  // of the chunk in each panel
    for (int64_t first = 0; first < args->groups; first += kChunkGroups) {
      const int64_t rest = args->groups - first;
      const int64_t count = kChunkGroups < rest ? int64_t{kChunkGroups} : rest;
      int64_t bytes = 0;
      for (int64_t p = part.p; p < part.last_p; ++p) {
        const uint8_t* from = args->panels + p * args->panel_bytes + offset;
        bytes = expand(from, first, count, *args, w) - from;
        // The next panel's chunk, or the first panel's next one.
        const uint8_t* next = p + 1 < part.last_p
                                  ? from + args->panel_bytes
                                  : args->panels + part.p * args->panel_bytes + offset + bytes;
        Fetcher fetcher(next, bytes, part.num_tiles() * count * Scaling::kParts);
        multiply(part, p - part.p, first, count, fetcher);
      }
      offset += bytes;
    }
    sums.write<S>(part, *args);
  }

  void run() {
    tiles.configure(tile_shapes(Scaling::kHalves));
    x = {args->x, args->groups};
    for_each_part(*args, [&](const PanelPart& part) { multiply_part(part); });
    tiles.release();
  }
};

template <class S>
struct FourStreams : S {
  static constexpr bool kFourStreams = true;
};

// Rows of x that are one tile of vectors: the panels from memory once (quant_panel_impl.h).
template <class S, class Fmt>
void stream_rows(const QuantPanelArgs* args) {
  PanelBlock<FourStreams<S>, Fmt> block;
  block.args = args;
  block.first_panel = 0;
  block.num_panels = args->num_panels;
  block.stream();
}

// Rows in tiles; formats that differ in their codes alone share all but the expansion.
template <class T, class S, class Scaling>
void tile_product(const QuantPanelArgs* args, Expand<ExpandedPanel> expand) {
  AmxBlock<T, S, Scaling> block;
  block.args = args;
  block.expand = expand;
  block.run();
}
template <class T, class S>
void wide_product(const QuantPanelArgs* args, Expand<WidePanel> expand) {
  AmxWideBlock<T, S> block;
  block.args = args;
  block.expand = expand;
  block.run();
}

template <class T, class S>
void exact_product(const QuantPanelArgs* args) {
  AmxExactBlock<T, S> block;
  block.args = args;
  block.run();
}

template <class T, class S, class Fmt>
void amx_product(const QuantPanelArgs* args) {
  if constexpr (Fmt::kGrouped && Fmt::kBits == 8) {
    if (args->one_x_scale && args->num_x > S::kTileX / 2) return exact_product<T, S>(args);
  }
  if (args->num_x <= S::kTileX) return stream_rows<S, Fmt>(args);
  if constexpr (Fmt::kGrouped) {
    if (unit_groups(args->scale_groups, args->groups) > 1) {
      return wide_product<T, S>(args, expand_panel<S, Fmt, WidePanel>);
    }
  }
  using Scaling = ScalingOf<Fmt::kHalves, Fmt::kMinimum, false>;
  tile_product<T, S, Scaling>(args, expand_panel<S, Fmt, ExpandedPanel>);
}

template <class T, class S, class Fmt>
void amx_halves(const QuantPanelArgs* args) {
  if (args->num_x <= S::kTileX) return halves_product<S, Fmt>(args);
  tile_product<T, S, ScalingOf<true, false, false>>(args, expand_panel<S, Fmt, ExpandedPanel>);
}

template <class T, class S>
constexpr QuantPanelKernel make_quant_panel_amx(QuantizeTile quantize_tile) {
  return {S::kRows,
          kTaskPanels,
          S::kTileX,
          quantize_tile,
          {amx_product<T, S, Q8_0>, amx_product<T, S, Q4_0>, amx_product<T, S, Q4_1>,
           amx_product<T, S, Q5_0>, amx_product<T, S, Q5_1>, amx_product<T, S, Q4_K>,
           amx_product<T, S, Q5_K>, amx_product<T, S, Q6_K>, amx_product<T, S, I8>,
           amx_product<T, S, I4>, amx_product<T, S, I3>, amx_product<T, S, I2>,
           amx_halves<T, S, I4H>, amx_halves<T, S, I3H>, amx_halves<T, S, I2H>}};
}

}  // namespace
}  // namespace ruvllm::kernels
