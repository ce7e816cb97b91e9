#include "quantize/grid.h"

#include <algorithm>
#include <cmath>

#include "base/str.h"
#include "quantize/vector_math.h"

namespace ruvllm {
namespace {

// Narrower ranges that are tried: 1, 0.98, ... 0.42 of the group's own.
constexpr int kSearchSteps = 30;
constexpr float kSearchStep = 0.02f;

}  // namespace

uint8_t encode(const Grid& grid, GroupScale group, float w) {
  // Between the ends of the grid first, so that any w may be rounded so.
  const float lowest = static_cast<float>(-group.zero);
  const float highest = static_cast<float>(grid.max_code() - group.zero);
  const float code = round_even(std::min(std::max(w / group.scale, lowest), highest));
  return static_cast<uint8_t>(static_cast<int32_t>(code) + group.zero);
}

void encode_group(const Grid& grid, GroupScale group, const float* w, int64_t count,
                  uint8_t* codes) {
  quantizer_kernels().encode(w, count, group.scale, group.zero, grid.max_code(), codes);
}

void round_group(const Grid& grid, GroupScale group, float* w, int64_t count) {
  round_to_grid(w, count, group.scale, static_cast<float>(-group.zero),
                static_cast<float>(grid.max_code() - group.zero));
}

void ranges_of_group(const Grid& grid, const float* w, int64_t count, int steps, float step,
                     GroupRanges& out) {
  const auto [lo, hi] = range_of(w, count);
  quantizer_kernels().scales_of_ranges(
      {lo, hi, step, steps, grid.max_code(), grid.symmetric, grid.f16_scales}, out.scales,
      out.zeros);
  out.count = lo == hi ? 1 : steps;
}

GroupScale fit_group(const Grid& grid, const float* w, int64_t count, const float* importance) {
  GroupRanges ranges;
  ranges_of_group(grid, w, count, grid.search ? kSearchSteps : 1, kSearchStep, ranges);
  if (ranges.count == 1) return ranges.at(0);
  double errors[kernels::kMostGridRanges];
  quantizer_kernels().rounding_errors(w, importance, count, ranges.scales, ranges.zeros,
                                      ranges.count, grid.max_code(), errors);
  int best = 0;
  for (int i = 1; i < ranges.count; ++i) {
    if (errors[i] < errors[best]) best = i;
  }
  return ranges.at(best);
}

QuantizedMatrix make_quantized(const Grid& grid, int64_t rows, int64_t cols) {
  QuantizedMatrix matrix;
  matrix.rows = rows;
  matrix.cols = cols;
  matrix.bits = grid.bits;
  matrix.group_size = grid.group_of(cols);
  matrix.codes.resize(static_cast<size_t>(rows * cols));
  const auto groups = static_cast<size_t>(rows * matrix.num_groups());
  matrix.scales.resize(groups);
  if (grid.symmetric) {
    matrix.zero = 1 << (grid.bits - 1);
  } else {
    matrix.zeros.resize(groups);
  }
  return matrix;
}

void set_group(QuantizedMatrix& matrix, int64_t row, int64_t group, GroupScale value) {
  const auto at = static_cast<size_t>(row * matrix.num_groups() + group);
  matrix.scales[at] = value.scale;
  if (!matrix.zeros.empty()) matrix.zeros[at] = value.zero;
}

GroupScale get_group(const QuantizedMatrix& matrix, int64_t row, int64_t group) {
  return {matrix.scale_at(row, group), static_cast<int16_t>(matrix.zero_at(row, group))};
}

void quantize_rtn_row(const float* w, const Grid& grid, int64_t row, QuantizedMatrix& out) {
  const int64_t groups = out.num_groups();
  uint8_t* const codes = out.codes.data() + row * out.cols;
  if (!grid.search) {
    std::vector<int16_t> unused(out.zeros.empty() ? static_cast<size_t>(groups) : 0);
    int16_t* const zeros = out.zeros.empty() ? unused.data() : out.zeros.data() + row * groups;
    quantizer_kernels().round_row(
        {out.group_size, grid.max_code(), grid.symmetric, grid.f16_scales}, w, out.cols,
        out.scales.data() + row * groups, zeros, codes);
    return;
  }
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t begin = g * out.group_size;
    const int64_t count = std::min(out.group_size, out.cols - begin);
    const GroupScale group = fit_group(grid, w + begin, count);
    set_group(out, row, g, group);
    encode_group(grid, group, w + begin, count, codes + begin);
  }
}

QuantizedMatrix quantize_rtn(ConstMatrixF32 w, const Grid& grid, const float* importance) {
  QuantizedMatrix matrix = make_quantized(grid, w.rows, w.cols);
  for (int64_t n = 0; n < w.rows; ++n) {
    for (int64_t g = 0; g < matrix.num_groups(); ++g) {
      const int64_t begin = g * matrix.group_size;
      const int64_t count = std::min(matrix.group_size, w.cols - begin);
      const float* values = w.row(n) + begin;
      const float* weights = importance != nullptr ? importance + begin : nullptr;
      const GroupScale group = fit_group(grid, values, count, weights);
      set_group(matrix, n, g, group);
      encode_group(grid, group, values, count, matrix.codes.data() + n * w.cols + begin);
    }
  }
  return matrix;
}

Status check_finite(ConstMatrixF32 w) {
  for (int64_t n = 0; n < w.rows; ++n) {
    for (int64_t k = 0; k < w.cols; ++k) {
      if (std::isfinite(w.row(n)[k])) continue;
      return fail(ErrorCode::kBadFile, concat("element [", n, ", ", k, "] is not a finite number"));
    }
  }
  return {};
}

}  // namespace ruvllm
