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

Sampler::Sampler(const GenerateParams& params, int32_t vocab_size, uint64_t seed)
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
                     params.presence_penalty != 0.0f) {
  const auto vocab = static_cast<size_t>(vocab_size);
  if (has_penalties_) {
    generated_counts_.resize(vocab);
    seen_.resize(vocab);
    distinct_.reserve(vocab);
  }
  if (has_penalties_ || !bias_.empty()) adjusted_.resize(vocab);
  if (temperature_ > 0.0f) candidates_.emplace(vocab_size);
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

std::span<const float> Sampler::adjust(std::span<const float> logits) {
  if (adjusted_.empty()) return logits;
  std::copy(logits.begin(), logits.end(), adjusted_.begin());
  for (const int32_t id : distinct_) {
    const auto i = static_cast<size_t>(id);
    float& logit = adjusted_[i];
    logit = logit > 0.0f ? logit / repetition_penalty_ : logit * repetition_penalty_;
    const int32_t count = generated_counts_[i];
    if (count == 0) continue;
    logit -= static_cast<float>(count) * frequency_penalty_;
    logit -= presence_penalty_;
  }
  for (const auto& [id, bias] : bias_) adjusted_[static_cast<size_t>(id)] += bias;
  return adjusted_;
}

int32_t Sampler::sample(std::span<const float> logits) {
  logits = adjust(logits);
  int32_t id = 0;
  if (!candidates_) {
    id = argmax(logits);
    greedy_.id = id;
  } else {
    candidates_->assign(logits, temperature_, top_k_);
    if (top_p_ < 1.0f) candidates_->keep_top_p(top_p_);
    if (min_p_ > 0.0f) candidates_->keep_min_p(min_p_);
    if (typical_p_ < 1.0f) candidates_->keep_typical_p(typical_p_);
    id = candidates_->pick(random_uniform(seed_, 0, num_sampled_));
  }
  accept(id);
  return id;
}

std::span<const Candidate> Sampler::candidates() const {
  return candidates_ ? candidates_->items() : std::span<const Candidate>(&greedy_, 1);
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
