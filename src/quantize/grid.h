// The grid that the weights of one group are rounded to: how scale and zero point are chosen, and
// the code of a weight. Every quantizer uses it. Pure functions of f32 values; any thread.
#pragma once

#include <cstdint>

#include "kernels/quantizer/quantizer.h"
#include "tensor/quantized_matrix.h"
#include "tensor/tensor_view.h"

namespace ruvllm {

struct Grid {
  int32_t bits = 4;
  int64_t group_size = 32;  // columns; 0: one group per row
  // Symmetric: scale = absmax / (2^(b-1) - 1), zero 2^(b-1). Else scale = (max - min) / (2^b - 1)
  // with 0 between min and max, zero = round(-min / scale).
  bool symmetric = false;
  // Scales as they will be stored: rounded to f16 before codes are chosen. Off: f32.
  bool f16_scales = true;
  // Try ranges narrower than the group's own and keep the one with the smallest weighted squared
  // error: the best range of a few bits cuts off the tails.
  bool search = false;

  int32_t max_code() const { return (1 << bits) - 1; }
  int64_t group_of(int64_t cols) const {
    return group_size == 0 || group_size > cols ? cols : group_size;
  }
};

struct GroupScale {
  float scale = 1.0f;
  int16_t zero = 0;
};

// What ranges 1, 1 - step, ... (1 - (steps - 1) step) of the values' own give; one when all are 0.
struct GroupRanges {
  float scales[kernels::kMostGridRanges];
  float zeros[kernels::kMostGridRanges];
  int count = 0;

  GroupScale at(int i) const { return {scales[i], static_cast<int16_t>(zeros[i])}; }
};
void ranges_of_group(const Grid& grid, const float* w, int64_t count, int steps, float step,
                     GroupRanges& out);

// For `count` values. `importance`: a weight of each value's error in the search, or null: all 1.
GroupScale fit_group(const Grid& grid, const float* w, int64_t count,
                     const float* importance = nullptr);

uint8_t encode(const Grid& grid, GroupScale group, float w);
void encode_group(const Grid& grid, GroupScale group, const float* w, int64_t count,
                  uint8_t* codes);
inline float decode(GroupScale group, uint8_t code) {
  return static_cast<float>(static_cast<int32_t>(code) - group.zero) * group.scale;
}

// decode(encode(w)) in place.
void round_group(const Grid& grid, GroupScale group, float* w, int64_t count);

// A matrix of that grid with all codes, scales and zeros present and 0.
QuantizedMatrix make_quantized(const Grid& grid, int64_t rows, int64_t cols);
void set_group(QuantizedMatrix& matrix, int64_t row, int64_t group, GroupScale value);
GroupScale get_group(const QuantizedMatrix& matrix, int64_t row, int64_t group);

// Rounding to the nearest code, group by group. `importance` [K] or null.
// Row `row` of a matrix that make_quantized made, from its values [K], which are finite.
void quantize_rtn_row(const float* w, const Grid& grid, int64_t row, QuantizedMatrix& out);
QuantizedMatrix quantize_rtn(ConstMatrixF32 w, const Grid& grid, const float* importance = nullptr);

// kBadFile when some value is not a finite number, naming its place.
Status check_finite(ConstMatrixF32 w);

}  // namespace ruvllm
