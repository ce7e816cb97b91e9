// TokenRules: which tokens a request may not choose next: before min_tokens those that end the
// answer, all but allowed_token_ids, and what would complete one of banned_sequences.
//
// Constant after construction; any thread. Cost of apply(): O(V) with allowed_token_ids, else
// O(length of the lists).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ruvllm/request.h"

namespace ruvllm {

class TokenRules {
 public:
  TokenRules() = default;
  // `end_ids` end the text for this model.
  TokenRules(const GenerateParams& params, std::span<const int32_t> end_ids, int32_t vocab_size);

  // Whether a request of these parameters has rules at all.
  bool empty() const { return min_tokens_ == 0 && allowed_.empty() && banned_.empty(); }
  // Sets the logits [V] of what may not follow `answer` to minus infinity.
  void apply(std::span<const int32_t> answer, std::span<float> logits) const;

 private:
  int32_t min_tokens_ = 0;
  std::vector<int32_t> end_ids_;
  std::vector<bool> allowed_;  // [V]; empty: all
  std::vector<std::vector<int32_t>> banned_;
};

}  // namespace ruvllm
