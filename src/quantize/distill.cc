#include "quantize/distill.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/str.h"
#include "quantize/decoder_gradient.h"
#include "quantize/divergence_loss.h"
#include "quantize/isq_checkpoint.h"
#include "quantize/tuned_matrix.h"

namespace ruvllm {
namespace {

constexpr size_t kSequenceTokens = 256;
constexpr size_t kStepSequences = 2;
constexpr double kWarmUp = 0.03;  // of all steps
constexpr uint64_t kOrderStream = 0x7475;

using Sequence = std::span<const int32_t>;

std::vector<Sequence> sequences_of(const std::vector<std::vector<int32_t>>& samples) {
  std::vector<Sequence> out;
  for (const std::vector<int32_t>& sample : samples) {
    for (size_t at = 0; at < sample.size(); at += kSequenceTokens) {
      out.push_back(Sequence(sample).subspan(at, std::min(kSequenceTokens, sample.size() - at)));
    }
  }
  return out;
}

int64_t steps_of_pass(size_t num_sequences) {
  return static_cast<int64_t>((num_sequences + kStepSequences - 1) / kStepSequences);
}

// What is being tuned, and beside it what the file will hold. Takes the gradients, too.
class TunedModel final : public MatrixRows, public GradientSink {
 public:
  TunedModel(const std::vector<IsqMatrix>& matrices, ThreadPool& pool)
      : matrices_(matrices), pool_(pool), ready_(matrices.size()), tuned_(matrices.size()) {}

  Status begin(const std::vector<FileTensor>& starts) {
    for (size_t i = 0; i < matrices_.size(); ++i) {
      const auto start = std::ranges::find(starts, matrices_[i].name, &FileTensor::name);
      if (start != starts.end()) {
        RUVLLM_ASSIGN(ready_[i], start->quantized->read());
        RUVLLM_CHECK(ready_[i].transform.empty(), matrices_[i].name);
      }
      if (is_tuned(matrices_[i])) RUVLLM_TRY(begin_matrix(i));
    }
    return {};
  }

  void read(size_t index, int64_t row, float* out) const override {
    if (tuned_[index] != nullptr) return tuned_[index]->read_row(row, out);
    if (ready_[index].rows != 0) return dequantize_codes(ready_[index], row, out);
    const IsqMatrix& matrix = matrices_[index];
    read_matrix_row(matrix, row, out);
    if (matrix.scheme.keep) return;
    QuantizedMatrix rounded = make_quantized(matrix.scheme.grid, 1, matrix.cols());
    quantize_rtn_row(out, matrix.scheme.grid, 0, rounded);
    dequantize_codes(rounded, 0, out);
  }

  void set_step(const AdamStep& step) { step_ = step; }
  bool wants(size_t matrix) const override { return tuned_[matrix] != nullptr; }
  void take(size_t matrix, int64_t first, ConstMatrixF32 gradient) override {
    for (int64_t i = 0; i < gradient.rows; ++i) {
      tuned_[matrix]->move_row(first + i, gradient.row(i), step_);
    }
  }

  Result<std::vector<FileTensor>> tensors() const {
    std::vector<FileTensor> out;
    for (size_t i = 0; i < matrices_.size(); ++i) {
      if (tuned_[i] == nullptr && ready_[i].rows == 0) continue;
      RUVLLM_ASSIGN(out.emplace_back(),
                    quantized_tensor(matrices_[i],
                                     tuned_[i] != nullptr ? tuned_[i]->quantized() : ready_[i]));
    }
    return out;
  }

 private:
  // Where GPTQ made codes, latents begin half way between them and the weights: codes say what
  // makes up for what, weights how near the next code is.
  Status begin_matrix(size_t index) {
    const IsqMatrix& matrix = matrices_[index];
    const int64_t rows = matrix.rows(), cols = matrix.cols();
    RUVLLM_ASSIGN(std::vector<float> w, read_matrix(matrix, pool_));
    QuantizedMatrix start = std::exchange(ready_[index], {});
    const bool rounded = start.rows == 0;
    if (rounded) start = make_quantized(matrix.scheme.grid, rows, cols);
    pool_.parallel_for(rows, [&](int64_t n, int) {
      float* const row = w.data() + n * cols;
      if (rounded) return quantize_rtn_row(row, matrix.scheme.grid, n, start);
      std::vector<float> codes(static_cast<size_t>(cols));
      dequantize_codes(start, n, codes.data());
      for (int64_t k = 0; k < cols; ++k) row[k] = 0.5f * (row[k] + codes[static_cast<size_t>(k)]);
    });
    tuned_[index] =
        std::make_unique<TunedMatrix>(ConstMatrixF32(w.data(), rows, cols, cols), start);
    return {};
  }

  const std::vector<IsqMatrix>& matrices_;
  ThreadPool& pool_;
  std::vector<QuantizedMatrix> ready_;               // [matrices]: quantized, not tuned; or empty
  std::vector<std::unique_ptr<TunedMatrix>> tuned_;  // [matrices]; null: not tuned
  AdamStep step_;
};

class Distiller {
 public:
  Distiller(const DistillArgs& args, const DecoderParts& parts)
      : args_(args),
        exact_(args.matrices),
        model_(args.matrices, *args.pool),
        gradient_(args.checkpoint.config, parts, *args.pool),
        parts_(parts),
        sequences_(sequences_of(args.samples)),
        width_(args.checkpoint.config.hidden_size),
        steps_(steps_of_pass(sequences_.size()) * args.passes) {}

