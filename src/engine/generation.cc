#include "engine/generation.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace ruvllm {

Generation::Generation(GenerationSetup setup)
    : params_(std::move(setup.params)),
      prompt_(std::move(setup.prompt)),
      stop_ids_(params_.stop_token_ids),
      max_new_tokens_(std::min<int64_t>(params_.max_tokens,
                                        setup.max_seq_len - static_cast<int64_t>(prompt_.size()))),
      decoder_(std::move(setup.decoder)),
      sampler_(params_, setup.vocab_size, params_.seed ? *params_.seed : random_seed()),
      stop_filter_(params_.stop) {
  RUVLLM_CHECK(!prompt_.empty());
  if (!params_.ignore_eos) {
    stop_ids_.insert(stop_ids_.end(), setup.eos_ids.begin(), setup.eos_ids.end());
  }
  sampler_.observe_prompt(prompt_);
  result_.prompt_tokens = static_cast<int64_t>(prompt_.size());
  if (max_new_tokens_ <= 0) finish(FinishReason::kLength);
}

void Generation::finish(FinishReason reason) {
  finished_ = true;
  result_.finish_reason = reason;
}

void Generation::cancel() {
  if (!finished_) finish(FinishReason::kCancelled);
}

std::string Generation::text_of(int32_t id, bool is_stop_id) {
  if (decoder_ == nullptr) return {};
  std::string text;
  if (!is_stop_id) text = stop_filter_.push(decoder_->push(id));
  const bool at_limit = static_cast<int64_t>(result_.ids.size()) >= max_new_tokens_;
  if ((is_stop_id || at_limit) && !stop_filter_.matched()) {
    text += stop_filter_.push(decoder_->flush());
    text += stop_filter_.flush();
  }
  return text;
}

Token Generation::step(std::span<const float> logits) {
  RUVLLM_CHECK(!finished_);
  Token token;
  token.id = sampler_.sample(logits);
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
    finish(FinishReason::kStop);
  } else if (result_.completion_tokens >= max_new_tokens_) {
    finish(FinishReason::kLength);
  }
  return token;
}

}  // namespace ruvllm
