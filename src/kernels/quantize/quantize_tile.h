// Rows of x, quantized as in quantize_rows.h, as the tile kernels of quant_panel.h multiply them:
// tiles of kTileSide rows, made once for all panels. A tile of x of so many groups is
//   codes   s8[groups / 2, rounded up][16][64]: two groups of a row, the second zeros where there
//           is none
//   heads   one for each block of x
//   sums    s32[16]: of all codes of a row
// Rows beyond the last are zeros.
#pragma once

#include <stdint.h>

#include "kernels/quantize/quantize_rows.h"

namespace ruvllm::kernels {

enum {
  kTileSide = 16,  // rows of x and of w in a product of tiles
  kXBlock = 4,     // groups of x under one scale
};

// Of 16 rows of x.
struct HeadOfX {
  float scale[kTileSide];
  // The sums of the codes, for formats with a minimum and for those that count zero points apart.
  int32_t sum[kXBlock][kTileSide];
  float total[kXBlock][kTileSide];
};

namespace {

inline int64_t x_tile_pairs(int64_t groups) {
  return (groups + 1) / 2;
}
inline int64_t x_tile_blocks(int64_t groups) {
  return (groups + kXBlock - 1) / kXBlock;
}
inline int64_t x_tile_words(int64_t groups) {
  return x_tile_pairs(groups) * (kTileSide * 16) +
         x_tile_blocks(groups) * (int64_t)(sizeof(HeadOfX) / 4) + kTileSide;
}

inline HeadOfX* heads_of_x_tile(uint32_t* tile, int64_t groups) {
  return (HeadOfX*)(tile + x_tile_pairs(groups) * (kTileSide * 16));
}

inline int32_t* sums_of_x_tile(uint32_t* tile, int64_t groups) {
  return (int32_t*)(heads_of_x_tile(tile, groups) + x_tile_blocks(groups));
}

// The tiles of all rows, one after the other.
struct TiledX {
  const uint32_t* words;
  int64_t groups;

  // A product of 64 columns: 16 rows of 64 bytes.
  const int8_t* codes(int64_t tile, int64_t pair) const {
    return (const int8_t*)(words + tile * x_tile_words(groups) + pair * (kTileSide * 16));
  }
  const HeadOfX& head(int64_t tile, int64_t block) const {
    return ((const HeadOfX*)codes(tile, x_tile_pairs(groups)))[block];
  }
  const int32_t* sums(int64_t tile) const {
    return (const int32_t*)&head(tile, x_tile_blocks(groups));
  }
};

}  // namespace

// Makes the tile of num_rows <= 16 rows of so many groups, `block` of them (the last ones: what is
// left) under a scale.
typedef void (*QuantizeTile)(const float* const* rows, int64_t num_rows, int64_t groups,
                             int64_t block, uint32_t* tile);

namespace generic {
extern const QuantizeTile kQuantizeTile;
}

}  // namespace ruvllm::kernels
