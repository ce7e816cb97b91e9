// Sampler: from a row of logits to the next token of one sequence.
//
// Order: repetition penalty, frequency/presence penalty, logit bias, temperature, top_k, top_p,
// min_p, typical_p. Random numbers come from (seed, number of the token), so the n-th token of a
// request does not depend on how it was scheduled. After construction nothing is allocated.
//
// One request, one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ruvllm/request.h"
#include "ruvllm/result.h"
#include "sampling/candidates.h"

namespace ruvllm {

// One line naming the field that is wrong. `vocab_size` bounds token ids.
Status validate_params(const GenerateParams& params, int32_t vocab_size);

// A seed from the system, for requests that name none.
uint64_t random_seed();

class Sampler {
 public:
  // `params` must have passed validate_params.
  Sampler(const GenerateParams& params, int32_t vocab_size, uint64_t seed);

  // Tokens before the answer: the repetition penalty counts them, the other penalties do not.
  void observe_prompt(std::span<const int32_t> ids);
  // Chooses from `logits` [V], which stay as they are, and counts the choice.
  int32_t sample(std::span<const float> logits);
  // Counts a token that was chosen elsewhere.
  void accept(int32_t id);

  // The distribution the last sample() drew from; one token when the temperature is 0.
  std::span<const Candidate> candidates() const;

 private:
  void see(int32_t id);
  std::span<const float> adjust(std::span<const float> logits);

  float temperature_;
  float top_p_;
  int32_t top_k_;
  float min_p_;
  float typical_p_;
  float repetition_penalty_;
  float frequency_penalty_;
  float presence_penalty_;
  std::vector<std::pair<int32_t, float>> bias_;
  uint64_t seed_;
  uint64_t num_sampled_ = 0;

  bool has_penalties_;
  std::vector<int32_t> generated_counts_;   // [V]; empty without penalties
  std::vector<bool> seen_;                  // [V]
  std::vector<int32_t> distinct_;           // ids seen, capacity V
  std::vector<float> adjusted_;             // [V]; empty when the logits are used as they are
  std::optional<CandidateSet> candidates_;  // absent at temperature 0
  Candidate greedy_ = {0.0, 1.0, 0};
};

// log(sum(exp(logits))): a token's log probability is its logit minus this.
double log_sum_exp(std::span<const float> logits);

// The `count` most likely tokens of the unmodified distribution, best first, ties to smaller ids.
std::vector<TokenLogprob> top_logprobs(std::span<const float> logits, double log_sum,
                                       int32_t count);

}  // namespace ruvllm
