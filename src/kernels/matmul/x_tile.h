// Rows of quantized x (quantize_rows.h) as the tile kernels of quant_panel.h multiply them: tiles
// of kTileSide rows, made once for all panels. A tile of x of so many groups is
//   codes   s8[groups / 2, rounded up][16][64]: two groups of a row, the second zeros where there
//           is none
//   heads   one for each block of x
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
         x_tile_blocks(groups) * static_cast<int64_t>(sizeof(HeadOfX) / 4);
}

// The tiles of all rows, one after the other.
struct RepackedX {
  const uint32_t* words;
  int64_t groups;

  // A product of 64 columns: 16 rows of 64 bytes.
  const int8_t* codes(int64_t tile, int64_t pair) const {
    return (const int8_t*)(words + tile * x_tile_words(groups) + pair * (kTileSide * 16));
  }
  const HeadOfX& head(int64_t tile, int64_t block) const {
    return ((const HeadOfX*)codes(tile, x_tile_pairs(groups)))[block];
  }
};

// Makes the tile of `rows` <= 16 rows, whose records stand one row after the other.
inline void repack_x_tile(const uint32_t* records, int64_t rows, int64_t groups, uint32_t* tile) {
  auto* const codes = (int8_t*)tile;
  auto* const heads = (HeadOfX*)(tile + x_tile_pairs(groups) * (kTileSide * 16));
  if (rows < kTileSide || groups % kXBlock != 0) {
    __builtin_memset(tile, 0, (size_t)x_tile_words(groups) * 4);
  }
  for (int64_t t = 0; t < rows; ++t) {
    const uint32_t* record = records + t * groups * kInt8Words;
    for (int64_t g = 0; g < groups; ++g, record += kInt8Words) {
      __builtin_memcpy(codes + (g / 2 * kTileSide + t) * 64 + g % 2 * 32, record, 32);
      HeadOfX& head = heads[g / kXBlock];
      __builtin_memcpy(&head.scale[t], record + 8, 4);
      const auto sum = (int32_t)record[9];
      head.sum[g % kXBlock][t] = sum;
      head.total[g % kXBlock][t] = (float)sum;
    }
  }
}

}  // namespace
}  // namespace ruvllm::kernels
