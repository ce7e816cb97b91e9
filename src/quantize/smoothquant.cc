#include "quantize/smoothquant.h"

#include <algorithm>
#include <cmath>

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

}  // namespace

QuantizedMatrix quantize_smooth(ConstMatrixF32 w, const SmoothScale& scale) {
  Grid grid;
  grid.bits = 8;
  grid.group_size = 0;
  grid.symmetric = true;
  grid.f16_scales = false;
  std::vector<float> scaled(static_cast<size_t>(w.rows * w.cols));
  for (int64_t n = 0; n < w.rows; ++n) {
    for (int64_t k = 0; k < w.cols; ++k) {
      scaled[static_cast<size_t>(n * w.cols + k)] =
          w.row(n)[k] * scale.scale[static_cast<size_t>(k)];
    }
  }
  QuantizedMatrix out = quantize_rtn({scaled.data(), w.rows, w.cols, w.cols}, grid);
  out.int8_activations = true;
  if (scale.alpha == 0.0) return out;
  for (const float s : scale.scale) out.transform.input_scale.push_back(1.0f / s);
  return out;
}

double w8a8_error(ConstMatrixF32 w, const QuantizedMatrix& q, ConstMatrixF32 x, ThreadPool& pool) {
  const auto cols = static_cast<size_t>(w.cols);
  // t(X), rounded, once for all rows of W.
  std::vector<float> rounded(static_cast<size_t>(x.rows) * cols);
  for (int64_t t = 0; t < x.rows; ++t) {
    float* row = rounded.data() + static_cast<size_t>(t) * cols;
    apply_transform(q.transform, x.row(t), row, w.cols);
    float absmax = 0.0f;
    for (size_t k = 0; k < cols; ++k) absmax = std::max(absmax, std::abs(row[k]));
    if (absmax == 0.0f) continue;
    const float scale = absmax / 127.0f;
    for (size_t k = 0; k < cols; ++k) {
      row[k] = round_even(std::clamp(row[k] / scale, -127.0f, 127.0f)) * scale;
    }
  }
  std::vector<double> errors(static_cast<size_t>(w.rows));
  pool.parallel_for(w.rows, [&](int64_t n, int) {
    std::vector<float> line(cols);
    dequantize_codes(q, n, line.data());
    double sum = 0.0;
    for (int64_t t = 0; t < x.rows; ++t) {
      const double y =
          dot_lanes(w.row(n), x.row(t), w.cols) -
          dot_lanes(line.data(), rounded.data() + static_cast<size_t>(t) * cols, w.cols);
      sum += y * y;
    }
    errors[static_cast<size_t>(n)] = sum;
  });
  double total = 0.0;
  for (const double error : errors) total += error;
  return total;
}

SmoothScale search_smooth_scale(std::span<const ConstMatrixF32> weights, const InputStats& stats,
                                ThreadPool& pool, StopFlag stop) {
  std::vector<float> max_w(static_cast<size_t>(stats.cols()));
  for (const ConstMatrixF32& w : weights) {
    for (int64_t n = 0; n < w.rows; ++n) {
      for (size_t k = 0; k < max_w.size(); ++k) {
        max_w[k] = std::max(max_w[k], std::abs(w.row(n)[k]));
      }
    }
  }
  SmoothScale best;
  double least = INFINITY;
  for (const double alpha : {0.0, 0.5, 0.6, 0.7, 0.8, 0.9}) {
    if (stop.raised() && !best.scale.empty()) break;
    SmoothScale candidate{alpha, scale_of(stats.max_abs(), max_w, alpha)};
    double error = 0.0;
    for (const ConstMatrixF32& w : weights) {
      error += w8a8_error(w, quantize_smooth(w, candidate), stats.sample(), pool);
    }
    if (error >= least) continue;
    least = error;
    best = std::move(candidate);
  }
  return best;
}

}  // namespace ruvllm
