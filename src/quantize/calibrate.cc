#include "quantize/calibrate.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "base/str.h"
#include "quantize/awq.h"
#include "quantize/fold_scales.h"
#include "quantize/gptq.h"
#include "quantize/input_drift.h"
#include "quantize/isq_checkpoint.h"
#include "quantize/refine.h"
#include "quantize/rotation.h"
#include "quantize/sample_pass.h"
#include "quantize/smoothquant.h"
#include "quantize/watched_ops.h"

namespace ruvllm {
namespace {

constexpr int64_t kSampleRows = 256;  // of an input, for the searches
constexpr int32_t kRotationBlock = 256;
// Of GPTQ's samples every so many run beside themselves unquantized, for input_drift.h. (All of
// them gained no more, at 2 and 4 bits.)
constexpr size_t kTwinStride = 4;
// Of those, so many tokens say how much of the change is to be trusted.
constexpr int64_t kHeldTokens = 256;
// Of the change that is best for one product, what is best for the model: later products make up
// for the rest, too. Measured at 2, 3 and 4 bits; the whole comes close.
constexpr float kDriftPart = 0.5f;

// Whether a matrix is to give what the exact one gives of the exact inputs.
bool makes_up_for_drift(const IsqMatrix& matrix) {
  return is_calibrated(matrix) && matrix.scheme.method == IsqMethod::kGptq;
}

// What GPTQ's matrices of one site share.
struct GptqSite {
  int64_t rows = 0;  // of them all
  InputDrift drift;
  std::optional<GptqPlan> plan;
  std::optional<FactorSolver> solver;  // refers to the plan
};

// The device of the pass: another one that does the arithmetic, watched.
class CalibratingOps final : public WatchedOps {
 public:
  CalibratingOps(std::unique_ptr<Ops> inner, const CalibrationArgs& args, int64_t num_twins)
      : WatchedOps(std::move(inner), args.matrices, args.stop, num_twins),
        args_(args),
        seen_(args.matrices.size()),
        total_(std::ranges::count_if(args.matrices, is_calibrated)) {}

  std::vector<FileTensor> take() { return std::move(results_); }

 private:
  bool watches(const IsqMatrix& matrix) const override { return is_calibrated(matrix); }

  Result<bool> on_product(const Site& site, const MatmulArgs& args) override {
    if (seen_[site.front()]) return false;
    seen_[site.front()] = true;
    const int64_t count = args.x.rows - num_twins();
    std::vector<QuantizedMatrix> quantized;
    RUVLLM_TRY(
        quantize(site, rows_of(args.x, 0, count), rows_of(args.x, count, num_twins()), quantized));
    if (done_ == total_) return true;  // nobody reads what the last of them gives
    int64_t rows = 0;
    for (const QuantizedMatrix& matrix : quantized) rows += matrix.rows;
    // (One stored beside it in the same product may be kept as it is.)
    if (rows != args.weight->rows() ||
        args_.matrices[site.front()].scheme.method != IsqMethod::kGptq) {
      return false;
    }
    RUVLLM_TRY(multiply(rows_of(args, 0, count), quantized));
    if (num_twins() > 0) inner().matmul(rows_of(args, count, num_twins()));
    return true;
  }

  // `exact`: the twins of the first rows of x.
  Status quantize(const std::vector<size_t>& site, ConstMatrixF32 x, ConstMatrixF32 exact,
                  std::vector<QuantizedMatrix>& out);
  Result<QuantizedMatrix> gptq(const IsqMatrix& matrix, ConstMatrixF32 w, InputStats& stats,
                               GptqSite& site);
  Result<std::vector<float>> make_up_for_drift(const IsqMatrix& matrix, ConstMatrixF32 w,
                                               GptqSite& site);
  QuantizedMatrix awq_matrix(const IsqMatrix& matrix, ConstMatrixF32 w, const AwqScale& scale,
                             const InputStats& stats);
  Status keep(const IsqMatrix& matrix, const QuantizedMatrix& quantized);

