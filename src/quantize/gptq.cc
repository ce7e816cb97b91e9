#include "quantize/gptq.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/line_vector.h"
#include "base/str.h"
#include "quantize/inverse_factor.h"
#include "quantize/matrix_strips.h"
#include "quantize/vector_math.h"

namespace ruvllm {
namespace {

constexpr int64_t kBlock = 128;  // columns whose effect on later ones is applied together
constexpr int64_t kLanes = kernels::kLaneRows;
constexpr int64_t kRows = 32;  // rows of one task: a strip of the factor is read once for them

// Some rows of W on their way through the columns.
class RowWalk {
 public:
  RowWalk(ConstMatrixF32 w, const GptqPlan& plan, const MatrixStrips& factor,
          const GptqOptions& options, int64_t first_row, QuantizedMatrix& out)
      : plan_(plan),
        factor_(factor),
        options_(options),
        out_(out),
        first_(first_row),
        count_(std::min(kRows, w.rows - first_row)),
        cols_(w.cols),
        stride_(MatrixStrips::padded(cols_) + kStripWidth),
        groups_((count_ + kLanes - 1) / kLanes * (kLanes / kTermRows)),
        w_(static_cast<size_t>(groups_ * kTermRows * stride_)),
        errors_(static_cast<size_t>(groups_ * kTermRows * kBlock)) {
    for (int64_t r = 0; r < count_; ++r) {
      const float* row = w.row(first_ + r);
      if (options_.static_groups) fit_static(first_ + r, row);
      for (int64_t j = 0; j < cols_; ++j) {
        const auto k = static_cast<size_t>(plan_.order[static_cast<size_t>(j)]);
        at(r, j) = plan_.dead[k] ? 0.0f : row[k];
      }
    }
  }

  void run() {
    for (int64_t begin = 0; begin < cols_; begin += kBlock) {
      const int64_t end = std::min(cols_, begin + kBlock);
      for (int64_t j = begin; j < end;) {
        int64_t to = end;
        if (!options_.static_groups) {
          if (j % out_.group_size == 0) fit_here(j);
          to = std::min(end, (j / out_.group_size + 1) * out_.group_size);
        }
        for (int64_t r = 0; r < count_; r += kLanes) round_columns(r, j, to, begin, end);
        j = to;
      }
      update_rest(begin, end);
    }
  }

 private:
  float& at(int64_t r, int64_t j) { return w_[static_cast<size_t>(r * stride_ + j)]; }

  void fit_static(int64_t row, const float* values) {
    for (int64_t g = 0; g < out_.num_groups(); ++g) {
      const int64_t begin = g * out_.group_size;
      set_group(out_, row, g,
                fit_group(options_.grid, values + begin, std::min(out_.group_size, cols_ - begin),
                          plan_.importance.data() + begin));
    }
  }

  // The group that begins at column j, from the weights as they are by now.
  void fit_here(int64_t j) {
    const int64_t count = std::min(out_.group_size, cols_ - j);
    importance_.resize(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      importance_[static_cast<size_t>(i)] =
          plan_.importance[static_cast<size_t>(plan_.order[static_cast<size_t>(j + i)])];
    }
    for (int64_t r = 0; r < count_; ++r) {
      set_group(out_, first_ + r, j / out_.group_size,
                fit_group(options_.grid, &at(r, j), count, importance_.data()));
    }
  }

  // Where the code of column j of the walk is stored.
  int64_t place(int64_t j) const {
    return options_.static_groups ? plan_.order[static_cast<size_t>(j)] : j;
  }

  // Columns [from, to) of the block [begin, end), of kLanes rows, and what that changes in the rest
  // of the block.
  void round_columns(int64_t first, int64_t from, int64_t to, int64_t begin, int64_t end) {
    float w[kBlock * kLanes], scales[kBlock * kLanes], zeros[kBlock * kLanes];
    float errors[kBlock * kLanes];
    uint8_t codes[kBlock * kLanes];
    for (int64_t r = 0; r < kLanes; ++r) {
      const bool none = first + r >= count_;  // rows that fill up
      for (int64_t j = from; j < end; ++j) w[(j - from) * kLanes + r] = at(first + r, j);
      for (int64_t j = from; j < to; ++j) {
        const GroupScale group =
            none ? GroupScale() : get_group(out_, first_ + first + r, place(j) / out_.group_size);
        scales[(j - from) * kLanes + r] = group.scale;
        zeros[(j - from) * kLanes + r] = static_cast<float>(group.zero);
      }
    }
    quantizer_kernels().walk_columns({w, plan_.factor.data() + from * cols_ + from, cols_, scales,
                                      zeros, options_.grid.max_code(), to - from, end - from,
                                      errors, codes});
    for (int64_t r = 0; r < kLanes; ++r) {
      const int64_t row = first + r;
      for (int64_t j = to; j < end; ++j) at(row, j) = w[(j - from) * kLanes + r];
      float* const out = errors_.data() + row / kTermRows * kTermRows * kBlock + row % kTermRows;
      for (int64_t j = from; j < to; ++j) {
        out[(j - begin) * kTermRows] = errors[(j - from) * kLanes + r];
        if (row >= count_) continue;
        out_.codes[static_cast<size_t>((first_ + row) * cols_ + place(j))] =
            codes[(j - from) * kLanes + r];
      }
    }
  }

