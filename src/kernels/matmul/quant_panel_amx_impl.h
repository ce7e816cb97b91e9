// The kernels of quant_panel.h on AMX-INT8, once, over the tiles T of simd/amx_tile.h (the
// instructions, or their model) and vectors S of 16 lanes. The arithmetic is that of quant_panel.h
// bit for bit: tiles give the exact integer dots, and what is done with them in f32 is what the
// other kernels do, in their order.
//
// Where w has a scale per group, a group of 32 columns is one product of tiles, 16 rows of x by 16
// rows of w (half of one, with half scales). Its 256 dots go through memory to the vectors, where
// they are scaled and added to parts that stay in 16 registers for a block of x. That costs more
// than the product: for 16 x 16 x 32 multiply-adds 32 instructions (48 with minimums), and 12 where
// a block ends. The dots of the next group are under way meanwhile (two tiles of sums, two
// buffers), because neither a tile product (52 cycles) nor its store can be waited for.
//
// Up to 8 rows of x stream the panels as the VNNI kernel does: memory bounds them, and tiles would
// first have to be made of everything.
#pragma once

#define RUVLLM_INLINE inline __attribute__((always_inline))

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

// Tiles 0, 1: dots; 2, 3: of x; 4, 5: of w.
inline TileConfig tile_shapes(bool halves) {
  TileConfig shapes;
  for (int i = 0; i < 2; ++i) {
    shapes.set(i, kTileSide, 64);
    shapes.set(2 + i, kTileSide, halves ? 16 : 32);
    shapes.set(4 + i, halves ? 4 : 8, 64);
  }
  return shapes;
}

struct alignas(64) Dots {
  int32_t of[2][kTileSide][kTileSide];
};

// A tile of x and a chunk of a panel.
struct TilePair {
  const int8_t* x;       // of the chunk, in pairs of groups
  const HeadOfX* heads;  // of its blocks
  const ExpandedPanel& w;
  Dots& dots;
  Fetcher& fetcher;
};

template <class T, class S, class Scaling>
struct TileProduct {
  using I = typename S::I;
  using F = typename S::F;
  static constexpr int kParts = Scaling::kParts;

  // Begins product u of the chunk; kP: u % 2.
  template <int kP>
  static RUVLLM_INLINE void begin(T& tiles, const TilePair& pair, int64_t u) {
    constexpr int kBytes = 32 / kParts;
    pair.fetcher.step();
    const int64_t half = u % kParts;
    tiles.template zero<kP>();
    const int64_t g = u / kParts;
    tiles.template load<2 + kP>(pair.x + g / 2 * (kTileSide * 64) + g % 2 * 32 + half * kBytes, 64);
    tiles.template load<4 + kP>(pair.w.groups[g].codes[half * 4], 64);
    tiles.template dot_ss<kP, 2 + kP, 4 + kP>();
    tiles.template store<kP>(pair.dots.of[kP], 64);
  }

  // Adds its dots, scaled, to the parts of MX rows.
  template <int kP, int MX>
  static RUVLLM_INLINE void finish(const TilePair& pair, int64_t u, F (&part)[MX]) {
    const HeadOfX& x = pair.heads[u / kParts / kXBlock];
    const int64_t g = u / kParts % kXBlock;  // of the block
    const ExpandedPanel::Group& w = pair.w.groups[u / kParts];
    const int32_t(*const dots)[kTileSide] = pair.dots.of[kP];
    const F scale = S::load_f32(w.scale[u % kParts]);
    F minimum = S::zero_f32();
    if constexpr (Scaling::kMinimum) minimum = S::load_f32(w.minimum);
    I zero = S::zero();
    if constexpr (Scaling::kCount) zero = S::load((const uint8_t*)w.zero);
#pragma GCC unroll 16
    for (int t = 0; t < MX; ++t) {
      I dot = S::load((const uint8_t*)dots[t]);
      if constexpr (Scaling::kCount) {
        dot = S::sub_32(dot, S::dot_pairs_16(zero, S::broadcast_4(&x.sum[g][t])));
      }
      part[t] = S::fma(S::to_f32(dot), scale, part[t]);
      if constexpr (Scaling::kMinimum) {
        part[t] = S::fma(minimum, S::broadcast_f32(&x.total[g][t]), part[t]);
      }
    }
  }
};

// Where the sums of a tile are, and which columns of it come.
struct TileSums {
  float* out;  // rows `stride` apart
  int64_t stride;
  int64_t rows;   // beyond them nothing is read or written
  int64_t first;  // group
  int64_t count;
};

// Adds a chunk of columns to the sums, rows <= MX.
template <class T, class S, class Scaling, int MX>
void add_chunk(T& tiles, const TilePair& pair, const TileSums& to) {
  using F = typename S::F;
  using Product = TileProduct<T, S, Scaling>;
  constexpr int64_t kBlock = kXBlock * Scaling::kParts;  // products
  F part[MX];
#pragma GCC unroll 16
  for (int t = 0; t < MX; ++t) part[t] = S::zero_f32();
  const int64_t end = to.count * Scaling::kParts;
  Product::template begin<0>(tiles, pair, 0);
  for (int64_t u = 0; u < end; u += 2) {
    const bool two = u + 1 < end;
    if (two) Product::template begin<1>(tiles, pair, u + 1);
    Product::template finish<0>(pair, u, part);
    if (two) {
      if (u + 2 < end) Product::template begin<0>(tiles, pair, u + 2);
      Product::template finish<1>(pair, u + 1, part);
    }
    if ((u + 2) % kBlock != 0 && u + 2 < end) continue;
    // A block of x ends.
    const HeadOfX& x = pair.heads[u / kBlock];
    const bool fresh = to.first == 0 && u < kBlock;
#pragma GCC unroll 16
    for (int t = 0; t < MX; ++t) {
      if (t < to.rows) {
        float* const out = to.out + t * to.stride;
        const F before = fresh ? S::zero_f32() : S::load_f32(out);
        S::store_f32(out, S::fma(part[t], S::broadcast_f32(&x.scale[t]), before));
      }
      part[t] = S::zero_f32();
    }
  }
}

