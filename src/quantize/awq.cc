#include "quantize/awq.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "quantize/vector_math.h"

namespace ruvllm {
namespace {

constexpr int kRatios = 20;
// Rows of a matrix that the search of the ratio looks at when it has twice as many or more, at even
// distances: hundreds of rows agree with all on which of 20 ratios is best.
constexpr int64_t kLeastRows = 512;
// Of these, rows of one task: the sample is read once for all of them.
constexpr int64_t kRows = 8;
// Ranges 1, 0.975, ... 0.4 of the group's own.
constexpr int kClipSteps = 25;
constexpr float kClipStep = 0.025f;

// Rows with the X^T X of the sample.
struct ShortRows {
  std::vector<float> memory;
  ConstMatrixF32 rows;
  bool triangular = false;  // nothing left of the diagonal
};

// ||E X|| is ||E R|| for R with R^T R = X^T X: when the sample has more rows than inputs, the
// triangular factor (Cholesky, in f64) stands for it at a fraction of the work.
ShortRows shorten(ConstMatrixF32 x) {
  const int64_t n = x.cols;
  ShortRows out{{}, x, false};
  if (x.rows <= n) return out;
  std::vector<double> r(static_cast<size_t>(n * n));
  const auto at = [&](int64_t i, int64_t j) -> double& {
    return r[static_cast<size_t>(i * n + j)];
  };
  for (int64_t t = 0; t < x.rows; ++t) {
    const float* row = x.row(t);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = i; j < n; ++j) at(i, j) += double{row[i]} * double{row[j]};
    }
  }
  for (int64_t i = 0; i < n; ++i) {
    const double whole = at(i, i);
    for (int64_t k = 0; k < i; ++k) {
      const double factor = at(k, i);
      for (int64_t j = i; j < n; ++j) at(i, j) -= factor * at(k, j);
    }
    if (!(at(i, i) > 1e-9 * whole)) return out;  // inputs that others determine: as they are
    const double root = std::sqrt(at(i, i));
    for (int64_t j = i; j < n; ++j) at(i, j) /= root;
  }
  out.memory.assign(r.begin(), r.end());
  out.rows = {out.memory.data(), n, n, n};
  out.triangular = true;
  return out;
}

std::vector<float> scale_of(const std::vector<float>& mean_abs, double ratio) {
  std::vector<float> scale(mean_abs.size(), 1.0f);
  if (ratio == 0.0) return scale;
  float least = INFINITY;
  float most = 0.0f;
  for (size_t k = 0; k < scale.size(); ++k) {
    scale[k] = std::max(std::pow(mean_abs[k], static_cast<float>(ratio)), 1e-4f);
    least = std::min(least, scale[k]);
    most = std::max(most, scale[k]);
  }
  const float norm = std::sqrt(least * most);
  for (float& s : scale) s /= norm;
  return scale;
}

// Q(w s) / s - w of one row. `importance`: of the scaled inputs.
void rounding_error(const Grid& grid, const float* w, const std::vector<float>& scale,
                    const std::vector<float>& importance, float* out) {
  const auto cols = static_cast<int64_t>(scale.size());
  for (size_t k = 0; k < scale.size(); ++k) out[k] = w[k] * scale[k];
  const int64_t size = grid.group_of(cols);
  for (int64_t begin = 0; begin < cols; begin += size) {
    const int64_t end = std::min(cols, begin + size);
    const GroupScale group = fit_group(grid, out + begin, end - begin, importance.data() + begin);
    round_group(grid, group, out + begin, end - begin);
  }
  for (size_t k = 0; k < scale.size(); ++k) out[k] = out[k] / scale[k] - w[k];
}

// sums[r] = sum over the sample of (x . error)^2 for `count` rows of errors.
void squared_outputs(const ShortRows& x, const float* errors, int64_t count,
                     std::vector<double>& outputs, double* sums) {
  const int64_t cols = x.rows.cols;
  const int64_t samples = x.rows.rows;
  outputs.resize(static_cast<size_t>(count * samples));
  if (x.triangular) {
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t t = 0; t < samples; ++t) {
        outputs[static_cast<size_t>(r * samples + t)] =
            dot_lanes(x.rows.row(t) + t, errors + r * cols + t, cols - t);
      }
    }
  } else {
    dots(errors, cols, count, x.rows.data, x.rows.row_stride, samples, cols, outputs.data());
  }
  for (int64_t r = 0; r < count; ++r) {
    sums[r] = 0.0;
    for (int64_t t = 0; t < samples; ++t) {
      const double y = outputs[static_cast<size_t>(r * samples + t)];
      sums[r] += y * y;
    }
  }
}