  void update_rest(int64_t begin, int64_t end) {
    for (int64_t from = end; from < cols_; from += kStripWidth) {
      for (int64_t g = 0; g < groups_; ++g) {
        subtract_all_terms(&at(g * kTermRows, from), stride_,
                           errors_.data() + g * kTermRows * kBlock, end - begin,
                           factor_.at(begin, from));
      }
    }
  }

  const GptqPlan& plan_;
  const MatrixStrips& factor_;
  const GptqOptions& options_;
  QuantizedMatrix& out_;
  int64_t first_;
  int64_t count_;
  int64_t cols_;
  int64_t stride_;       // of w_: rows of a power of two would meet in a few places of a cache
  int64_t groups_;       // of kTermRows rows, the last filled up with zeros
  LineVector<float> w_;  // [rows, K], columns in the plan's order
  std::vector<float> errors_;  // [groups, kBlock, kTermRows]
  std::vector<float> importance_;
};

}  // namespace

double damping_term(std::span<const double> diagonal, double damping) {
  double mean = 0.0;
  for (const double h : diagonal) {
    mean += (h > 0.0 ? h : 1.0) / static_cast<double>(diagonal.size());
  }
  return damping * mean;
}

double damping_term(const std::vector<double>& hessian, int64_t cols, double damping) {
  std::vector<double> diagonal;
  for (int64_t k = 0; k < cols; ++k) {
    diagonal.push_back(hessian[static_cast<size_t>(k * cols + k)]);
  }
  return damping_term(diagonal, damping);
}

Result<GptqPlan> plan_gptq(const std::vector<double>& hessian, int64_t cols,
                           const GptqOptions& options, ThreadPool& pool) {
  const auto n = static_cast<size_t>(cols);
  RUVLLM_CHECK(hessian.size() == n * n, hessian.size(), " for ", cols);
  GptqPlan plan;
  plan.dead.resize(n);
  std::vector<double> diagonal(n);
  for (size_t k = 0; k < n; ++k) {
    diagonal[k] = hessian[k * n + k];
    if (!std::isfinite(diagonal[k])) {
      return fail(ErrorCode::kBadFile,
                  concat("input ", k, " is not a finite number somewhere in the calibration text"));
    }
    plan.dead[k] = !(diagonal[k] > 0.0);
    plan.importance.push_back(static_cast<float>(diagonal[k]));
    if (plan.dead[k]) diagonal[k] = 1.0;
  }
  plan.order.resize(n);
  std::iota(plan.order.begin(), plan.order.end(), 0);
  if (options.act_order) {
    std::ranges::stable_sort(plan.order, [&](int32_t a, int32_t b) {
      return diagonal[static_cast<size_t>(a)] > diagonal[static_cast<size_t>(b)];
    });
  }
  for (plan.damping = options.damping; plan.damping <= 1.0; plan.damping *= 3.0) {
    const double added = damping_term(hessian, cols, plan.damping);
    std::vector<double> h(n * n);
    pool.parallel_for(cols, [&](int64_t row, int) {
      const auto i = static_cast<size_t>(row);
      const auto from = static_cast<size_t>(plan.order[i]);
      for (size_t j = 0; j < n; ++j) {
        h[i * n + j] = hessian[from * n + static_cast<size_t>(plan.order[j])];
      }
      h[i * n + i] = diagonal[from] + added;
    });
    if (!invert_to_upper_factor(h, cols, pool)) continue;
    plan.factor.resize(n * n);
    pool.parallel_for(cols, [&](int64_t row, int) {
      const int64_t at = row * cols;
      std::copy_n(h.data() + at, cols, plan.factor.data() + at);
    });
    return plan;
  }
  return fail(ErrorCode::kInvalidArgument,
              concat("the inputs of the calibration text do not determine the ", cols,
                     " columns (singular, damped or not): give more text"));
}

QuantizedMatrix quantize_gptq(ConstMatrixF32 w, const GptqPlan& plan, const GptqOptions& options,
                              ThreadPool& pool) {
  QuantizedMatrix out = make_quantized(options.grid, w.rows, w.cols);
  const MatrixStrips factor(plan.factor, w.cols, pool);
  pool.parallel_for((w.rows + kRows - 1) / kRows, [&](int64_t task, int) {
    if (options.stop.raised()) return;
    RowWalk(w, plan, factor, options, task * kRows, out).run();
  });
  if (options.act_order && !options.static_groups) out.transform.permutation = plan.order;
  return out;
}

Result<QuantizedMatrix> quantize_gptq(ConstMatrixF32 w, const std::vector<double>& hessian,
                                      const GptqOptions& options, ThreadPool& pool) {
  RUVLLM_ASSIGN(const GptqPlan plan, plan_gptq(hessian, w.cols, options, pool));
  return quantize_gptq(w, plan, options, pool);
}

}  // namespace ruvllm
