#include "quantize/smoothquant.h"

#include <algorithm>
#include <cmath>

#include "base/function_ref.h"
#include "base/line_vector.h"
#include "quantize/grid.h"
#include "quantize/vector_math.h"

namespace ruvllm {
namespace {

std::vector<float> scale_of(const std::vector<float>& max_x, const std::vector<float>& max_w,
                            double alpha) {
  std::vector<float> scale(max_x.size(), 1.0f);
  if (alpha == 0.0) return scale;
  for (size_t k = 0; k < scale.size(); ++k) {
    const double s = std::pow(std::max(double{max_x[k]}, 1e-5), alpha) /
                     std::pow(std::max(double{max_w[k]}, 1e-5), 1.0 - alpha);
    scale[k] = static_cast<float>(std::max(s, 1e-5));
  }
  return scale;
}

// int8, one scale per row.
constexpr Grid kGrid{.bits = 8, .group_size = 0, .symmetric = true, .f16_scales = false};
constexpr int64_t kRows = 8;  // of W in a task: the inputs are read once for all of them
constexpr int64_t kColumns = 256;

void scale_row(const float* w, const std::vector<float>& scale, float* out) {
  for (size_t k = 0; k < scale.size(); ++k) out[k] = w[k] * scale[k];
}

// W X, [N, T].
std::vector<double> exact_outputs(ConstMatrixF32 w, ConstMatrixF32 x, ThreadPool& pool) {
  std::vector<double> out(static_cast<size_t>(w.rows * x.rows));
  pool.parallel_for((w.rows + kRows - 1) / kRows, [&](int64_t task, int) {
    const int64_t n = task * kRows;
    dots(w.row(n), w.row_stride, std::min(kRows, w.rows - n), x.data, x.row_stride, x.rows, w.cols,
         out.data() + n * x.rows);
  });
  return out;
}

// t(X), rounded to int8 with one scale per row; its rows are as far apart as those of x.
LineVector<float> rounded_inputs(const InputTransform& transform, ConstMatrixF32 x) {
  const auto cols = static_cast<size_t>(x.cols);
  LineVector<float> rounded(static_cast<size_t>(x.rows * x.row_stride));
  for (int64_t t = 0; t < x.rows; ++t) {
    float* row = rounded.data() + t * x.row_stride;
    apply_transform(transform, x.row(t), row, x.cols);
    float absmax = 0.0f;
    for (size_t k = 0; k < cols; ++k) absmax = std::max(absmax, std::abs(row[k]));
    if (absmax == 0.0f) continue;
    const float scale = absmax / 127.0f;
    for (size_t k = 0; k < cols; ++k) {
      row[k] = round_even(std::clamp(row[k] / scale, -127.0f, 127.0f)) * scale;
    }
  }
  return rounded;
}

// ||exact - Q x||^2, row(n, out) giving row n of Q.
double output_error(const std::vector<double>& exact, FunctionRef<void(int64_t, float*)> row,
                    ConstMatrixF32 x, ThreadPool& pool) {
  const int64_t rows = static_cast<int64_t>(exact.size()) / std::max<int64_t>(x.rows, 1);
  std::vector<double> errors(static_cast<size_t>(rows));
  pool.parallel_for((rows + kRows - 1) / kRows, [&](int64_t task, int) {
    const int64_t first = task * kRows;
    const int64_t count = std::min(kRows, rows - first);
    std::vector<float> values(static_cast<size_t>(count * x.cols));
    std::vector<double> outputs(static_cast<size_t>(count * x.rows));
    for (int64_t r = 0; r < count; ++r) row(first + r, values.data() + r * x.cols);
    dots(values.data(), x.cols, count, x.data, x.row_stride, x.rows, x.cols, outputs.data());
    for (int64_t r = 0; r < count; ++r) {
      double sum = 0.0;
      for (int64_t t = 0; t < x.rows; ++t) {
        const double y = exact[static_cast<size_t>((first + r) * x.rows + t)] -
                         outputs[static_cast<size_t>(r * x.rows + t)];
        sum += y * y;
      }
      errors[static_cast<size_t>(first + r)] = sum;
    }
  });
  double total = 0.0;
  for (const double error : errors) total += error;
  return total;
}

InputTransform transform_of(const SmoothScale& scale) {
  InputTransform out;
  if (scale.alpha == 0.0) return out;
  for (const float s : scale.scale) out.input_scale.push_back(1.0f / s);
  return out;
}

// [K], of all matrices.
std::vector<float> max_abs_of(std::span<const ConstMatrixF32> weights, int64_t cols,
                              ThreadPool& pool) {
  std::vector<float> out(static_cast<size_t>(cols));
  pool.parallel_for((cols + kColumns - 1) / kColumns, [&](int64_t task, int) {
    const int64_t end = std::min(cols, (task + 1) * kColumns);
    for (const ConstMatrixF32& w : weights) {
      for (int64_t n = 0; n < w.rows; ++n) {
        const float* const row = w.row(n);
        for (int64_t k = task * kColumns; k < end; ++k) {
          float& most = out[static_cast<size_t>(k)];
          most = std::max(most, std::abs(row[k]));
        }
      }
    }
  });
  return out;
}

}  // namespace

QuantizedMatrix quantize_smooth(ConstMatrixF32 w, const SmoothScale& scale, ThreadPool& pool) {
  QuantizedMatrix out = make_quantized(kGrid, w.rows, w.cols);
  pool.parallel_for((w.rows + kRows - 1) / kRows, [&](int64_t task, int) {
    std::vector<float> values(scale.scale.size());
    for (int64_t n = task * kRows; n < std::min(w.rows, (task + 1) * kRows); ++n) {
      scale_row(w.row(n), scale.scale, values.data());
      quantize_rtn_row(values.data(), kGrid, n, out);
    }
  });
  out.int8_activations = true;
  out.transform = transform_of(scale);
  return out;
}

double w8a8_error(ConstMatrixF32 w, const QuantizedMatrix& q, ConstMatrixF32 x, ThreadPool& pool) {
  const LineVector<float> rounded = rounded_inputs(q.transform, x);
  return output_error(
      exact_outputs(w, x, pool), [&](int64_t n, float* out) { dequantize_codes(q, n, out); },
      {rounded.data(), x.rows, x.cols, x.row_stride}, pool);
}

SmoothScale search_smooth_scale(std::span<const ConstMatrixF32> weights, const InputStats& stats,
                                ThreadPool& pool, StopFlag stop) {
  const std::vector<float> max_w = max_abs_of(weights, stats.cols(), pool);
  const ConstMatrixF32 x = stats.sample();
  std::vector<std::vector<double>> exact;
  for (const ConstMatrixF32& w : weights) exact.push_back(exact_outputs(w, x, pool));
  SmoothScale best;
  double least = INFINITY;
  for (const double alpha : {0.0, 0.5, 0.6, 0.7, 0.8, 0.9}) {
    if (stop.raised() && !best.scale.empty()) break;
    SmoothScale candidate{alpha, scale_of(stats.max_abs(), max_w, alpha)};
    const LineVector<float> rounded = rounded_inputs(transform_of(candidate), x);
    double error = 0.0;
    for (size_t i = 0; i < weights.size(); ++i) {
      // What quantize_smooth() gives, row by row.
      const auto row = [&](int64_t n, float* out) {
        scale_row(weights[i].row(n), candidate.scale, out);
        round_group(kGrid, fit_group(kGrid, out, x.cols), out, x.cols);
      };
      error += output_error(exact[i], row, {rounded.data(), x.rows, x.cols, x.row_stride}, pool);
    }
    if (error >= least) continue;
    least = error;
    best = std::move(candidate);
  }
  return best;
}

}  // namespace ruvllm