template <class T, class S, class Scaling>
void add_chunk_of_rows(T& tiles, const TilePair& pair, const TileSums& to) {
  if (to.rows <= 4) return add_chunk<T, S, Scaling, 4>(tiles, pair, to);
  if (to.rows <= 8) return add_chunk<T, S, Scaling, 8>(tiles, pair, to);
  add_chunk<T, S, Scaling, 16>(tiles, pair, to);
}

// Scaling: of the formats that share it, without the count of zero points.
template <class T, class S, class Scaling>
struct AmxBlock {
  static constexpr int kMostTiles = 32;  // of x, whose columns of a chunk stay in the second level
  static constexpr int64_t kSide = kTileSide;

  const QuantPanelArgs* args;
  Expand<ExpandedPanel> expand;
  T tiles;
  TiledX x;
  ExpandedPanel w;
  Dots dots;

  int64_t rows_of_tile(int64_t t) const {
    return args->num_x - t < kSide ? args->num_x - t : kSide;
  }

  // The expanded chunk of panel p with the tiles of x from row t on. next: what comes after it.
  void chunk_of_panel(int64_t t, int64_t num_tiles, int64_t p, TileSums sums, const uint8_t* next,
                      int64_t next_bytes) {
    Fetcher fetcher(next, next_bytes, num_tiles * sums.count * Scaling::kParts);
    for (int64_t i = 0; i < num_tiles; ++i) {
      const int64_t row = t + i * kSide;
      sums.out = args->sums + row * args->sums_stride + p * kSide;
      sums.rows = rows_of_tile(row);
      const int64_t tile = row / kSide;
      const TilePair pair{x.codes(tile, sums.first / 2), &x.head(tile, sums.first / kXBlock), w,
                          dots, fetcher};
      if constexpr (!Scaling::kHalves && !Scaling::kMinimum) {
        if (!w.zeros_done) {
          add_chunk_of_rows<T, S, ScalingOf<false, false, true>>(tiles, pair, sums);
          continue;
        }
      }
      add_chunk_of_rows<T, S, Scaling>(tiles, pair, sums);
    }
  }

  // Rows of x from row t on, as many as stand side by side, times all panels.
  void panels(int64_t t) {
    const int64_t left = (args->num_x - t + kSide - 1) / kSide;
    const int64_t num_tiles = left < kMostTiles ? left : kMostTiles;
    int64_t offset = 0;  // of the chunk in each panel
    for (int64_t first = 0; first < args->groups; first += kChunkGroups) {
      const int64_t rest = args->groups - first;
      const int64_t count = kChunkGroups < rest ? int64_t{kChunkGroups} : rest;
      const TileSums sums{nullptr, args->sums_stride, 0, first, count};
      int64_t bytes = 0;
      for (int64_t n = 0; n < args->num_panels; ++n) {
        const uint8_t* from = args->panels + n * args->panel_bytes + offset;
        bytes = expand(from, first, count, *args, w) - from;
        // The next panel's chunk, or the first panel's next one.
        const uint8_t* next =
            n + 1 < args->num_panels ? from + args->panel_bytes : args->panels + offset + bytes;
        chunk_of_panel(t, num_tiles, n, sums, next, bytes);
      }
      offset += bytes;
    }
  }

  void run() {
    const TileConfig shapes = tile_shapes(Scaling::kHalves);
    tiles.configure(shapes);
    x = {args->x, args->groups};
    for (int64_t t = 0; t < args->num_x; t += kMostTiles * kSide) panels(t);
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
  if (args->num_x <= S::kTileX) return stream_rows<S, Fmt>(args);
  if constexpr (Fmt::kGrouped) {
    if constexpr (Fmt::kBits == 8) {
      if (args->one_x_scale) return exact_product<T, S>(args);
    }
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
  constexpr ActivationForm kForm = ActivationForm::kInt8;
  return {S::kRows,
          S::kTileX,
          quantize_tile,
          {{kForm, amx_product<T, S, Q8_0>},
           {kForm, amx_product<T, S, Q4_0>},
           {kForm, amx_product<T, S, Q4_1>},
           {kForm, amx_product<T, S, Q5_0>},
           {kForm, amx_product<T, S, Q5_1>},
           {kForm, amx_product<T, S, Q4_K>},
           {kForm, amx_product<T, S, Q5_K>},
           {kForm, amx_product<T, S, Q6_K>},
           {kForm, amx_product<T, S, I8>},
           {kForm, amx_product<T, S, I4>},
           {kForm, amx_product<T, S, I3>},
           {kForm, amx_product<T, S, I2>},
           {kForm, amx_halves<T, S, I4H>},
           {kForm, amx_halves<T, S, I3H>},
           {kForm, amx_halves<T, S, I2H>}}};
}

}  // namespace
}  // namespace ruvllm::kernels