  const CalibrationArgs& args_;
  std::vector<bool> seen_;  // [matrices]: of a site its first, when it is quantized
  std::vector<FileTensor> results_;
  InputTransform rotation_;    // of the site at hand
  std::vector<float> damped_;  // X^T X of the site at hand, transformed and damped
  int64_t done_ = 0;
  int64_t total_;  // matrices
};

Status CalibratingOps::keep(const IsqMatrix& matrix, const QuantizedMatrix& quantized) {
  RUVLLM_ASSIGN(results_.emplace_back(), quantized_tensor(matrix, quantized));
  if (args_.progress) args_.progress(++done_, total_);
  return {};
}

// H damped for the descent, of inputs divided by `scale` (empty: as they are); inputs that are
// always 0 stay so.
std::vector<float> damped(const std::vector<double>& hessian, int64_t cols,
                          const std::vector<float>& scale, double damping, ThreadPool& pool) {
  const auto n = static_cast<size_t>(cols);
  const auto value = [&](size_t i, size_t j) {
    const double h = hessian[i * n + j];
    return scale.empty() ? h : h / (double{scale[i]} * double{scale[j]});
  };
  std::vector<double> diagonal(n);
  for (size_t k = 0; k < n; ++k) diagonal[k] = value(k, k);
  const double added = damping_term(diagonal, damping);
  std::vector<float> out(n * n);
  pool.parallel_for(cols, [&](int64_t row, int) {
    const auto i = static_cast<size_t>(row);
    for (size_t j = 0; j < n; ++j) out[i * n + j] = static_cast<float>(value(i, j));
    if (diagonal[i] > 0.0) out[i * n + i] = static_cast<float>(diagonal[i] + added);
  });
  return out;
}

// The weights to be rounded, in the space of the plan.
Result<std::vector<float>> CalibratingOps::make_up_for_drift(const IsqMatrix& matrix,
                                                             ConstMatrixF32 w, GptqSite& site) {
  std::vector<float> wanted = rotation_.empty()
                                  ? std::vector<float>(w.data, w.data + w.rows * w.cols)
                                  : rotate_rows(w, rotation_);
  if (site.drift.none() || !makes_up_for_drift(matrix)) return wanted;
  if (!site.solver) {
    RUVLLM_ASSIGN(site.solver, FactorSolver::make(inner(), *site.plan));
    if (site.rows > w.cols) RUVLLM_TRY(site.drift.solve(*site.solver, rotation_));
  }
  const std::vector<float> change = site.drift.change(w, *site.solver, rotation_);
  RUVLLM_ASSIGN(const double trusted,
                site.drift.trusted_part(w, {change.data(), w.rows, w.cols, w.cols}, rotation_));
  const float part = kDriftPart * static_cast<float>(trusted);
  for (size_t i = 0; i < wanted.size(); ++i) wanted[i] += part * change[i];
  return wanted;
}

Result<QuantizedMatrix> CalibratingOps::gptq(const IsqMatrix& matrix, ConstMatrixF32 w,
                                             InputStats& stats, GptqSite& site) {
  GptqOptions options;
  options.grid = matrix.scheme.grid;
  options.grid.search = options.grid.bits < 8;
  options.stop = stop();
  if (!site.plan) {
    rotation_ =
        matrix.scheme.rotate ? make_rotation(w.cols, kRotationBlock, args_.seed) : InputTransform();
    std::vector<double> rotated;
    if (!rotation_.empty()) {
      rotated = stats.hessian();
      rotate_hessian(rotated, w.cols, rotation_);
    }
    const std::vector<double>& hessian = rotation_.empty() ? stats.hessian() : rotated;
    RUVLLM_ASSIGN(site.plan, plan_gptq(hessian, w.cols, options, *args_.pool));
    damped_ = damped(hessian, w.cols, {}, site.plan->damping, *args_.pool);
  }
  RUVLLM_ASSIGN(const std::vector<float> wanted, make_up_for_drift(matrix, w, site));
  w = {wanted.data(), w.rows, w.cols, w.cols};
  QuantizedMatrix out = quantize_gptq(w, *site.plan, options, *args_.pool);
  if (options.grid.bits < 8) {
    refine(out, w, damped_, {.grid = options.grid, .stop = stop()}, *args_.pool);
  }
  out.transform = rotation_;
  return out;
}

// AWQ, then descent over all inputs together, where AWQ looks at each group alone.
QuantizedMatrix CalibratingOps::awq_matrix(const IsqMatrix& matrix, ConstMatrixF32 w,
                                           const AwqScale& scale, const InputStats& stats) {
  const Grid& grid = matrix.scheme.grid;
  const bool coarse = grid.bits < 8;
  QuantizedMatrix out = quantize_awq(w, scale, stats, grid, coarse, *args_.pool);
  if (!coarse) return out;
  const auto cols = static_cast<size_t>(w.cols);
  if (damped_.empty()) {  // X^T X of the scaled inputs
    damped_ = damped(stats.hessian(), w.cols, scale.scale, GptqOptions().damping, *args_.pool);
  }
  std::vector<float> scaled(static_cast<size_t>(w.rows) * cols);
  args_.pool->parallel_for(w.rows, [&](int64_t n, int) {
    for (size_t k = 0; k < cols; ++k) {
      scaled[static_cast<size_t>(n) * cols + k] = w.row(n)[k] * scale.scale[k];
    }
  });
  refine(out, {scaled.data(), w.rows, w.cols, w.cols}, damped_, {.grid = grid, .stop = stop()},
         *args_.pool);
  return out;
}

Status CalibratingOps::quantize(const std::vector<size_t>& site, ConstMatrixF32 x,
                                ConstMatrixF32 exact, std::vector<QuantizedMatrix>& out) {
  const IsqMethod method = args_.matrices[site.front()].scheme.method;
  std::vector<std::vector<float>> values;
  std::vector<ConstMatrixF32> weights;
  for (const size_t i : site) {
    const IsqMatrix& matrix = args_.matrices[i];
    RUVLLM_ASSIGN(values.emplace_back(), read_matrix(matrix, *args_.pool));
    weights.emplace_back(values.back().data(), matrix.rows(), matrix.cols(), matrix.cols());
  }
  InputStats stats(x.cols, method != IsqMethod::kSmoothQuant, kSampleRows);
  stats.add(x, *args_.pool);
  damped_.clear();
  GptqSite gptq_site;
  if (std::ranges::any_of(site, [&](size_t i) { return makes_up_for_drift(args_.matrices[i]); })) {
    for (const ConstMatrixF32& w : weights) gptq_site.rows += w.rows;
    RUVLLM_ASSIGN(gptq_site.drift, InputDrift::make(inner(), *args_.pool, exact, x,
                                                    std::min(kHeldTokens, exact.rows / 8)));
  }
  AwqScale awq;
  SmoothScale smooth;
  const Grid& grid = args_.matrices[site.front()].scheme.grid;
  const bool scaled =
      !args_.foldable_scales || can_fold(args_.checkpoint.config, args_.matrices, site);
  if (method == IsqMethod::kAwq) {
    awq = scaled ? search_awq_scale(weights, stats, grid, *args_.pool, stop())
                 : AwqScale{0.0, std::vector<float>(static_cast<size_t>(x.cols), 1.0f)};
  }
  if (method == IsqMethod::kSmoothQuant) {
    smooth = scaled ? search_smooth_scale(weights, stats, *args_.pool, stop())
                    : SmoothScale{0.0, std::vector<float>(static_cast<size_t>(x.cols), 1.0f)};
  }
  for (size_t i = 0; i < site.size(); ++i) {
    const IsqMatrix& matrix = args_.matrices[site[i]];
    if (method == IsqMethod::kAwq) {
      out.push_back(awq_matrix(matrix, weights[i], awq, stats));
    } else if (method == IsqMethod::kSmoothQuant) {
      out.push_back(quantize_smooth(weights[i], smooth, *args_.pool));
    } else {
      auto quantized = gptq(matrix, weights[i], stats, gptq_site);
      if (!quantized) {
        return fail(quantized.error().code, concat(matrix.tensor->file, ": tensor ", matrix.name,
                                                   ": ", quantized.error().message));
      }
      out.push_back(std::move(*quantized));
    }
    RUVLLM_TRY(stop().status());
    RUVLLM_TRY(keep(matrix, out.back()));
  }
  return {};
}

// How many tokens' activations fit.
int64_t tokens_that_fit(const ModelConfig& config, uint64_t max_bytes) {
  const int64_t heads = config.num_heads + 2 * int64_t{config.num_kv_heads};
  const int64_t wide = std::max(heads * config.head_dim, 2 * int64_t{config.ffn_size});
  const int64_t floats = 4 * int64_t{config.hidden_size} + wide + wide / 2 +
                         2 * int64_t{config.num_kv_heads} * config.head_dim + config.num_experts;
  return static_cast<int64_t>(max_bytes / (4 * static_cast<uint64_t>(floats)));
}

// Those that fit, each fourth with its twin if there are any.
void shorten(std::vector<std::vector<int32_t>>& samples, int64_t max_tokens, bool twins) {
  int64_t tokens = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    const auto size = static_cast<int64_t>(samples[i].size());
    tokens += twins && i % kTwinStride == 0 ? 2 * size : size;
    if (tokens <= max_tokens || i == 0) continue;
    log_warning("calibration: ", i, " of ", samples.size(),
                " samples are used, the memory set aside ", "for activations holds no more");
    samples.resize(i);
    return;
  }
}

// The samples in the order of a pass: those with twins, the others, the twins.
struct Pieces {
  Pieces(const std::vector<std::vector<int32_t>>& samples, bool twins) {
    for (size_t i = 0; i < samples.size() && twins; i += kTwinStride) {
      num_twins += static_cast<int64_t>(samples[i].size());
      all.push_back(samples[i]);
    }
    const size_t count = all.size();
    for (size_t i = 0; i < samples.size(); ++i) {
      if (!twins || i % kTwinStride != 0) all.push_back(samples[i]);
    }
    for (size_t i = 0; i < count; ++i) all.push_back(all[i]);
  }
  std::vector<std::span<const int32_t>> all;
  int64_t num_twins = 0;  // tokens
};

}  // namespace

bool is_calibrated(const IsqMatrix& matrix) {
  return !matrix.scheme.keep && needs_calibration(matrix.scheme.method);
}

Result<std::vector<FileTensor>> calibrate(CalibrationArgs args) {
  // (At 8 bits there is next to nothing to make up for.)
  const bool twins = std::ranges::any_of(args.matrices, [](const IsqMatrix& matrix) {
    return makes_up_for_drift(matrix) && matrix.scheme.grid.bits < 8;
  });
  shorten(args.samples, tokens_that_fit(args.checkpoint.config, args.max_activation_bytes), twins);
  const Pieces pieces(args.samples, twins);
  RUVLLM_ASSIGN(std::unique_ptr<Ops> inner, make_cpu_ops(args.pool->num_threads()));
  CalibratingOps ops(std::move(inner), args, pieces.num_twins);
  RUVLLM_ASSIGN(SamplePass pass, SamplePass::make(args.checkpoint, ops, pieces.all));
  pass.run();
  RUVLLM_TRY(ops.status());
  return ops.take();
}

}  // namespace ruvllm
