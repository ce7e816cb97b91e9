#include "quantize/refine.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/float_types.h"
#include "quantize/vector_math.h"

namespace ruvllm {
namespace {

constexpr int64_t kRows = 16;    // rows of one task: a part of H in a cache serves all of them
constexpr int64_t kTerms = 128;  // rows of H ...
constexpr int64_t kTile = 256;   // ... by columns that are used at a time

// Some rows on their way down. `gradient_` is H (w - q), half the negative slope.
class RowDescent {
 public:
  RowDescent(QuantizedMatrix& matrix, ConstMatrixF32 w, const std::vector<float>& hessian,
             const RefineOptions& options, int64_t first_row)
      : matrix_(matrix),
        h_(hessian.data()),
        options_(options),
        first_(first_row),
        count_(std::min(kRows, matrix.rows - first_row)),
        cols_(matrix.cols),
        value_(static_cast<size_t>(count_ * cols_)),
        gradient_(value_.size()),
        step_(static_cast<size_t>(cols_)) {
    std::vector<float> difference(value_.size());
    for (int64_t r = 0; r < count_; ++r) {
      dequantize_codes(matrix_, first_ + r, values(r));
      for (int64_t k = 0; k < cols_; ++k) {
        difference[static_cast<size_t>(r * cols_ + k)] = values(r)[k] - w.row(first_ + r)[k];
      }
    }
    for (int64_t from = 0; from < cols_; from += kTile) {
      const int64_t width = std::min(kTile, cols_ - from);
      for (int64_t term = 0; term < cols_; term += kTerms) {
        for (int64_t r = 0; r < count_; ++r) {
          subtract_rows(gradient(r) + from, width, difference.data() + r * cols_ + term,
                        h_ + term * cols_ + from, cols_, std::min(kTerms, cols_ - term));
        }
      }
    }
  }

  void run() {
    for (int sweep = 0; sweep < options_.sweeps; ++sweep) {
      int64_t changed = 0;
      for (int64_t g = 0; g < matrix_.num_groups(); ++g) {
        for (int64_t r = 0; r < count_; ++r) fit_scale(r, g);
      }
      for (int64_t r = 0; options_.codes && r < count_; ++r) changed += fit_codes(r);
      if (changed == 0) return;
    }
  }

 private:
  float* values(int64_t r) { return value_.data() + r * cols_; }
  float* gradient(int64_t r) { return gradient_.data() + r * cols_; }
  uint8_t* codes(int64_t r) { return matrix_.codes.data() + (first_ + r) * cols_; }

  // The scale of a group by least squares, as it can be stored.
  void fit_scale(int64_t r, int64_t g) {
    const int64_t begin = g * matrix_.group_size;
    const int64_t count = std::min(matrix_.group_size, cols_ - begin);
    const GroupScale group = get_group(matrix_, first_ + r, g);
    for (int64_t i = 0; i < count; ++i) {
      step_[static_cast<size_t>(i)] =
          static_cast<float>(static_cast<int32_t>(codes(r)[begin + i]) - group.zero);
    }
    const double along = dot_lanes(step_.data(), gradient(r) + begin, count);
    double curvature = 0.0;
    for (int64_t i = 0; i < count; ++i) {
      curvature += double{step_[static_cast<size_t>(i)]} *
                   dot_lanes(h_ + (begin + i) * cols_ + begin, step_.data(), count);
    }
    if (!(curvature > 0.0)) return;
    float scale = static_cast<float>(double{group.scale} + along / curvature);
    if (options_.grid.f16_scales) scale = f16_to_f32(f32_to_f16(scale));
    if (!(scale >= 0x1p-24f) || !(scale <= 65504.0f)) return;
    const double by = double{scale} - double{group.scale};
    if (by == 0.0 || by * by * curvature >= 2.0 * by * along) return;
    set_group(matrix_, first_ + r, g, {scale, group.zero});
    for (int64_t i = 0; i < count; ++i) {
      step_[static_cast<size_t>(i)] *= static_cast<float>(by);
      values(r)[begin + i] = decode({scale, group.zero}, codes(r)[begin + i]);
    }
    subtract_rows(gradient(r), cols_, step_.data(), h_ + begin * cols_, cols_, count);
  }

  // Each code once, in order; gives how many changed.
  int64_t fit_codes(int64_t r) {
    int64_t changed = 0;
    float* slope = gradient(r);
    for (int64_t k = 0; k < cols_; ++k) {
      const float curvature = h_[k * cols_ + k];
      if (!(curvature > 0.0f)) continue;
      const GroupScale group = get_group(matrix_, first_ + r, k / matrix_.group_size);
      const uint8_t code = encode(options_.grid, group, values(r)[k] + slope[k] / curvature);
      if (code == codes(r)[k]) continue;
      const float now = decode(group, code);
      const float by = now - values(r)[k];
      // Ties, and rounding errors of the slope, do not count as better.
      if (by * by * curvature >= 2.0f * by * slope[k]) continue;
      codes(r)[k] = code;
      values(r)[k] = now;
      subtract_rows(slope, cols_, &by, h_ + k * cols_, 0, 1);
      ++changed;
    }
    return changed;
  }

  QuantizedMatrix& matrix_;
  const float* h_;
  const RefineOptions& options_;
  int64_t first_;
  int64_t count_;
  int64_t cols_;
  std::vector<float> value_;     // [rows, K]
  std::vector<float> gradient_;  // [rows, K]
  std::vector<float> step_;      // [group]
};

}  // namespace

void refine(QuantizedMatrix& matrix, ConstMatrixF32 w, const std::vector<float>& hessian,
            const RefineOptions& options, ThreadPool& pool) {
  RUVLLM_CHECK(hessian.size() == static_cast<size_t>(matrix.cols * matrix.cols), hessian.size());
  RUVLLM_CHECK(w.rows == matrix.rows && w.cols == matrix.cols, w.rows, w.cols);
  pool.parallel_for((matrix.rows + kRows - 1) / kRows, [&](int64_t task, int) {
    if (options.stop.raised()) return;
    RowDescent(matrix, w, hessian, options, task * kRows).run();
  });
}

}  // namespace ruvllm
