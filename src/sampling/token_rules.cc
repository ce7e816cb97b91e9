#include "sampling/token_rules.h"

#include <algorithm>
#include <limits>

namespace ruvllm {
namespace {

constexpr float kMinusInf = -std::numeric_limits<float>::infinity();

}  // namespace

TokenRules::TokenRules(const GenerateParams& params, std::span<const int32_t> end_ids,
                       int32_t vocab_size)
    : min_tokens_(params.min_tokens), banned_(params.banned_sequences) {
  if (min_tokens_ > 0) {
    end_ids_.assign(end_ids.begin(), end_ids.end());
    end_ids_.insert(end_ids_.end(), params.stop_token_ids.begin(), params.stop_token_ids.end());
  }
  if (params.allowed_token_ids.empty()) return;
  allowed_.resize(static_cast<size_t>(vocab_size));
  for (const int32_t id : params.allowed_token_ids) allowed_[static_cast<size_t>(id)] = true;
}

void TokenRules::apply(std::span<const int32_t> answer, std::span<float> logits) const {
  for (size_t i = 0; i < allowed_.size(); ++i) {
    if (!allowed_[i]) logits[i] = kMinusInf;
  }
  if (answer.size() < static_cast<size_t>(min_tokens_)) {
    for (const int32_t id : end_ids_) logits[static_cast<size_t>(id)] = kMinusInf;
  }
  for (const std::vector<int32_t>& sequence : banned_) {
    const auto beginning = std::span(sequence).first(sequence.size() - 1);
    if (beginning.size() > answer.size()) continue;
    if (std::ranges::equal(beginning, answer.last(beginning.size()))) {
      logits[static_cast<size_t>(sequence.back())] = kMinusInf;
    }
  }
}

}  // namespace ruvllm
