#include "quantize/grid.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/float_types.h"
#include "base/str.h"
#include "quantize/vector_math.h"

namespace ruvllm {
namespace {

// Narrower ranges that are tried: 1, 0.98, ... 0.42 of the group's own.
constexpr int kSearchSteps = 30;
constexpr float kSearchStep = 0.02f;

// As it will be stored; never 0.
float storable(const Grid& grid, float scale) {
  if (!grid.f16_scales) return scale;
  const float rounded = f16_to_f32(f32_to_f16(std::min(scale, 65504.0f)));
  return std::max(rounded, 0x1p-24f);
}

// Weighted squared error of rounding the values to this scale.
double group_error(const Grid& grid, GroupScale group, const float* w, int64_t count,
                   const float* importance, std::vector<float>& scratch) {
  scratch.assign(w, w + count);
  round_group(grid, group, scratch.data(), count);
  for (int64_t i = 0; i < count; ++i) scratch[static_cast<size_t>(i)] -= w[i];
  if (importance == nullptr) return dot_lanes(scratch.data(), scratch.data(), count);
  const auto size = static_cast<size_t>(count);
  scratch.resize(2 * size);
  for (size_t i = 0; i < size; ++i) scratch[size + i] = scratch[i] * importance[i];
  return dot_lanes(scratch.data(), scratch.data() + size, count);
}

}  // namespace

GroupScale group_of_range(const Grid& grid, float lo, float hi) {
  GroupScale group;
  const auto levels = static_cast<float>(grid.max_code());
  if (grid.symmetric) {
    group.zero = static_cast<int16_t>(1 << (grid.bits - 1));
    const float absmax = std::max(-lo, hi);
    group.scale = storable(grid, absmax / static_cast<float>((1 << (grid.bits - 1)) - 1));
    if (absmax == 0.0f) group.scale = 1.0f;
    return group;
  }
  if (lo == hi) return group;  // all 0
  group.scale = storable(grid, (hi - lo) / levels);
  group.zero = static_cast<int16_t>(std::clamp(std::nearbyint(-lo / group.scale), 0.0f, levels));
  return group;
}

uint8_t encode(const Grid& grid, GroupScale group, float w) {
  // Between the ends of the grid first, so that any w may be rounded so.
  const float lowest = static_cast<float>(-group.zero);
  const float highest = static_cast<float>(grid.max_code() - group.zero);
  const float code = round_even(std::min(std::max(w / group.scale, lowest), highest));
  return static_cast<uint8_t>(static_cast<int32_t>(code) + group.zero);
}

void encode_group(const Grid& grid, GroupScale group, const float* w, int64_t count,
                  uint8_t* codes) {
  encode_to_grid(w, count, group.scale, static_cast<float>(-group.zero),
                 static_cast<float>(grid.max_code() - group.zero), group.zero, codes);
}

void round_group(const Grid& grid, GroupScale group, float* w, int64_t count) {
  round_to_grid(w, count, group.scale, static_cast<float>(-group.zero),
                static_cast<float>(grid.max_code() - group.zero));
}

GroupScale fit_group(const Grid& grid, const float* w, int64_t count, const float* importance) {
  const auto [lo, hi] = range_of(w, count);
  GroupScale best = group_of_range(grid, lo, hi);
  if (!grid.search || lo == hi) return best;
  thread_local std::vector<float> scratch;
  double least = group_error(grid, best, w, count, importance, scratch);
  for (int step = 1; step < kSearchSteps; ++step) {
    const float part = 1.0f - kSearchStep * static_cast<float>(step);
    const GroupScale candidate = group_of_range(grid, lo * part, hi * part);
    const double error = group_error(grid, candidate, w, count, importance, scratch);
    if (error >= least) continue;
    least = error;
    best = candidate;
  }
  return best;
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
