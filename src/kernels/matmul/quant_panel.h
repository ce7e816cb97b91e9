// Products with integer weights (tensor/quant_layout.h) and int8 activations (quantize_rows.h).
//
// Panels. R rows of w stand side by side (R: the instruction set's 32-bit lanes), group after
// group:
//   [two-level: every 8 groups first d: f16[R], and with minimums dmin: f16[R]]
//   scales      f16[R]; two-level: u8[R], half scales: i8[2][R]
//   minimums    f16[R]; two-level: u8[R]
//   high bits   5-bit codes: u8[R][4], bit j of byte [r][i] is bit 4 of the code of column 4j + i;
//               6-bit codes: u8[2][R][4], in plane p bits 2j, 2j+1 are bits 4, 5 of column 16p + 4j
//               + i
//   codes       8 bits: u8[8][R][4], columns 4j + i of row r at [j][r][i];
//               else nibbles u8[4][R][4], the low ones columns 4j + i, the high ones 16 + 4j + i
// Grouped formats (codes of QuantizedMatrix: I8, I4, I3, I2, and with half scales I4H, I3H, I2H)
// have instead
//   before every `scale_groups` groups: scales f32[R], zero points i16[R] (magnitudes <= 32,000);
//               compact: scales f16[R], zero points as codes: u8[R] (8 bits), else nibbles u8[R/2],
//               the low ones of the first R/2 rows, the high ones of the others
//   half scales: before every group scales f32[2][R], zero points i16[2][R] (magnitudes <= 100);
//               compact: scales f16[2][R]; zero points u8[R], the first half's in the low four
//               bits, the last one's in the high ones; 2-bit codes: nibbles u8[R/2] of rows as
//               above, the first half's in the low two bits, the last one's in the high ones
//   codes       8 and 4 bits: as above; 2 bits: u8[2][R][4], in plane p bits 2j, 2j+1 are the code
//   of
//               column 16p + 4j + i; 3 bits: first u8[R][4], bit j of byte [r][i] is bit 2 of the
//               code of column 4j + i, then as 2 bits
// One panel is one stream of memory. Rows beyond N are zeros.
//
// Arithmetic, the same on every instruction set bit for bit. x has one scale for each kXBlock
// groups (the last ones: what is left). A dot is the exact integer sum of (code - zero) * x over
// the columns of the block that share a scale of w: a group, half of one (half scales), or, of
// grouped formats, unit_groups(). For each output, over the blocks in increasing order,
//   from part = 0, for each dot: part = fma(float(dot), scale_w, part)
//     and, with minimums, then   part = fma(minimum, float(sum of the group's codes of x), part)
//   sum = fma(part, scale_x, sum).
// scale_w is d, or d * scale_code rounded to f32; the minimum is m, or -(m * min_code) rounded.
// QuantPanelArgs::one_x_scale: all columns are one block, and one dot.
#pragma once

#include "kernels/quantize/quantize_rows.h"
#include "kernels/quantize/quantize_tile.h"

namespace ruvllm::kernels {

// In the order of the table of formats in quant_panel_impl.h.
enum class QuantFormat : uint8_t {
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kI8,
  kI4,
  kI3,
  kI2,
  kI4H,
  kI3H,
  kI2H
};
enum { kNumQuantFormats = 15 };

// Rows of x stand in tiles of quantize_rows.h, one after the other: as many as possible of
// QuantPanelKernel::tile_rows, then one of next_tile_rows() of what is left, filled up with zeros.
// Or, where QuantPanelKernel::takes_tiles(), in the tiles of quantize_tile.h.
struct QuantPanelArgs {
  const uint8_t* panels;
  int64_t num_panels;
  int64_t panel_bytes;
  int64_t groups;     // K / 32
  const uint32_t* x;  // tiles of num_x rows
  int64_t num_x;
  float* sums;  // [num_x][num_panels * R], rows sums_stride apart
  int64_t sums_stride;
  int64_t scale_groups;  // grouped formats: groups under one scale of w; half scales: 1
  bool compact_scales;   // the same: how scales and zero points stand
  // Whether a row of x has one scale: codes of 8 bits, all zero points 128, one scale a row of w,
  // at most kMostExactColumns columns.
  bool one_x_scale;
  // With few rows of x on AVX2 and AVX-512: how far ahead of a panel's stream memory is fetched
  // into the first level. 0: as is best where the instruction set was measured first (DotForm).
  int64_t stream_ahead_bytes;
  // With many rows on AVX-512 with VNNI: the panels of the same shape that are likely multiplied
  // next here, which are fetched meanwhile; or null. Only a guess: they must exist.
  const uint8_t* next_panels;
};

// QuantPanelKernel::task_panels. Where three pass together, a multiple of three: on two cores of
// Zen 5, 12 instead of 16 give 2 to 3 % in Q8_0.
enum { kTaskPanels = 16, kTaskPanelsOfThrees = 12 };

typedef void (*QuantPanelProduct)(const QuantPanelArgs*);

struct QuantPanelKernel {
  int32_t panel_rows;   // R
  int32_t task_panels;  // of a product with many rows, at a time: the second level holds them
  int32_t tile_rows;    // the largest tile of x: products of so many rows read the weights once
  // Of x for products with more rows, and with one scale a row (one_x_scale) for more than half as
  // many; null: they take the same form.
  QuantizeTile quantize_tile;

  bool takes_tiles(int64_t num_x, bool one_x_scale) const {
    return quantize_tile != nullptr && num_x > (one_x_scale ? tile_rows / 2 : tile_rows);
  }
  QuantPanelProduct products[kNumQuantFormats];  // by QuantFormat
};

enum { kMostExactColumns = 65536 };  // whose sums of products of two bytes fit 32 bits

namespace {
// Groups of a grouped format whose products are summed as integers: those that a scale over
// `scale_groups` of all `groups` and one of x have in common wherever they begin.
static inline int64_t unit_groups(int64_t scale_groups, int64_t groups) {
  if (scale_groups % kXBlock == 0 || scale_groups >= groups) return kXBlock;
  return scale_groups % 2 == 0 ? 2 : 1;
}

// Rows of the next tile where `left` rows remain: 1, 2, 4 or `largest`.
static inline int64_t next_tile_rows(int64_t left, int64_t largest) {
  if (left >= largest) return largest;
  for (int64_t rows = 1; rows < 4; rows *= 2) {
    if (left <= rows) return rows;
  }
  return left <= 4 ? 4 : largest;
}
}  // namespace

namespace generic {
extern const QuantPanelKernel kQuantPanel;
}
namespace neon {
extern const QuantPanelKernel kQuantPanel;
}
namespace neon_dotprod {
extern const QuantPanelKernel kQuantPanel;
}
namespace neon_i8mm {
extern const QuantPanelKernel kQuantPanel;
}
namespace avx2 {
extern const QuantPanelKernel kQuantPanel;
}
namespace avxvnni {
extern const QuantPanelKernel kQuantPanel;
}
namespace avx512 {
extern const QuantPanelKernel kQuantPanel;
}
namespace avx512vnni {
extern const QuantPanelKernel kQuantPanel;
}
namespace amx {
extern const QuantPanelKernel kQuantPanel;
}

}  // namespace ruvllm::kernels
