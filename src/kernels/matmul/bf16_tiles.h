// Products with bf16 weights where the machine multiplies tiles of bf16 (AMX): x is rounded to bf16
// too, and y[n, t] = sum_k x[t, k] * w[n, k] in f32.
//
// The one order of additions, for one row of x as for many (K is padded with zeros to a multiple of
// kBf16Step): from sum = 0, for each step of 32 columns in increasing order, with even = odd = 0,
//   for the pairs of columns (k, k + 1) of the step in increasing k
//     even = fma(x[k], w[k], even), odd = fma(x[k + 1], w[k + 1], odd)
//   sum = sum + (even + odd)
// every operation rounded to nearest even, subnormal inputs and results counting as zeros (what
// the instruction does, simd/amx_tile.h). Rounding of x: to nearest, ties to even, NaN stays NaN.
//
// Kernels have no threads, allocate nothing and check nothing. No alignment is needed but that of
// the elements.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace ruvllm::kernels {

enum { kBf16Step = 32, kBf16TileX = 16 };

// Packed x: rows in tiles of kBf16TileX (the last may be smaller), one after the other; a tile of n
// rows is [columns / 2][n] words of two bf16, the lower half the even column, columns padded with
// zeros to a multiple of kBf16Step. Words before row t of a product's x, t a multiple of
// kBf16TileX:
namespace {
static inline int64_t bf16_packed_words(int64_t t, int64_t cols) {
  return t * ((cols + kBf16Step - 1) / kBf16Step * (kBf16Step / 2));
}
}  // namespace

struct Bf16TileArgs {
  const void* w;  // num_w rows of cols elements, row_bytes apart
  int64_t row_bytes;
  int64_t num_w;
  int64_t cols;
  const uint32_t* x;  // packed
  int64_t num_x;
  float* sums;  // [num_w][num_x]: sums[n * sums_stride + t]
  int64_t sums_stride;
};

struct Bf16TileKernel {
  // Packs num_rows <= kBf16TileX rows, one tile.
  void (*pack_x)(const float* const* rows, int64_t num_rows, int64_t cols, uint32_t* out);
  void (*product)(const Bf16TileArgs*);
};

namespace amx {
extern const Bf16TileKernel kBf16Tiles;
}

}  // namespace ruvllm::kernels
