#include "engine/perplexity.h"

#include <algorithm>
#include <cmath>

#include "base/str.h"
#include "sampling/exp.h"
#include "sampling/sampler.h"

namespace ruvllm {
namespace {

// Mean and its standard error, from sums.
struct Moments {
  double sum = 0.0;
  double sum_of_squares = 0.0;
  int64_t count = 0;

  void add(double value) {
    sum += value;
    sum_of_squares += value * value;
    ++count;
  }
  double mean() const { return sum / static_cast<double>(count); }
  double standard_error() const {
    if (count < 2) return 0.0;
    const double n = static_cast<double>(count);
    const double variance = std::max(sum_of_squares / n - mean() * mean(), 0.0);
    return std::sqrt(variance / (n - 1.0));
  }
};

double divergence(std::span<const float> reference, std::span<const float> model) {
  const double reference_log_sum = log_sum_exp(reference);
  const double model_log_sum = log_sum_exp(model);
  double sum = 0.0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double log_p = static_cast<double>(reference[i]) - reference_log_sum;
    const double p = exp_nonpositive(log_p);
    if (p > 0.0) sum += p * (log_p - (static_cast<double>(model[i]) - model_log_sum));
  }
  return std::max(sum, 0.0);
}

class Measurement {
 public:
  Measurement(EdgeModel& model, EdgeModel* reference, const PerplexityOptions& options)
      : model_(model),
        reference_(reference),
        options_(options),
        vocab_(static_cast<size_t>(model.parts.runner->config().vocab_size)) {}

  Status add_chunk(std::span<const int32_t> ids);
  PerplexityResult result();

 private:
  double negative_log_likelihood(std::span<const float> logits, int32_t id) const {
    return log_sum_exp(logits) - static_cast<double>(logits[static_cast<size_t>(id)]);
  }

  EdgeModel& model_;
  EdgeModel* reference_;
  const PerplexityOptions& options_;
  size_t vocab_;
  std::vector<int32_t> chunk_;
  std::vector<float> reference_logits_;  // [ctx - first, V]
  Moments nll_;
  Moments difference_;
  std::vector<double> divergences_;
  std::vector<ChunkScore> chunks_;
  int64_t same_top1_ = 0;
};

Status Measurement::add_chunk(std::span<const int32_t> ids) {
  chunk_.assign(ids.begin(), ids.end());
  if (options_.add_bos) chunk_.front() = options_.bos_id;
  const auto ctx = static_cast<int64_t>(chunk_.size());
  const int64_t first = ctx / 2;
  ScoreOptions score;
  score.first_row = first;
  if (reference_ != nullptr) {
    reference_logits_.clear();
    RUVLLM_TRY(reference_->session.score(chunk_, score, [&](const ScoredRow& row) {
      reference_logits_.insert(reference_logits_.end(), row.logits, row.logits + vocab_);
    }));
  }
  ChunkScore& sums = chunks_.emplace_back();
  RUVLLM_TRY(model_.session.score(chunk_, score, [&](const ScoredRow& row) {
    if (row.position + 1 >= ctx) return;  // the token after it is not in the chunk
    const std::span<const float> logits(row.logits, vocab_);
    const int32_t next = chunk_[static_cast<size_t>(row.position + 1)];
    const double nll = negative_log_likelihood(logits, next);
    nll_.add(nll);
    sums.nll += nll;
    if (reference_ == nullptr) return;
    const std::span<const float> expected(
        reference_logits_.data() + static_cast<size_t>(row.position - first) * vocab_, vocab_);
    const double expected_nll = negative_log_likelihood(expected, next);
    difference_.add(nll - expected_nll);
    divergences_.push_back(divergence(expected, logits));
    sums.reference_nll += expected_nll;
    sums.kld += divergences_.back();
    same_top1_ += argmax(expected) == argmax(logits) ? 1 : 0;
  }));
  const auto scored = static_cast<double>(ctx - 1 - first);
  for (double* sum : {&sums.nll, &sums.reference_nll, &sums.kld}) *sum /= scored;
  return {};
}

PerplexityResult Measurement::result() {
  PerplexityResult result;
  result.num_tokens = nll_.count;
  result.ppl = std::exp(nll_.mean());
  result.ln_ppl_se = nll_.standard_error();
  result.chunks = chunks_;
  if (reference_ == nullptr) return result;
  double sum = 0.0;
  for (const double value : divergences_) sum += value;
  std::sort(divergences_.begin(), divergences_.end());
  const auto count = static_cast<double>(divergences_.size());
  result.kld_mean = sum / count;
  result.kld_p99 = divergences_[static_cast<size_t>(0.99 * (count - 1.0))];
  result.kld_max = divergences_.back();
  result.same_top1 = 100.0 * static_cast<double>(same_top1_) / count;
  result.ln_ppl_ratio = difference_.mean();
  result.ln_ppl_ratio_se = difference_.standard_error();
  return result;
}

}  // namespace

Result<PerplexityResult> measure_perplexity(EdgeModel& model, EdgeModel* reference,
                                            std::span<const int32_t> ids,
                                            const PerplexityOptions& options) {
  const auto total = static_cast<int64_t>(ids.size());
  const int64_t num_chunks = total / options.ctx;
  if (options.ctx < 4 || options.ctx > model.parts.runner->max_seq_len()) {
    return fail(ErrorCode::kInvalidArgument,
                concat("ctx is ", options.ctx, ", expected 4 to ",
                       model.parts.runner->max_seq_len(), " for this model"));
  }
  if (num_chunks == 0) {
    return fail(ErrorCode::kInvalidArgument,
                concat("the text has ", total, " tokens, one chunk needs ", options.ctx));
  }
  if (reference != nullptr &&
      reference->parts.runner->config().vocab_size != model.parts.runner->config().vocab_size) {
    return fail(ErrorCode::kInvalidArgument,
                concat("the reference has ", reference->parts.runner->config().vocab_size,
                       " tokens, the model ", model.parts.runner->config().vocab_size));
  }
  Measurement measurement(model, reference, options);
  for (int64_t i = 0; i < num_chunks; ++i) {
    RUVLLM_TRY(measurement.add_chunk(
        ids.subspan(static_cast<size_t>(i * options.ctx), static_cast<size_t>(options.ctx))));
    if (options.progress) options.progress(i + 1, num_chunks);
  }
  return measurement.result();
}

}  // namespace ruvllm
