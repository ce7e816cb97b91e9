#include "sampling/sampler.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <random>

#include "base/check.h"
#include "base/rng.h"
#include "base/str.h"
#include "sampling/exp.h"

namespace ruvllm {
namespace {

constexpr size_t kMaxStops = 64;
constexpr size_t kMaxStopBytes = 4096;
constexpr int32_t kMaxTopLogprobs = 1024;

Status out_of_range(std::string_view field, double found, std::string_view expected) {
  return fail(ErrorCode::kInvalidArgument, concat(field, " is ", found, ", expected ", expected));
}

Status validate_token_ids(const GenerateParams& params, int32_t vocab_size) {
  for (const int32_t id : params.stop_token_ids) {
    if (id < 0 || id >= vocab_size) {
      return fail(
          ErrorCode::kInvalidArgument,
          concat("stop_token_ids has ", id, ", the vocabulary has ", vocab_size, " tokens"));
    }
  }
  for (const auto& [id, bias] : params.logit_bias) {
    if (id < 0 || id >= vocab_size) {
      return fail(ErrorCode::kInvalidArgument,
                  concat("logit_bias has token ", id, ", the vocabulary has ", vocab_size));
    }
    if (std::isnan(bias)) return out_of_range("logit_bias", bias, "a number");
  }
  for (const int32_t id : params.allowed_token_ids) {
    if (id < 0 || id >= vocab_size) {
      return fail(
          ErrorCode::kInvalidArgument,
          concat("allowed_token_ids has ", id, ", the vocabulary has ", vocab_size, " tokens"));
    }
  }
  for (const std::vector<int32_t>& sequence : params.banned_sequences) {
    if (sequence.empty()) {
      return fail(ErrorCode::kInvalidArgument, "banned_sequences has an empty one");
    }
    for (const int32_t id : sequence) {
      if (id >= 0 && id < vocab_size) continue;
      return fail(ErrorCode::kInvalidArgument,
                  concat("banned_sequences has token ", id, ", the vocabulary has ", vocab_size));
    }
  }
  return {};
}

}  // namespace

Status validate_params(const GenerateParams& params, int32_t vocab_size) {
  if (params.max_tokens < 0) return out_of_range("max_tokens", params.max_tokens, "0 or more");
  if (!(params.temperature >= 0.0f) || !std::isfinite(params.temperature)) {
    return out_of_range("temperature", params.temperature, "0 or more");
  }
  if (!(params.top_p >= 0.0f && params.top_p <= 1.0f)) {
    return out_of_range("top_p", params.top_p, "0 to 1");
  }
  if (params.top_k < -1) return out_of_range("top_k", params.top_k, "0 (off) or more");
  if (!(params.min_p >= 0.0f && params.min_p <= 1.0f)) {
    return out_of_range("min_p", params.min_p, "0 to 1");
  }
  if (!(params.typical_p > 0.0f && params.typical_p <= 1.0f)) {
    return out_of_range("typical_p", params.typical_p, "above 0, at most 1");
  }
  if (!(params.repetition_penalty > 0.0f) || !std::isfinite(params.repetition_penalty)) {
    return out_of_range("repetition_penalty", params.repetition_penalty, "above 0");
  }
  if (!std::isfinite(params.frequency_penalty)) {
    return out_of_range("frequency_penalty", params.frequency_penalty, "a finite number");
  }
  if (!std::isfinite(params.presence_penalty)) {
    return out_of_range("presence_penalty", params.presence_penalty, "a finite number");
  }
  if (params.top_logprobs < -1 || params.top_logprobs > kMaxTopLogprobs) {
    return out_of_range("top_logprobs", params.top_logprobs, concat("-1 to ", kMaxTopLogprobs));
  }
  if (params.prompt_logprobs < -1 || params.prompt_logprobs > kMaxTopLogprobs) {
    return out_of_range("prompt_logprobs", params.prompt_logprobs,
                        concat("-1 to ", kMaxTopLogprobs));
  }
  if (params.min_tokens < 0 || params.min_tokens > params.max_tokens) {
    return out_of_range("min_tokens", params.min_tokens, concat("0 to ", params.max_tokens));
  }
  if (params.stop.size() > kMaxStops) {
    return out_of_range("number of stop strings", static_cast<double>(params.stop.size()),
                        concat("at most ", kMaxStops));
  }
  for (const std::string& stop : params.stop) {
    if (stop.empty() || stop.size() > kMaxStopBytes) {
      return fail(ErrorCode::kInvalidArgument, concat("a stop string has ", stop.size(),
                                                      " bytes, expected 1 to ", kMaxStopBytes));
    }
  }
  return validate_token_ids(params, vocab_size);
}

uint64_t random_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) ^ device();
}

