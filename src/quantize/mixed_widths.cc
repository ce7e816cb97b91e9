#include "quantize/mixed_widths.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "base/log.h"
#include "base/str.h"
#include "model/decoder.h"
#include "quantize/watched_ops.h"

namespace ruvllm {
namespace {

struct Width {
  int32_t bits;
  int64_t group_size;
};
constexpr Width kWidths[] = {{2, 128}, {2, 64},  {2, 32}, {2, 16}, {3, 128}, {3, 64},
                             {3, 32},  {4, 128}, {4, 64}, {4, 32}, {8, 64}};
constexpr Width kMeasured = {3, 64};
constexpr int64_t kMostTokens = 2048;
constexpr int64_t kLeastTokens = 256;
constexpr double kTokenWeights = 4e9;  // tokens times parameters of one pass, about
constexpr int64_t kPieceTokens = 256;  // of a sample
constexpr int32_t kBlockTokens = 64;

Grid grid_of(Width width, const Grid& as) {
  Grid grid = as;
  grid.bits = width.bits;
  grid.group_size = width.group_size;
  grid.symmetric = as.symmetric || width.bits == 8;
  grid.search = width.bits < 8;
  return grid;
}

std::vector<float> read_matrix(const IsqMatrix& matrix, ThreadPool& pool) {
  std::vector<float> values(static_cast<size_t>(matrix.rows() * matrix.cols()));
  pool.parallel_for(matrix.rows(), [&](int64_t n, int) {
    read_matrix_row(matrix, n, values.data() + n * matrix.cols());
  });
  return values;
}

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

// Collects the inputs' mean squares in one pass; in others rounds one part.
class PartOps final : public WatchedOps {
 public:
  PartOps(std::unique_ptr<Ops> inner, const std::vector<IsqMatrix>& matrices, ThreadPool& pool)
      : WatchedOps(std::move(inner), matrices), pool_(pool), mean_square_(matrices.size()) {}

  void round(const std::vector<size_t>& part) { part_ = &part; }
  const std::vector<float>& mean_square(size_t matrix) const { return mean_square_[matrix]; }
  Status status() const { return status_; }

 private:
  bool watches(const IsqMatrix& matrix) const override {
    return !matrix.scheme.keep && !matrix.scheme.fixed && matrix.kind == MatrixKind::kLinear;
  }

  bool on_product(const Site& site, const MatmulArgs& args) override {
    if (part_ == nullptr) {
      std::vector<float> squares(static_cast<size_t>(args.x.cols));
      for (int64_t t = 0; t < args.x.rows; ++t) {
        for (size_t k = 0; k < squares.size(); ++k)
          squares[k] += args.x.row(t)[k] * args.x.row(t)[k];
      }
      for (const size_t i : site) mean_square_[i] = squares;
      return false;
    }
    const bool here = std::ranges::find(*part_, site.front()) != part_->end();
    int64_t rows = 0;
    for (const size_t i : site) rows += matrices()[i].rows();
    if (!here || rows != args.weight->rows()) return false;
    std::vector<QuantizedMatrix> quantized;
    for (const size_t i : site) quantized.push_back(rounded(i));
    status_ = multiply(args, quantized);
    return status_.has_value();
  }

  QuantizedMatrix rounded(size_t i) {
    const IsqMatrix& matrix = matrices()[i];
    const std::vector<float> values = read_matrix(matrix, pool_);
    const ConstMatrixF32 w{values.data(), matrix.rows(), matrix.cols(), matrix.cols()};
    return quantize_rtn(w, grid_of(kMeasured, matrix.scheme.grid));
  }

  ThreadPool& pool_;
  const std::vector<size_t>* part_ = nullptr;
  std::vector<std::vector<float>> mean_square_;
  Status status_;
};

// The model on the text: log probabilities at every row.
class Predictor {
 public:
  static Result<Predictor> make(const MixedWidthsArgs& args, PartOps& ops) {
    Predictor out;
    const ModelConfig& config = args.checkpoint.config;
    RUVLLM_ASSIGN(
        ModelWeights weights,
        load_weights({config, args.checkpoint.names, args.checkpoint.tensors, args.checkpoint.path,
                      ops, ComputeType::kF32, [](int64_t, int64_t) {}}));
    out.weights_ = std::make_unique<ModelWeights>(std::move(weights));
    out.place(args);
    if (out.ids_.empty()) return fail(ErrorCode::kInvalidArgument, "calibration: no samples");
    ModelConfig one_layer = config;
    one_layer.layers.resize(1);
    RUVLLM_ASSIGN(KvStorage kv, KvStorage::make(one_layer, DType::kF32, kBlockTokens));
    out.kv_ = std::make_unique<KvStorage>(std::move(kv));
    RUVLLM_TRY(out.kv_->reserve(out.blocks_));
    out.decoder_ = std::make_unique<TransformerDecoder>(config, *out.weights_, ops,
                                                        static_cast<int64_t>(out.ids_.size()));
    return out;
  }

