// Integer weights between the rows of a file (tensor/quant_layout.h) and the panels of
// quant_panel.h. Lossless: unpack_quant_groups gives back the bytes that pack_quant_panel took, but
// for bits that carry no value. Portable code, run once at load and for single rows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/matmul/quant_panel.h"
#include "tensor/quant_layout.h"

namespace ruvllm::kernels {

QuantFormat quant_format(const QuantLayout& layout);

// Bytes of a panel of `panel_rows` rows of `groups` groups.
int64_t quant_panel_bytes(const QuantLayout& layout, int64_t panel_rows, int64_t groups);

// rows: num_rows <= panel_rows pointers to rows of blocks; the others become zeros.
void pack_quant_panel(const QuantLayout& layout, const std::byte* const* rows, int64_t num_rows,
                      int64_t panel_rows, int64_t groups, uint8_t* panel);

// Groups [first, first + count) of row `row` of a panel as the file's blocks, whole ones: with
// two-level scales `first` and `count` are multiples of 8.
void unpack_quant_groups(const QuantLayout& layout, const uint8_t* panel, int64_t row,
                         int64_t panel_rows, int64_t first, int64_t count, std::byte* out);

}  // namespace ruvllm::kernels
