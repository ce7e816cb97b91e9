// Products with float weights: y[t, n] = sum_k x[t, k] * w[n, k], where w is f32, or bf16 or f16
// widened exactly, and everything else is f32.
//
// The one order of additions, for one row as for many (V: float lanes of the instruction set,
// `lanes` below; K is padded with zeros to a multiple of V):
//   the columns are cut into blocks of kFloatBlock; in a block, lane l sums the products of the
//   columns k with k % V == l, in increasing k, each by one multiply-add starting from 0 (fused
//   where the instruction set has it); the lanes are added in a tree (16 lanes: l + (l+8) first;
//   then neighbours: ((0+1)+(2+3)) + ((4+5)+(6+7))); the blocks' sums are added in increasing k.
// float_dot_model.h says the same in plain C++; the tests hold every kernel to it bit for bit.
//
// Kernels have no threads, allocate nothing and check nothing.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace ruvllm::kernels {

enum { kFloatBlock = 512 };

// Up to this many rows of x stand in one tile, of w in one panel, in any instruction set.
enum { kMaxTileX = 8, kMaxTileW = 8 };

// A tile's product over one block of columns. x and w are packed: [columns / V][rows][V].
struct FloatTileArgs {
  const float* x;     // num_x rows, 1..tile_x
  const float* w;     // tile_w rows
  int64_t num_steps;  // columns / V, the padding included
  int64_t num_x;
  float* sums;  // [tile_w][num_x]: sums[n * sums_stride + t]
  int64_t sums_stride;
  int32_t accumulate;  // 0: the first block
};

// y[i] = the product of row i of w with x, over all columns.
struct FloatRowsArgs {
  const void* const* rows;  // num_rows pointers, any alignment
  int64_t num_rows;
  const float* x;  // cols elements and zeros up to a multiple of V
  int64_t cols;
  float* y;
};

// y[n] += scales[0] * row 0 of b at n, then scales[1] * row 1 ..., one multiply-add each.
struct FloatAddRowsArgs {
  const void* b;  // num_rows rows, `stride` elements apart
  int64_t stride;
  const float* scales;
  int64_t num_rows;
  float* y;
  int64_t cols;
};

struct FloatDotKernel {
  int32_t lanes;   // V
  int32_t tile_x;  // <= kMaxTileX
  int32_t tile_w;  // <= kMaxTileW
  void (*tile)(const FloatTileArgs*);
  // Packs `num_rows` rows of f32 [.., cols] into [padded cols / V][num_rows][V].
  void (*pack_x)(const float* const* rows, int64_t num_rows, int64_t cols, float* out);
  // Packs the columns of one block of num_rows <= tile_w rows (absent ones as zeros) into
  // [padded columns / V][tile_w][V], widened. `rows` point at the block's first column.
  void (*pack_f32)(const void* const* rows, int64_t num_rows, int64_t columns, float* out);
  void (*pack_bf16)(const void* const* rows, int64_t num_rows, int64_t columns, float* out);
  void (*pack_f16)(const void* const* rows, int64_t num_rows, int64_t columns, float* out);
  // One row of x: streams the weights once.
  void (*rows_f32)(const FloatRowsArgs*);
  void (*rows_bf16)(const FloatRowsArgs*);
  void (*rows_f16)(const FloatRowsArgs*);
  void (*add_rows_f32)(const FloatAddRowsArgs*);
  void (*add_rows_bf16)(const FloatAddRowsArgs*);
};

namespace generic {
extern const FloatDotKernel kFloatDot;
}
namespace neon {
extern const FloatDotKernel kFloatDot;
}
namespace avx2 {
extern const FloatDotKernel kFloatDot;
}
namespace avx512 {
extern const FloatDotKernel kFloatDot;
}

}  // namespace ruvllm::kernels
