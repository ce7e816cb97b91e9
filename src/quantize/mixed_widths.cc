#include "quantize/mixed_widths.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <utility>

#include "base/log.h"
#include "base/str.h"
#include "quantize/sample_pass.h"
#include "quantize/watched_ops.h"

namespace ruvllm {
namespace {

constexpr GridWidth kMeasured = {3, 64};
constexpr int64_t kMostTokens = 2048;
constexpr int64_t kLeastTokens = 256;
constexpr double kTokenWeights = 4e9;  // tokens times parameters of one pass, about
constexpr int64_t kPieceTokens = 256;  // of a sample

// The parts: matrices of a layer that read the same input, experts of a layer together.
int input_of(Role role) {
  switch (role) {
    case Role::kQkv:
    case Role::kQ:
    case Role::kK:
    case Role::kV:
      return 0;
    case Role::kAttnOut:
      return 1;
    case Role::kDown:
    case Role::kExpertDown:
      return 3;
    default:
      return 2;
  }
}

// Whether its width is to be chosen.
bool is_open(const IsqMatrix& matrix) {
  return !matrix.scheme.keep && !matrix.scheme.fixed && matrix.kind == MatrixKind::kLinear;
}

// Collects the inputs' mean squares in one pass, in which weights are checked, too; in others
// rounds one part.
class PartOps final : public WatchedOps {
 public:
  PartOps(std::unique_ptr<Ops> inner, const MixedWidthsArgs& args)
      : WatchedOps(std::move(inner), args.matrices, args.stop),
        pool_(*args.pool),
        mean_square_(args.matrices.size()) {}

  void round(const std::vector<size_t>& part) { part_ = &part; }
  const std::vector<float>& mean_square(size_t matrix) const { return mean_square_[matrix]; }

 private:
  bool watches(const IsqMatrix& matrix) const override { return is_open(matrix); }

  Result<bool> on_product(const Site& site, const MatmulArgs& args) override {
    if (part_ == nullptr) {
      std::vector<float> squares(static_cast<size_t>(args.x.cols));
      for (int64_t t = 0; t < args.x.rows; ++t) {
        for (size_t k = 0; k < squares.size(); ++k) {
          squares[k] += args.x.row(t)[k] * args.x.row(t)[k];
        }
      }
      for (const size_t i : site) {
        mean_square_[i] = squares;
        RUVLLM_TRY(read_matrix(matrices()[i], pool_));
      }
      return false;
    }
    const bool here = std::ranges::find(*part_, site.front()) != part_->end();
    int64_t rows = 0;
    for (const size_t i : site) rows += matrices()[i].rows();
    if (!here || rows != args.weight->rows()) return false;
    std::vector<QuantizedMatrix> quantized;
    for (const size_t i : site) {
      const IsqMatrix& matrix = matrices()[i];
      RUVLLM_ASSIGN(const std::vector<float> values, read_matrix(matrix, pool_));
      quantized.push_back(quantize_rtn({values.data(), matrix.rows(), matrix.cols(), matrix.cols()},
                                       grid_of(kMeasured, matrix.scheme.grid)));
    }
    RUVLLM_TRY(multiply(args, quantized));
    return true;
  }