Sampler::Sampler(const GenerateParams& params, int32_t vocab_size, uint64_t seed,
                 std::span<const int32_t> end_ids, std::shared_ptr<SamplerScratch> scratch)
    : temperature_(params.temperature),
      top_p_(params.top_p),
      top_k_(params.top_k),
      min_p_(params.min_p),
      typical_p_(params.typical_p),
      repetition_penalty_(params.repetition_penalty),
      frequency_penalty_(params.frequency_penalty),
      presence_penalty_(params.presence_penalty),
      bias_(params.logit_bias),
      seed_(seed),
      has_penalties_(params.repetition_penalty != 1.0f || params.frequency_penalty != 0.0f ||
                     params.presence_penalty != 0.0f),
      rules_(params, end_ids, vocab_size) {
  const auto vocab = static_cast<size_t>(vocab_size);
  if (has_penalties_) {
    generated_counts_.resize(vocab);
    seen_.resize(vocab);
    distinct_.reserve(vocab);
  }
  if (has_penalties_ || !bias_.empty() || !rules_.empty() || temperature_ > 0.0f) {
    scratch_ =
        scratch != nullptr ? std::move(scratch) : std::make_shared<SamplerScratch>(vocab_size);
  }
}

void Sampler::see(int32_t id) {
  const auto i = static_cast<size_t>(id);
  if (seen_[i]) return;
  seen_[i] = true;
  distinct_.push_back(id);
}

void Sampler::observe_prompt(std::span<const int32_t> ids) {
  if (!has_penalties_) return;
  for (const int32_t id : ids) see(id);
}

void Sampler::accept(int32_t id) {
  ++num_sampled_;
  if (!has_penalties_) return;
  see(id);
  ++generated_counts_[static_cast<size_t>(id)];
}

std::span<const float> Sampler::adjust(std::span<const float> logits,
                                       std::span<const int32_t> answer) {
  if (!has_penalties_ && bias_.empty() && rules_.empty()) return logits;
  std::vector<float>& adjusted = scratch_->adjusted;
  std::copy(logits.begin(), logits.end(), adjusted.begin());
  for (const int32_t id : distinct_) {
    const auto i = static_cast<size_t>(id);
    float& logit = adjusted[i];
    logit = logit > 0.0f ? logit / repetition_penalty_ : logit * repetition_penalty_;
    const int32_t count = generated_counts_[i];
    if (count == 0) continue;
    logit -= static_cast<float>(count) * frequency_penalty_;
    logit -= presence_penalty_;
  }
  for (const auto& [id, bias] : bias_) adjusted[static_cast<size_t>(id)] += bias;
  if (!rules_.empty()) rules_.apply(answer, adjusted);
  return adjusted;
}

int32_t Sampler::sample(std::span<const float> logits, std::span<const int32_t> answer) {
  logits = adjust(logits, answer);
  int32_t id = argmax(logits);
  // Minus infinity everywhere (or not a number): nothing may be chosen.
  if (!(logits[static_cast<size_t>(id)] > -std::numeric_limits<float>::infinity())) return -1;
  if (temperature_ > 0.0f) {
    CandidateSet& candidates = scratch_->candidates;
    candidates.assign(logits, temperature_, top_k_);
    if (top_p_ < 1.0f) candidates.keep_top_p(top_p_);
    if (min_p_ > 0.0f) candidates.keep_min_p(min_p_);
    if (typical_p_ < 1.0f) candidates.keep_typical_p(typical_p_);
    id = candidates.pick(random_uniform(seed_, 0, num_sampled_));
  } else {
    greedy_.id = id;
  }
  accept(id);
  return id;
}

std::span<const Candidate> Sampler::candidates() const {
  return temperature_ > 0.0f ? scratch_->candidates.items()
                             : std::span<const Candidate>(&greedy_, 1);
}

double log_sum_exp(std::span<const float> logits) {
  const float max = logits[static_cast<size_t>(argmax(logits))];
  if (!std::isfinite(max)) return max;
  double sum = 0.0;
  for (const float logit : logits) {
    sum += exp_nonpositive(static_cast<double>(logit) - static_cast<double>(max));
  }
  return static_cast<double>(max) + std::log(sum);
}

std::vector<TokenLogprob> top_logprobs(std::span<const float> logits, double log_sum,
                                       int32_t count) {
  const auto better = [](const TokenLogprob& a, const TokenLogprob& b) {
    return a.logprob != b.logprob ? a.logprob > b.logprob : a.id < b.id;
  };
  std::vector<TokenLogprob> best;  // a heap whose root is the worst of the best
  const auto wanted = std::min(static_cast<size_t>(std::max(count, 0)), logits.size());
  if (wanted == 0) return best;
  best.reserve(wanted + 1);
  for (size_t i = 0; i < logits.size(); ++i) {
    const TokenLogprob entry = {static_cast<int32_t>(i), logits[i]};
    if (std::isnan(entry.logprob) || (best.size() == wanted && !better(entry, best.front()))) {
      continue;
    }
    best.push_back(entry);
    std::push_heap(best.begin(), best.end(), better);
    if (best.size() > wanted) {
      std::pop_heap(best.begin(), best.end(), better);
      best.pop_back();
    }
  }
  std::sort_heap(best.begin(), best.end(), better);
  for (TokenLogprob& entry : best) {
    entry.logprob = static_cast<float>(static_cast<double>(entry.logprob) - log_sum);
  }
  return best;
}

}  // namespace ruvllm
