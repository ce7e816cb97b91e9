// Products with bf16 weights where the machine multiplies pairs of bf16: x is rounded to bf16 too,
// and y[n, t] = sum_k x[t, k] * w[n, k] in f32. Rounding of x: to nearest, ties to even, NaN stays
// NaN. In all that follows every operation is rounded to nearest even, subnormal inputs and results
// counting as zeros (what the instructions do whatever the control register says), and K is padded
// with zeros to a multiple of kBf16Step. Each kernel has one order of additions, for one row of x
// as for many:
//
// Tiles (AMX; simd/amx_tile.h has the instruction). From sum = 0, for each step of 32 columns in
// increasing order, with even = odd = 0,
//   for the pairs of columns (k, k + 1) of the step in increasing k
//     even = fma(x[k], w[k], even), odd = fma(x[k + 1], w[k + 1], odd)
//   sum = sum + (even + odd)
//
// Lanes (VDPBF16PS). The columns are cut into blocks of kBf16Block; in a block, from 0, lane l of
// 16 takes of each step of 32 columns the pair (k, k + 1), k % 32 = 2 l,
//   lane = fma(x[k + 1], w[k + 1], lane), then lane = fma(x[k], w[k], lane)
// then the lanes are added in the tree of float_dot.h, and the blocks' sums in increasing k.
//
// Kernels have no threads, allocate nothing and check nothing. No alignment is needed but that of
// the elements.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace ruvllm::kernels {

enum { kBf16Step = 32, kBf16Block = 2048, kBf16DotX = 16 };

// Packed x: rows in tiles of kBf16DotX (the last may be smaller), one after the other, columns
// padded with zeros to a multiple of kBf16Step. How a tile of n rows looks is the kernel's own:
// words of two bf16 (the lower half the even column), [steps][16][n] for tiles, [steps][n][16] for
// lanes. Words before row t of a product's x, t a multiple of kBf16DotX:
namespace {
static inline int64_t bf16_packed_words(int64_t t, int64_t cols) {
  return t * ((cols + kBf16Step - 1) / kBf16Step * (kBf16Step / 2));
}

// Room for a product's sums, which lie as the kernel likes.
static inline int64_t bf16_sum_floats(int64_t num_w, int64_t num_x) {
  const int64_t of_row = num_x == 1 ? 1 : (num_x + 31) / 32 * 32 + 16;
  return (num_w + 31) / 32 * 32 * of_row + 16;
}
}  // namespace

struct Bf16DotArgs {
  const void* w;  // num_w rows of cols elements, row_bytes apart
  int64_t row_bytes;
  int64_t num_w;
  int64_t cols;
  const uint32_t* x;  // packed
  int64_t num_x;
  float* sums;  // bf16_sum_floats()
  // How far ahead a single row of x fetches w, on vectors; kernels::stream_ahead_bytes().
  int64_t stream_ahead_bytes;
};

struct Bf16DotKernel {
  // Packs num_rows <= kBf16DotX rows: one tile.
  void (*pack_x)(const float* const* rows, int64_t num_rows, int64_t cols, uint32_t* out);
  void (*product)(const Bf16DotArgs*);
  // Of a product's sums those of rows t ... t + count - 1 of x, t a multiple of kBf16DotX and count
  // at most that: y[n, t + i] to rows[i * stride + n]. What follows a row of num_w, up to the next
  // multiple of 16, may be written, too.
  void (*take_rows)(const Bf16DotArgs*, int64_t t, int64_t count, float* rows, int64_t stride);
};

namespace avx512bf16 {
extern const Bf16DotKernel kBf16Dot;
}
namespace amx {
extern const Bf16DotKernel kBf16Dot;
}

}  // namespace ruvllm::kernels