  // [rows, V]
  MatrixF32 logits() {
    ForwardBatch batch;
    batch.ids = ids_;
    batch.sequences = sequences_;
    batch.output_rows = output_rows_;
    return decoder_->forward(batch, *kv_).logits;
  }

 private:
  void place(const MixedWidthsArgs& args) {
    int64_t parameters = 1;
    for (const IsqMatrix& matrix : args.matrices) parameters += matrix.rows() * matrix.cols();
    const auto wanted =
        std::clamp(static_cast<int64_t>(kTokenWeights / static_cast<double>(parameters)),
                   kLeastTokens, kMostTokens);
    const auto used = std::max<int64_t>(1, wanted / kPieceTokens);
    const auto count = static_cast<int64_t>(args.samples.size());
    for (int64_t i = 0; i < std::min(used, count); ++i) {
      // Spread over the samples there are.
      const auto& sample = args.samples[static_cast<size_t>(i * count / std::min(used, count))];
      SequenceSpan span;
      span.first_row = static_cast<int64_t>(ids_.size());
      span.num_tokens = std::min(kPieceTokens, static_cast<int64_t>(sample.size()));
      tables_.emplace_back();
      for (int64_t at = 0; at < span.num_tokens; at += kBlockTokens) {
        tables_.back().push_back(blocks_++);
      }
      ids_.insert(ids_.end(), sample.begin(), sample.begin() + span.num_tokens);
      sequences_.push_back(span);
    }
    for (size_t i = 0; i < tables_.size(); ++i) sequences_[i].block_table = tables_[i];
    // Logits of every fourth row: neighbours tell little more, and a large vocabulary costs memory.
    for (size_t i = 3; i < ids_.size(); i += 4) output_rows_.push_back(static_cast<int32_t>(i));
  }

  std::unique_ptr<ModelWeights> weights_;
  std::unique_ptr<KvStorage> kv_;
  std::unique_ptr<TransformerDecoder> decoder_;
  std::vector<int32_t> ids_;
  std::vector<std::vector<int32_t>> tables_;
  std::vector<SequenceSpan> sequences_;
  std::vector<int32_t> output_rows_;
  int32_t blocks_ = 0;
};

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
  Width width{};
  double bytes = 0.0;
  double cost = 0.0;
};

// What each width of a part would take and cost, relative to what was measured.
std::vector<Option> options_of(const std::vector<size_t>& part, double measured,
                               const MixedWidthsArgs& args, const PartOps& ops) {
  std::vector<Option> options;
  double reference = 0.0;
  for (const Width width : kWidths) options.push_back({width, 0.0, 0.0});
  for (const size_t i : part) {
    const IsqMatrix& matrix = args.matrices[i];
    const std::vector<float> values = read_matrix(matrix, *args.pool);
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
    if (matrix.scheme.keep || matrix.scheme.fixed || matrix.kind != MatrixKind::kLinear) continue;
    parts[{matrix.layer, input_of(matrix.role)}].matrices.push_back(i);
  }
  std::vector<PartWidth> out;
  for (auto& [key, part] : parts) out.push_back(std::move(part));
  return out;
}

}  // namespace

Result<std::vector<PartWidth>> choose_widths(const MixedWidthsArgs& args) {
  std::vector<PartWidth> parts = parts_of(args.matrices);
  if (parts.empty()) return parts;
  RUVLLM_ASSIGN(std::unique_ptr<Ops> inner, make_cpu_ops(args.pool->num_threads()));
  PartOps ops(std::move(inner), args.matrices, *args.pool);
  RUVLLM_ASSIGN(Predictor predictor, Predictor::make(args, ops));
  const MatrixF32 first = predictor.logits();
  std::vector<float> base;
  for (int64_t t = 0; t < first.rows; ++t) {
    to_log_probabilities(first.row(t), first.cols);
    base.insert(base.end(), first.row(t), first.row(t) + first.cols);
  }
  std::vector<std::vector<Option>> hulls;
  double weights = 0.0, least = 0.0;
  for (PartWidth& part : parts) {
    ops.round(part.matrices);
    part.divergence = divergence(base, predictor.logits(), *args.pool);
    RUVLLM_TRY(ops.status());
    hulls.push_back(hull_of(options_of(part.matrices, part.divergence, args, ops)));
    least += hulls.back().front().bytes;
    for (const size_t i : part.matrices) {
      weights += static_cast<double>(args.matrices[i].rows() * args.matrices[i].cols());
    }
  }
  const double budget = args.bits_per_weight / 8.0 * weights;
  if (least > budget) {
    return fail(ErrorCode::kInvalidArgument,
                concat("isq: auto: the narrowest widths take ", 8.0 * least / weights,
                       " bits per weight, more than ", args.bits_per_weight));
  }
  const std::vector<size_t> chosen = spend(hulls, budget);
  for (size_t i = 0; i < parts.size(); ++i) {
    const Width width = hulls[i][chosen[i]].width;
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