  ThreadPool& pool_;
  const std::vector<size_t>* part_ = nullptr;
  std::vector<std::vector<float>> mean_square_;
};

// The text of the measurement: pieces spread over the samples there are, more for small models.
std::vector<std::span<const int32_t>> pieces_of(const MixedWidthsArgs& args) {
  int64_t parameters = 1;
  for (const IsqMatrix& matrix : args.matrices) parameters += matrix.rows() * matrix.cols();
  const auto wanted =
      std::clamp(static_cast<int64_t>(kTokenWeights / static_cast<double>(parameters)),
                 kLeastTokens, kMostTokens);
  const auto count = static_cast<int64_t>(args.samples.size());
  const int64_t used = std::min(std::max<int64_t>(1, wanted / kPieceTokens), count);
  std::vector<std::span<const int32_t>> out;
  for (int64_t i = 0; i < used; ++i) {
    const std::span<const int32_t> sample = args.samples[static_cast<size_t>(i * count / used)];
    out.push_back(sample.first(std::min(static_cast<size_t>(kPieceTokens), sample.size())));
  }
  return out;
}

void to_log_probabilities(float* logits, int64_t count) {
  double sum = 0.0;
  const float most = *std::max_element(logits, logits + count);
  for (int64_t i = 0; i < count; ++i) sum += std::exp(double{logits[i] - most});
  const auto shift = static_cast<float>(double{most} + std::log(sum));
  for (int64_t i = 0; i < count; ++i) logits[i] -= shift;
}

// Mean KL divergence; `base` are log probabilities, `logits` become some.
double divergence(const std::vector<float>& base, MatrixF32 logits, ThreadPool& pool) {
  std::vector<double> sums(static_cast<size_t>(logits.rows));
  pool.parallel_for(logits.rows, [&](int64_t t, int) {
    to_log_probabilities(logits.row(t), logits.cols);
    const float* p = base.data() + t * logits.cols;
    for (int64_t i = 0; i < logits.cols; ++i) {
      sums[static_cast<size_t>(t)] += std::exp(double{p[i]}) * double{p[i] - logits.row(t)[i]};
    }
  });
  double total = 0.0;
  for (const double sum : sums) total += std::max(sum, 0.0);
  return total / static_cast<double>(logits.rows);
}

// Of one width of a part.
struct Option {
  GridWidth width{};
  double bytes = 0.0;
  double cost = 0.0;
};

// What each width of a part would take and cost, relative to what was measured.
Result<std::vector<Option>> options_of(const std::vector<size_t>& part, double measured,
                                       const MixedWidthsArgs& args, const PartOps& ops) {
  std::vector<Option> options;
  double reference = 0.0;
  for (const GridWidth width : kAutoWidths) options.push_back({width, 0.0, 0.0});
  for (const size_t i : part) {
    const IsqMatrix& matrix = args.matrices[i];
    RUVLLM_ASSIGN(const std::vector<float> values, read_matrix(matrix, *args.pool));
    const std::vector<float>& weight = ops.mean_square(i);
    for (Option& option : options) {
      const Grid grid = grid_of(option.width, matrix.scheme.grid);
      option.bytes += static_cast<double>(stored_bytes(grid, matrix.rows(), matrix.cols()));
      if (weight.empty()) continue;  // an expert that the text never chose
      const int64_t stride = std::max<int64_t>(1, matrix.rows() / 64);  // rows are alike: some do
      std::vector<double> errors(static_cast<size_t>((matrix.rows() + stride - 1) / stride));
      args.pool->parallel_for(static_cast<int64_t>(errors.size()), [&](int64_t at, int) {
        const float* row = values.data() + at * stride * matrix.cols();
        const QuantizedMatrix q =
            quantize_rtn({row, 1, matrix.cols(), matrix.cols()}, grid, weight.data());
        std::vector<float> back(static_cast<size_t>(matrix.cols()));
        dequantize_codes(q, 0, back.data());
        for (size_t k = 0; k < back.size(); ++k) {
          const double e = double{back[k]} - double{row[k]};
          errors[static_cast<size_t>(at)] += e * e * double{weight[k]};
        }
      });
      for (const double error : errors) option.cost += error;
    }
  }
  for (const Option& option : options) {
    if (option.width.bits == kMeasured.bits && option.width.group_size == kMeasured.group_size) {
      reference = option.cost;
    }
  }
  for (Option& option : options) {
    option.cost = reference > 0.0 ? option.cost / reference * measured : 0.0;
  }
  return options;
}

// Only what lies on the lower convex hull, from the smallest up.
std::vector<Option> hull_of(std::vector<Option> options) {
  std::ranges::sort(options, [](const Option& a, const Option& b) {
    return a.bytes != b.bytes ? a.bytes < b.bytes : a.cost < b.cost;
  });
  std::vector<Option> hull;
  for (const Option& option : options) {
    if (!hull.empty() && option.cost >= hull.back().cost) continue;
    const auto above = [&] {
      if (hull.size() < 2) return false;
      const Option& a = hull[hull.size() - 2];
      const Option& b = hull.back();
      return (b.cost - a.cost) * (option.bytes - a.bytes) >=
             (option.cost - a.cost) * (b.bytes - a.bytes);
    };
    while (above()) hull.pop_back();
    hull.push_back(option);
  }
  return hull;
}

// The step with the most gain per byte that still fits, until none does. Gives each part's choice.
std::vector<size_t> spend(const std::vector<std::vector<Option>>& hulls, double budget) {
  std::vector<size_t> chosen(hulls.size(), 0);
  double spent = 0.0;
  for (const auto& hull : hulls) spent += hull.front().bytes;
  while (true) {
    double best_gain = 0.0;
    size_t best = hulls.size();
    for (size_t i = 0; i < hulls.size(); ++i) {
      if (chosen[i] + 1 >= hulls[i].size()) continue;
      const Option& now = hulls[i][chosen[i]];
      const Option& next = hulls[i][chosen[i] + 1];
      if (spent + next.bytes - now.bytes > budget) continue;
      const double gain = (now.cost - next.cost) / (next.bytes - now.bytes);
      if (gain > best_gain) {
        best_gain = gain;
        best = i;
      }
    }
    if (best == hulls.size()) return chosen;
    spent += hulls[best][chosen[best] + 1].bytes - hulls[best][chosen[best]].bytes;
    ++chosen[best];
  }
}

std::vector<PartWidth> parts_of(const std::vector<IsqMatrix>& matrices) {
  std::map<std::pair<int32_t, int>, PartWidth> parts;
  for (size_t i = 0; i < matrices.size(); ++i) {
    const IsqMatrix& matrix = matrices[i];
    if (!is_open(matrix)) continue;
    parts[{matrix.layer, input_of(matrix.role)}].matrices.push_back(i);
  }
  std::vector<PartWidth> out;
  for (auto& [key, part] : parts) out.push_back(std::move(part));
  return out;
}

int64_t num_weights(const IsqMatrix& matrix) {
  return matrix.rows() * matrix.cols();
}

// What each part costs at 3 bits and could be, from one pass for each.
Result<std::vector<std::vector<Option>>> measure(const MixedWidthsArgs& args,
                                                 std::vector<PartWidth>& parts) {
  const auto total = static_cast<int64_t>(parts.size()) + 1;
  int64_t done = 0;
  const auto step = [&] {
    if (args.progress) args.progress(++done, total);
  };
  RUVLLM_ASSIGN(std::unique_ptr<Ops> inner, make_cpu_ops(args.pool->num_threads()));
  PartOps ops(std::move(inner), args);
  const std::vector<std::span<const int32_t>> pieces = pieces_of(args);
  RUVLLM_ASSIGN(SamplePass pass, SamplePass::make(args.checkpoint, ops, pieces));
  // Logits of every fourth row: neighbours tell little more, and a large vocabulary costs memory.
  std::vector<int32_t> output_rows;
  for (int64_t i = 3; i < pass.num_tokens(); i += 4) {
    output_rows.push_back(static_cast<int32_t>(i));
  }
  const MatrixF32 first = pass.run(output_rows);
  RUVLLM_TRY(ops.status());
  std::vector<float> base;
  for (int64_t t = 0; t < first.rows; ++t) {
    to_log_probabilities(first.row(t), first.cols);
    base.insert(base.end(), first.row(t), first.row(t) + first.cols);
  }
  if (!std::ranges::all_of(base, [](float v) { return std::isfinite(v); })) {
    return fail(ErrorCode::kBadFile,
                concat(args.checkpoint.path, ": isq: auto: the model's predictions on the ",
                       "calibration text are not finite numbers"));
  }
  step();
  std::vector<std::vector<Option>> hulls;
  for (PartWidth& part : parts) {
    ops.round(part.matrices);
    const MatrixF32 logits = pass.run(output_rows);
    RUVLLM_TRY(ops.status());
    part.divergence = divergence(base, logits, *args.pool);
    if (!std::isfinite(part.divergence)) {
      return fail(ErrorCode::kBadFile,
                  concat("isq: auto: ", args.matrices[part.matrices.front()].name,
                         ": with it at 3 bits the predictions are not finite numbers"));
    }
    RUVLLM_ASSIGN(std::vector<Option> options,
                  options_of(part.matrices, part.divergence, args, ops));
    RUVLLM_TRY(args.stop.status());
    hulls.push_back(hull_of(std::move(options)));
    step();
  }
  return hulls;
}

}  // namespace

Status check_width_budget(const std::vector<IsqMatrix>& matrices, double bits_per_weight) {
  double least = 0.0, weights = 0.0;
  for (const PartWidth& part : parts_of(matrices)) {
    double narrowest = INFINITY;
    for (const GridWidth width : kAutoWidths) {
      double bytes = 0.0;
      for (const size_t i : part.matrices) {
        const IsqMatrix& matrix = matrices[i];
        bytes += static_cast<double>(
            stored_bytes(grid_of(width, matrix.scheme.grid), matrix.rows(), matrix.cols()));
      }
      narrowest = std::min(narrowest, bytes);
    }
    least += narrowest;
    for (const size_t i : part.matrices) weights += static_cast<double>(num_weights(matrices[i]));
  }
  if (8.0 * least <= bits_per_weight * weights) return {};
  return fail(ErrorCode::kInvalidArgument,
              concat("isq: auto: the narrowest widths take ", 8.0 * least / weights,
                     " bits per weight, more than ", bits_per_weight));
}

Result<std::vector<PartWidth>> choose_widths(const MixedWidthsArgs& args) {
  RUVLLM_TRY(check_width_budget(args.matrices, args.bits_per_weight));
  std::vector<PartWidth> parts = parts_of(args.matrices);
  if (parts.empty()) return parts;
  RUVLLM_ASSIGN(const std::vector<std::vector<Option>> hulls, measure(args, parts));
  double weights = 0.0;
  for (const PartWidth& part : parts) {
    for (const size_t i : part.matrices) {
      weights += static_cast<double>(num_weights(args.matrices[i]));
    }
  }
  const std::vector<size_t> chosen = spend(hulls, args.bits_per_weight / 8.0 * weights);
  for (size_t i = 0; i < parts.size(); ++i) {
    const GridWidth width = hulls[i][chosen[i]].width;
    parts[i].bits = width.bits;
    parts[i].group_size = width.group_size;
    for (const size_t m : parts[i].matrices) {
      MatrixScheme& scheme = args.matrices[m].scheme;
      scheme.grid = grid_of(width, scheme.grid);
    }
    log_info("isq auto: ", args.matrices[parts[i].matrices.front()].name, " and ",
             parts[i].matrices.size() - 1, " more: ", width.bits, " bits, groups of ",
             width.group_size, " (3 bits here alone: divergence ", parts[i].divergence, ")");
  }
  return parts;
}

}  // namespace ruvllm
