// Grouped formats with scales over several groups (unit_groups()), or one for a row, on AMX-INT8:
// the dots of a unit are summed in tiles, over 64 columns a product, and scaled once.
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
  kWideBlocks = 4,                // of x in a chunk
  kWideTiles = 16,                // of x, side by side: 148 KB
  kWidePanels = 16,               // that keep their sums meanwhile
};

static_assert(int{kWideBlocks} * int{kXBlock} == int{kChunkGroups});

// `valid` rows of x of a chunk; in the others codes are zeros.
struct alignas(64) WideTileOfX {
  int8_t codes[kWidePairs][kTileSide][64];
  float scale[kWideBlocks][kTileSide];  // by block
  int32_t sum[kWidePairs][kTileSide];   // of the codes, by unit

  void fill(const uint32_t* x, int64_t row_words, int64_t valid, int64_t count, int64_t unit) {
    for (int64_t t = 0; t < valid; ++t) {
      const uint32_t* record = x + t * row_words;
      int64_t g = 0;
      for (; g + 2 <= count; g += 2, record += 2 * kInt8Words) {
        __builtin_memcpy(codes[g / 2][t], record, 32);
        __builtin_memcpy(codes[g / 2][t] + 32, record + kInt8Words, 32);
      }
      if (g < count) {
        __builtin_memcpy(codes[g / 2][t], record, 32);
        __builtin_memset(codes[g / 2][t] + 32, 0, 32);
      }
    }
    for (int64_t t = 0; t < valid; ++t) {
      const uint32_t* record = x + t * row_words;
      for (int64_t n = 0; n < kWidePairs; ++n) sum[n][t] = 0;
      for (int64_t g = 0; g < count; ++g, record += kInt8Words) {
        if (g % kXBlock == 0) __builtin_memcpy(&scale[g / kXBlock][t], record + 8, 4);
        sum[g / unit][t] += (int32_t)record[9];
      }
    }
    for (int64_t t = valid; t < kTileSide; ++t) {
      for (int64_t pair = 0; pair < kWidePairs; ++pair) {
        __builtin_memset(codes[pair][t], 0, 64);
        sum[pair][t] = 0;
      }
      for (auto& of_block : scale) of_block[t] = 0.0f;
    }
  }
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
  const float* scale_x;              // [16]
  const int32_t* sum_x;
  const ExpandedScales* head;
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
  const float* const scale_x = tile.scale_x;
  const int32_t* const sum_x = tile.sum_x;
  float* const parts = tile.parts;
  float* const sums = tile.sums;
  const F scale = S::load_f32(tile.head->scale);
  I zero = S::zero();
  if constexpr (kCount) zero = S::load((const uint8_t*)tile.head->zero);
#pragma GCC unroll 16
  for (int t = 0; t < kTileSide; ++t) {
    I dot = S::load((const uint8_t*)dots[t]);
    if constexpr (kCount) {
      dot = S::sub_32(dot, S::dot_pairs_16(zero, S::broadcast_4(sum_x + t)));
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

// Products of neighbouring panels, up to kWidePanels, with rows of x, up to kWideTiles tiles.
template <class T, class S>
struct AmxWideBlock {
  static constexpr int64_t kSide = kTileSide;

  const QuantPanelArgs* args;
  Expand<WidePanel> expand;
  int64_t unit;
  T tiles;
  WideTileOfX x[kWideTiles];
  WidePanel w[2];
  Fetcher fetchers[2];  // of the panels that come next
  // Tiles of dots of the unit under way and the one before: [x][w].
  alignas(64) int32_t dots[2][2][2][kTileSide][kTileSide];
  alignas(64) float sums[kWidePanels][kWideTiles][kSide * kSide];
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

  // A chunk of kX tiles of x, from tile i on, by kW panels, from p on.
  struct Chunk {
    int64_t i, p;
    int64_t first, count;  // groups
  };
  struct Unit {
    int64_t first, last;  // groups of the chunk
  };
  Unit unit_at(const Chunk& chunk, int64_t first) const {
    const int64_t last = first + unit;
    return {first, last < chunk.count ? last : chunk.count};
  }

  // Products of 64 columns.
  template <int kX, int kW>
  RUVLLM_INLINE void products(const Chunk& chunk, int64_t pair) {
    tiles.template load<6>(w[0].pairs[pair], 64);
    tiles.template load<4>(x[chunk.i].codes[pair], 64);
    tiles.template dot_ss<0, 4, 6>();
    if constexpr (kW > 1) {
      tiles.template load<7>(w[1].pairs[pair], 64);
      tiles.template dot_ss<1, 4, 7>();
    }
    if constexpr (kX > 1) {
      tiles.template load<5>(x[chunk.i + 1].codes[pair], 64);
      tiles.template dot_ss<2, 5, 6>();
      if constexpr (kW > 1) tiles.template dot_ss<3, 5, 7>();
    }
  }

  template <int kX, int kW>
  RUVLLM_INLINE void begin(const Chunk& chunk, const Unit& at) {
    fetchers[0].step();
    fetchers[1].step();
    tiles.template zero<0>();
    if constexpr (kW > 1) tiles.template zero<1>();
    if constexpr (kX > 1) tiles.template zero<2>();
    if constexpr (kX > 1 && kW > 1) tiles.template zero<3>();
    for (int64_t pair = at.first / 2; 2 * pair < at.last; ++pair) {
      products<kX, kW>(chunk, pair);
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
    const int64_t number = at.first / unit;
#pragma GCC unroll 2
    for (int i = 0; i < kX; ++i) {
#pragma GCC unroll 2
      for (int j = 0; j < kW; ++j) {
        const WideTileOfX& from = x[chunk.i + i];
        const WideDots tile = {dots[number % 2][i][j],
                               from.scale[at.first / kXBlock],
                               from.sum[number],
                               &w[j].heads[at.first],
                               parts[i][j],
                               sums[chunk.p + j][chunk.i + i]};
        w[j].zeros_done ? add_wide<S, false>(tile, first, last)
                        : add_wide<S, true>(tile, first, last);
      }
    }
  }

  template <int kX, int kW>
  void multiply(const Chunk& chunk) {
    Unit at = unit_at(chunk, 0);
    begin<kX, kW>(chunk, at);
    while (at.last < chunk.count) {
      const Unit next = unit_at(chunk, at.last);
      begin<kX, kW>(chunk, next);
      finish<kX, kW>(chunk, at);
      at = next;
    }
    finish<kX, kW>(chunk, at);
  }

  // Where a row of x has one scale: the exact sums of all columns stay in tiles, or, from chunk to
  // chunk, in `sums`.
  template <int C>
  RUVLLM_INLINE void begin_exact(const Chunk& chunk, const float* sum) {
    if (chunk.first == 0) {
      tiles.template zero<C>();
    } else {
      tiles.template load<C>(sum, 64);
    }
  }
  template <int kX, int kW>
  void multiply_exact(const Chunk& chunk) {
    constexpr int kLastX = kX - 1;  // where there is no second tile, the first again, unused
    constexpr int kLastW = kW - 1;
    float* const to[2][2] = {
        {sums[chunk.p][chunk.i], sums[chunk.p + kLastW][chunk.i]},
        {sums[chunk.p][chunk.i + kLastX], sums[chunk.p + kLastW][chunk.i + kLastX]}};
    begin_exact<0>(chunk, to[0][0]);
    if constexpr (kW > 1) begin_exact<1>(chunk, to[0][1]);
    if constexpr (kX > 1) begin_exact<2>(chunk, to[1][0]);
    if constexpr (kX > 1 && kW > 1) begin_exact<3>(chunk, to[1][1]);
    for (int64_t pair = 0; 2 * pair < chunk.count; ++pair) {
      fetchers[0].step();
      fetchers[1].step();
      products<kX, kW>(chunk, pair);
    }
    tiles.template store<0>(to[0][0], 64);
    if constexpr (kW > 1) tiles.template store<1>(to[0][1], 64);
    if constexpr (kX > 1) tiles.template store<2>(to[1][0], 64);
    if constexpr (kX > 1 && kW > 1) tiles.template store<3>(to[1][1], 64);
    if (chunk.first + chunk.count < args->groups) return;
    for (int i = 0; i < kX; ++i) {
      for (int j = 0; j < kW; ++j) {
        scale_exact(x[chunk.i + i].scale[0], w[j].heads[0].scale, to[i][j]);
      }
    }
  }
  // A tile of sums from integers to floats.
  static void scale_exact(const float* scale_x, const float* scale_w, float* sum) {
    using F = typename S::F;
    const F scale = S::load_f32(scale_w);
#pragma GCC unroll 16
    for (int t = 0; t < kTileSide; ++t) {
      float* const row = sum + t * kTileSide;
      const F total = S::to_f32(S::load((const uint8_t*)row));
      const F part = S::fma(total, scale, S::zero_f32());
      S::store_f32(row, S::fma(part, S::broadcast_f32(scale_x + t), S::zero_f32()));
    }
  }

  int64_t rows_of_tile(int64_t t) const {
    return args->num_x - t < kSide ? args->num_x - t : kSide;
  }

  // Into the second level; what is beyond the end of something is nothing.
  static void prefetch(const void* begin, int64_t bytes) {
    const char* const from = (const char*)begin;
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i, 0, 2);
  }

  // What a call of panels() is about: tiles of x from row t on, panels [p, last_p) of args.
  struct Part {
    int64_t t, num_tiles;
    int64_t p, last_p;
    int64_t rows;
  };
  const uint32_t* x_records(int64_t row, int64_t group) const {
    return args->x + (row * args->groups + group) * kInt8Words;
  }

  // All tiles of x by a pair of panels, or the last one; those are in w. next: what is multiplied
  // afterwards, `bytes` of each panel.
  void multiply_pair(const Part& part, Chunk chunk, int64_t panels_left, const uint8_t* next,
                     int64_t bytes) {
    const int64_t each = args->one_x_scale ? 2 : unit;  // groups between two steps of the fetchers
    const int64_t steps = (part.num_tiles + 1) / 2 * ((chunk.count + each - 1) / each);
    fetchers[0] = Fetcher(next, bytes, steps);
    fetchers[1] = Fetcher(next + args->panel_bytes, bytes, steps);
    for (int64_t i = 0; i < part.num_tiles; i += 2) {
      chunk.i = i;
      const bool one_tile = part.num_tiles - i == 1;
      const bool one_panel = panels_left == 1;
      if (one_tile) {
        one_panel ? multiply_tiles<1, 1>(chunk) : multiply_tiles<1, 2>(chunk);
      } else {
        one_panel ? multiply_tiles<2, 1>(chunk) : multiply_tiles<2, 2>(chunk);
      }
    }
  }
  template <int kX, int kW>
  void multiply_tiles(const Chunk& chunk) {
    args->one_x_scale ? multiply_exact<kX, kW>(chunk) : multiply<kX, kW>(chunk);
  }

  // Groups [first, first + count) of the columns, `offset` bytes into each panel; returns how many
  // bytes of a panel they are.
  int64_t multiply_chunk(const Part& part, int64_t first, int64_t count, int64_t offset) {
    for (int64_t i = 0; i < part.num_tiles; ++i) {
      const int64_t row = part.t + i * kSide;
      x[i].fill(x_records(row, first), args->groups * kInt8Words, rows_of_tile(row), count, unit);
    }
    int64_t bytes = 0;
    int64_t fetched = 0;  // rows of x of the next chunk
    for (int64_t n = part.p; n < part.last_p; n += 2) {
      const int64_t left = part.last_p - n;
      for (int64_t j = 0; j < 2 && j < left; ++j) {
        const uint8_t* from = args->panels + (n + j) * args->panel_bytes + offset;
        bytes = expand(from, first, count, *args, w[j]) - from;
      }
      const int64_t due = part.rows * (n + 2 - part.p) / (part.last_p - part.p);
      for (; fetched < due && fetched < part.rows; ++fetched) {
        prefetch(x_records(part.t + fetched, first + count), count * kInt8Words * 4);
      }
      // The next pair's chunk, or the first pair's next one.
      const uint8_t* const next = left > 2
                                      ? args->panels + (n + 2) * args->panel_bytes + offset
                                      : args->panels + part.p * args->panel_bytes + offset + bytes;
      multiply_pair(part, {0, n - part.p, first, count}, left, next, bytes);
    }
    return bytes;
  }

  void panels(const Part& part) {
    for (int64_t n = 0; n < part.last_p - part.p; ++n) {
      __builtin_memset(sums[n], 0, sizeof sums[n][0] * (size_t)part.num_tiles);
    }
    int64_t offset = 0;
    for (int64_t first = 0; first < args->groups; first += kChunkGroups) {
      const int64_t left = args->groups - first;
      offset +=
          multiply_chunk(part, first, kChunkGroups < left ? int64_t{kChunkGroups} : left, offset);
    }
    constexpr int64_t kAhead = 4;  // rows that are made ready to be written
    const int64_t row_bytes = (part.last_p - part.p) * kSide * 4;
    for (int64_t row = 0; row < part.rows; ++row) {
      float* const to = args->sums + (part.t + row) * args->sums_stride + part.p * kSide;
      if (row + kAhead < part.rows) {
        const char* const ahead = (const char*)(to + kAhead * args->sums_stride);
        for (int64_t i = 0; i < row_bytes; i += 64) __builtin_prefetch(ahead + i, 1, 2);
      }
      for (int64_t n = 0; n < part.last_p - part.p; ++n) {
        S::store_f32(to + n * kSide, S::load_f32(sums[n][row / kSide] + row % kSide * kSide));
      }
    }
  }

  void run() {
    unit = args->one_x_scale ? int64_t{kXBlock} : unit_groups(args->scale_groups, args->groups);
    configure();
    for (int64_t t = 0; t < args->num_x; t += kWideTiles * kSide) {
      const int64_t left = args->num_x - t;
      const int64_t rows = left < kWideTiles * kSide ? left : kWideTiles * kSide;
      for (int64_t p = 0; p < args->num_panels; p += kWidePanels) {
        const int64_t rest = args->num_panels - p;
        const int64_t last_p = p + (kWidePanels < rest ? int64_t{kWidePanels} : rest);
        panels({t, (rows + kSide - 1) / kSide, p, last_p, rows});
      }
    }
    tiles.release();
  }
};

}  // namespace
}  // namespace ruvllm::kernels
