#include "engine/generation.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"

namespace ruvllm {
namespace {

// Room that an answer takes ahead, so that its steps allocate nothing.
constexpr int64_t kReservedTokens = 2048;

}  // namespace

Generation::Generation(GenerationSetup setup)
    : params_(std::move(setup.params)),
      prompt_(std::move(setup.prompt)),
      stop_ids_(params_.stop_token_ids),
      max_new_tokens_(std::min<int64_t>(params_.max_tokens,
                                        setup.max_seq_len - static_cast<int64_t>(prompt_.size()))),
      decoder_(std::move(setup.decoder)),
      sampler_(params_, setup.vocab_size, params_.seed ? *params_.seed : random_seed(),
               setup.eos_ids, std::move(setup.scratch)),
      stop_filter_(params_.stop, params_.include_stop_in_output) {
  RUVLLM_CHECK(!prompt_.empty());
  if (!params_.ignore_eos) {
    stop_ids_.insert(stop_ids_.end(), setup.eos_ids.begin(), setup.eos_ids.end());
  }
  sampler_.observe_prompt(prompt_);
  result_.prompt_tokens = static_cast<int64_t>(prompt_.size());
  if (scores_prompt()) {
    result_.prompt_logprobs.reserve(prompt_.size());
    result_.prompt_logprobs.push_back({prompt_.front(), 0.0f, 0, {}});
  }
  const auto ahead = static_cast<size_t>(std::clamp<int64_t>(max_new_tokens_, 0, kReservedTokens));
  result_.ids.reserve(ahead);
  if (decoder_ != nullptr) result_.text.reserve(ahead * 8);
  if (max_new_tokens_ <= 0) finish(FinishReason::kLength);
}

void Generation::finish(FinishReason reason) {
  finished_ = true;
  result_.finish_reason = reason;
}

void Generation::end(FinishReason reason) {
  if (!finished_) finish(reason);
}

std::string Generation::text_of(int32_t id, bool is_stop_id) {
  if (decoder_ == nullptr) return {};
  std::string text;
  if (!is_stop_id || params_.include_stop_in_output) {
    text = decoder_->push(id);
    // Stop strings are looked for behind the first min_tokens tokens.
    if (result_.completion_tokens > params_.min_tokens) text = stop_filter_.push(text);
  }
  const bool at_limit = static_cast<int64_t>(result_.ids.size()) >= max_new_tokens_;
  if ((is_stop_id || at_limit) && !stop_filter_.matched()) {
    text += stop_filter_.push(decoder_->flush());
    text += stop_filter_.flush();
  }
  return text;
}

void Generation::score_prompt(int64_t position, std::span<const float> logits) {
  const auto next = static_cast<size_t>(position) + 1;
  RUVLLM_CHECK(next == result_.prompt_logprobs.size() && next < prompt_.size(), position);
  PromptToken token;
  token.id = prompt_[next];
  const float logit = logits[static_cast<size_t>(token.id)];
  const double log_sum = log_sum_exp(logits);
  token.logprob = static_cast<float>(static_cast<double>(logit) - log_sum);
  token.rank = 1 + static_cast<int32_t>(
                       std::ranges::count_if(logits, [&](float other) { return other > logit; }));
  token.top_logprobs = top_logprobs(logits, log_sum, params_.prompt_logprobs);
  result_.prompt_logprobs.push_back(std::move(token));
}

Result<Token> Generation::step(std::span<const float> logits) {
  RUVLLM_CHECK(!finished_);
  Token token;
  token.id = sampler_.sample(logits, result_.ids);
  if (token.id < 0) {
    const bool sound =
        std::ranges::any_of(logits, [](float logit) { return std::isfinite(logit); });
    return sound ? fail(ErrorCode::kInvalidArgument,
                        "allowed_token_ids, banned_sequences, min_tokens and logit_bias leave no "
                        "token that may be chosen")
                 : fail(ErrorCode::kInternal, "the model's output is not a number");
  }
  if (params_.top_logprobs >= 0) {
    const double log_sum = log_sum_exp(logits);
    token.logprob = static_cast<float>(logits[static_cast<size_t>(token.id)] - log_sum);
    token.top_logprobs = top_logprobs(logits, log_sum, params_.top_logprobs);
  }
  result_.ids.push_back(token.id);
  result_.completion_tokens = static_cast<int64_t>(result_.ids.size());
  const bool is_stop_id =
      std::find(stop_ids_.begin(), stop_ids_.end(), token.id) != stop_ids_.end();
  token.text = text_of(token.id, is_stop_id);
  result_.text += token.text;
  if (params_.top_logprobs >= 0) result_.tokens.push_back(token);

  if (stop_filter_.matched()) {
    result_.matched_stop = stop_filter_.matched_stop();
    finish(FinishReason::kStop);
  } else if (is_stop_id) {
    if (std::ranges::find(params_.stop_token_ids, token.id) != params_.stop_token_ids.end()) {
      result_.matched_stop_id = token.id;
    }
    finish(FinishReason::kStop);
  } else if (result_.completion_tokens >= max_new_tokens_) {
    finish(FinishReason::kLength);
  }
  return token;
}

}  // namespace ruvllm
