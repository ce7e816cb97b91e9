// Codes of a QuantizedMatrix between its rows and the grouped panels of quant_panel.h. Lossless but
// for the input transform, which is not part of a panel. Portable code, run once at load and for
// single rows.
#pragma once

#include <cstdint>

#include "kernels/matmul/quant_panel.h"
#include "tensor/quantized_matrix.h"

namespace ruvllm::kernels {

// Whether the matrix has a panel form: integers, rows of whole groups of 32 columns, scales over
// whole groups or, with codes of up to 4 bits, half ones.
bool has_grouped_panels(const QuantizedMatrix& matrix);

// Whether each half of a group of 32 columns has a scale.
bool half_scales(const QuantizedMatrix& matrix);

QuantFormat grouped_format(int32_t bits, bool half_scales);

// Groups of 32 columns under one scale; with half scales 1.
int64_t scale_groups(const QuantizedMatrix& matrix);

// Whether products with it take one scale a row of x (QuantPanelArgs::one_x_scale): the matrix is
// symmetric, 8 bits wide and has one scale a row, what is known as W8A8 with one scale per token.
bool one_x_scale(const QuantizedMatrix& matrix);

// How the codes of a matrix stand in panels.
struct GroupedShape {
  int32_t bits;
  int64_t panel_rows;
  int64_t groups;
  int64_t scale_groups;
  bool compact;  // QuantPanelArgs::compact_scales
  bool halves;   // half scales
};

// Bytes of a panel, and of each header in it.
int64_t grouped_panel_bytes(const GroupedShape& shape);
int64_t grouped_header_bytes(const GroupedShape& shape);

// Rows [first, first + shape.panel_rows) of the matrix; those beyond its end become zeros. False:
// the shape is compact and a scale is no f16, or a zero point not among [0, 15], with 8 bits [0,
// 255], with 2 bits and half scales [0, 3]; what the panel holds then is undefined.
bool pack_grouped_panel(const QuantizedMatrix& matrix, const GroupedShape& shape, int64_t first,
                        uint8_t* panel);

// Row `row` of a panel as a matrix of one row with groups of 32 * scale_groups columns, or of 16.
QuantizedMatrix unpack_grouped_row(const GroupedShape& shape, const uint8_t* panel, int64_t row);

// The same row as numbers: (code - zero) * scale, rounded once.
void dequantize_grouped_row(const GroupedShape& shape, const uint8_t* panel, int64_t row,
                            float* out);

}  // namespace ruvllm::kernels