double scale_error(std::span<const ConstMatrixF32> weights, const std::vector<float>& scale,
                   const std::vector<float>& mean_square, const ShortRows& x, const Grid& grid,
                   ThreadPool& pool) {
  struct Scratch {
    std::vector<float> errors;
    std::vector<double> outputs;
  };
  double total = 0.0;
  const size_t cols = scale.size();
  std::vector<float> importance = mean_square;
  for (size_t k = 0; k < cols; ++k) importance[k] /= scale[k] * scale[k];
  std::vector<Scratch> scratch(static_cast<size_t>(pool.num_threads()));
  for (const ConstMatrixF32& w : weights) {
    const int64_t stride = std::max<int64_t>(1, w.rows / kLeastRows);
    const int64_t rows = (w.rows + stride - 1) / stride;
    std::vector<double> sums(static_cast<size_t>(rows));
    pool.parallel_for((rows + kRows - 1) / kRows, [&](int64_t task, int worker) {
      const int64_t first = task * kRows;
      const int64_t count = std::min(kRows, rows - first);
      auto& [errors, outputs] = scratch[static_cast<size_t>(worker)];
      errors.resize(static_cast<size_t>(kRows) * cols);
      for (int64_t r = 0; r < count; ++r) {
        rounding_error(grid, w.row((first + r) * stride), scale, importance,
                       errors.data() + static_cast<size_t>(r) * cols);
      }
      squared_outputs(x, errors.data(), count, outputs, sums.data() + first);
    });
    double sum = 0.0;
    for (const double error : sums) sum += error;
    total += sum * static_cast<double>(w.rows) / static_cast<double>(rows);
  }
  return total;
}

// One row of W * scale, group by group.
class ClippedRow {
 public:
  // `inverse`: of the scales. `blocks`: of H, those that groups of `width` inputs have on its
  // diagonal, row after row.
  ClippedRow(const Grid& grid, const std::vector<float>& inverse, const std::vector<float>& blocks,
             int64_t width)
      : grid_(grid), inverse_(inverse), blocks_(blocks), width_(width) {}

  // For the values [begin, begin + count) of the scaled row. Narrower ranges clip when they are
  // rounded.
  GroupScale fit(const float* values, int64_t begin, int64_t count, bool clip) {
    if (!clip) return fit_group(grid_, values, count);
    GroupRanges ranges;
    ranges_of_group(grid_, values, count, kClipSteps, kClipStep, ranges);
    scratch_.resize(static_cast<size_t>(8 * width_));
    double errors[kernels::kMostGridRanges];
    quantizer_kernels().quadratic_errors({values, inverse_.data() + begin, count,
                                          blocks_.data() + begin * width_, width_, scratch_.data()},
                                         ranges.scales, ranges.zeros, ranges.count,
                                         grid_.max_code(), errors);
    return ranges.at(static_cast<int>(std::min_element(errors, errors + ranges.count) - errors));
  }

 private:
  const Grid& grid_;
  const std::vector<float>& inverse_;
  const std::vector<float>& blocks_;
  int64_t width_;
  std::vector<float> scratch_;
};

std::vector<float> diagonal_blocks(const std::vector<double>& hessian, int64_t cols,
                                   int64_t width) {
  std::vector<float> out(static_cast<size_t>(cols * width));
  for (int64_t i = 0; i < cols; ++i) {
    const int64_t begin = i / width * width;
    const double* row = hessian.data() + i * cols + begin;
    std::copy_n(row, std::min(width, cols - begin), out.begin() + i * width);
  }
  return out;
}

}  // namespace

AwqScale search_awq_scale(std::span<const ConstMatrixF32> weights, const InputStats& stats,
                          const Grid& grid, ThreadPool& pool, StopFlag stop) {
  const std::vector<float> mean_abs = stats.mean_abs();
  const std::vector<float> mean_square = stats.mean_square();
  const ShortRows sample = shorten(stats.sample());
  AwqScale best;
  double least = INFINITY;
  for (int i = 0; i < kRatios && (i == 0 || !stop.raised()); ++i) {
    const double ratio = static_cast<double>(i) / kRatios;
    std::vector<float> scale = scale_of(mean_abs, ratio);
    const double error = scale_error(weights, scale, mean_square, sample, grid, pool);
    if (error >= least) continue;
    least = error;
    best = {ratio, std::move(scale)};
  }
  return best;
}

QuantizedMatrix quantize_awq(ConstMatrixF32 w, const AwqScale& scale, const InputStats& stats,
                             const Grid& grid, bool clip, ThreadPool& pool) {
  QuantizedMatrix out = make_quantized(grid, w.rows, w.cols);
  const std::vector<float> blocks =
      clip ? diagonal_blocks(stats.hessian(), w.cols, out.group_size) : std::vector<float>();
  std::vector<float> inverse;
  for (const float s : scale.scale) inverse.push_back(1.0f / s);
  pool.parallel_for(w.rows, [&](int64_t n, int) {
    ClippedRow row(grid, inverse, blocks, out.group_size);
    std::vector<float> values(w.row(n), w.row(n) + w.cols);
    for (size_t k = 0; k < values.size(); ++k) values[k] *= scale.scale[k];
    for (int64_t g = 0; g < out.num_groups(); ++g) {
      const int64_t begin = g * out.group_size;
      const int64_t count = std::min(out.group_size, w.cols - begin);
      const GroupScale group = row.fit(values.data() + begin, begin, count, clip);
      set_group(out, n, g, group);
      encode_group(grid, group, values.data() + begin, count,
                   out.codes.data() + n * w.cols + begin);
    }
  });
  if (scale.ratio != 0.0) out.transform.input_scale = std::move(inverse);
  return out;
}

}  // namespace ruvllm