  Result<std::vector<FileTensor>> run() {
    RUVLLM_TRY(model_.begin(args_.starts));
    RUVLLM_TRY(run_exact());
    DivergenceLoss loss(args_.checkpoint.config, parts_, exact_, model_, *args_.pool);
    for (int32_t pass = 0; pass < args_.passes; ++pass) {
      const std::vector<size_t> order = order_of(pass);
      double sum = 0.0;
      for (size_t at = 0; at < order.size(); at += kStepSequences) {
        RUVLLM_TRY(args_.stop.status());
        const size_t count = std::min(kStepSequences, order.size() - at);
        RUVLLM_ASSIGN(const double divergence, run_step({order.data() + at, count}, loss));
        sum += divergence;
        if (args_.progress) args_.progress(step_, steps_);
      }
      log_info("isq tuned: pass ", pass + 1, " of ", args_.passes, ": divergence ",
               sum / static_cast<double>(steps_of_pass(order.size())));
    }
    return model_.tensors();
  }

 private:
  // The exact model's last hidden rows, for all of the text.
  Status run_exact() {
    size_t tokens = 0;
    for (const Sequence sequence : sequences_) tokens += sequence.size();
    hidden_.reserve(tokens * static_cast<size_t>(width_));
    for (size_t at = 0; at < sequences_.size(); at += kStepSequences) {
      RUVLLM_TRY(args_.stop.status());
      const std::span<const Sequence> some(sequences_.data() + at,
                                           std::min(kStepSequences, sequences_.size() - at));
      const ConstMatrixF32 rows = gradient_.forward(exact_, some);
      for (const Sequence sequence : some) {
        first_row_.push_back(first_row_.empty() ? 0 : first_row_.back() + last_count_);
        last_count_ = static_cast<int64_t>(sequence.size());
      }
      hidden_.insert(hidden_.end(), rows.data, rows.data + rows.rows * width_);
    }
    return {};
  }

  // Fisher-Yates.
  std::vector<size_t> order_of(int32_t pass) const {
    std::vector<size_t> order(sequences_.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (size_t i = order.size(); i-- > 1;) {
      const uint64_t bits = random_bits(args_.seed, kOrderStream + static_cast<uint64_t>(pass), i);
      std::swap(order[i], order[static_cast<size_t>(bits % (i + 1))]);
    }
    return order;
  }

  AdamStep next_step() {
    const double done = static_cast<double>(step_) / static_cast<double>(steps_);
    const double rate =
        std::min(1.0, done / kWarmUp) * 0.5 * (1.0 + std::cos(std::numbers::pi * done));
    ++step_;
    mean_power_ *= double{kAdamBeta1};
    square_power_ *= double{kAdamBeta2};
    return {static_cast<float>(rate * double{args_.code_rate}),
            static_cast<float>(rate * double{args_.scale_rate}),
            static_cast<float>(1.0 / (1.0 - mean_power_)),
            static_cast<float>(1.0 / (1.0 - square_power_))};
  }

  Result<double> run_step(std::span<const size_t> chosen, DivergenceLoss& loss) {
    std::vector<Sequence> some;
    exact_rows_.clear();
    for (const size_t i : chosen) {
      some.push_back(sequences_[i]);
      const auto first = hidden_.begin() + first_row_[i] * width_;
      exact_rows_.insert(exact_rows_.end(), first,
                         first + static_cast<int64_t>(sequences_[i].size()) * width_);
    }
    model_.set_step(next_step());
    const ConstMatrixF32 hidden = gradient_.forward(model_, some);
    d_hidden_.resize(exact_rows_.size());
    const MatrixF32 d = make_matrix(d_hidden_.data(), hidden.rows, width_);
    const double divergence =
        loss.run(make_matrix(exact_rows_.data(), hidden.rows, width_), hidden, d);
    if (!std::isfinite(divergence)) {
      return fail(ErrorCode::kBadFile,
                  concat(args_.checkpoint.path, ": isq: tuned: step ", step_, " of ", steps_,
                         ": the divergence is not a finite number"));
    }
    gradient_.backward(model_, d, model_);
    return divergence;
  }

  const DistillArgs& args_;
  StoredRows exact_;
  TunedModel model_;
  DecoderGradient gradient_;
  const DecoderParts& parts_;
  std::vector<Sequence> sequences_;
  int64_t width_;  // E
  int64_t steps_;
  int64_t step_ = 0;
  double mean_power_ = 1.0;         // beta1^step
  double square_power_ = 1.0;       // beta2^step
  std::vector<float> hidden_;       // [tokens of the text, E]
  std::vector<int64_t> first_row_;  // [sequences], in hidden_
  int64_t last_count_ = 0;
  std::vector<float> exact_rows_;  // [T, E]
  std::vector<float> d_hidden_;    // [T, E]
};

// Those whose hidden rows fit.
void shorten(std::vector<std::vector<int32_t>>& samples, uint64_t max_tokens) {
  uint64_t tokens = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    tokens += samples[i].size();
    if (tokens <= max_tokens || i == 0) continue;
    log_warning("isq: tuned: ", i, " of ", samples.size(),
                " samples are used, the memory set aside for hidden rows holds no more");
    samples.resize(i);
    return;
  }
}

}  // namespace

int64_t num_distill_steps(const std::vector<std::vector<int32_t>>& samples, int32_t passes) {
  return steps_of_pass(sequences_of(samples).size()) * passes;
}

Result<std::vector<FileTensor>> distill(DistillArgs args) {
  RUVLLM_ASSIGN(const DecoderParts parts, find_decoder_parts(args.checkpoint, args.matrices));
  const auto row_bytes = sizeof(float) * static_cast<uint64_t>(args.checkpoint.config.hidden_size);
  shorten(args.samples, args.max_hidden_bytes / row_bytes);
  if (args.samples.empty()) return fail(ErrorCode::kInvalidArgument, "calibration: no samples");
  return Distiller(args, parts).run();
}

}  // namespace ruvllm
