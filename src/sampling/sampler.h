// Sampler: from a row of logits to the next token of one sequence.
//
// Order: repetition penalty, frequency/presence penalty, logit bias, temperature, top_k, top_p,
// min_p, typical_p. Random numbers come from (seed, number of the token), so the n-th token of a
// request does not depend on how it was scheduled. Last come the request's TokenRules. After
// construction nothing is allocated.
//
// One request, one thread; requests that are sampled by one thread in turn may share a scratch.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ruvllm/request.h"
#include "ruvllm/result.h"
#include "sampling/candidates.h"
#include "sampling/token_rules.h"

namespace ruvllm {

// One line naming the field that is wrong. `vocab_size` bounds token ids.
Status validate_params(const GenerateParams& params, int32_t vocab_size);

// A seed from the system, for requests that name none.
uint64_t random_seed();

// What sampling one row needs besides the request's own state: about 50 bytes per token of the
// vocabulary, touched only as far as needed.
struct SamplerScratch {
  explicit SamplerScratch(int32_t vocab_size)
      : candidates(vocab_size), adjusted(static_cast<size_t>(vocab_size)) {}
  CandidateSet candidates;
  std::vector<float> adjusted;  // [V]
};

class Sampler {
 public:
  // `params` must have passed validate_params. `end_ids` end the text (TokenRules); `scratch` null:
  // one of its own.
  Sampler(const GenerateParams& params, int32_t vocab_size, uint64_t seed,
          std::span<const int32_t> end_ids = {}, std::shared_ptr<SamplerScratch> scratch = nullptr);

  // Tokens before the answer: the repetition penalty counts them, the other penalties do not.
  void observe_prompt(std::span<const int32_t> ids);
  // Chooses what follows `answer` (looked at by the rules only) from `logits` [V], which stay as
  // they are, and counts the choice. -1: there is nothing to choose, no logit is above minus
  // infinity.
  int32_t sample(std::span<const float> logits, std::span<const int32_t> answer = {});
  // Counts a token that was chosen elsewhere.
  void accept(int32_t id);

  // The distribution the last sample() drew from, until the scratch is used again; one token when
  // the temperature is 0.
  std::span<const Candidate> candidates() const;

 private:
  void see(int32_t id);
  std::span<const float> adjust(std::span<const float> logits, std::span<const int32_t> answer);

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
  std::vector<int32_t> generated_counts_;  // [V]; empty without penalties
  std::vector<bool> seen_;                 // [V]
  std::vector<int32_t> distinct_;          // ids seen, capacity V
  TokenRules rules_;
  std::shared_ptr<SamplerScratch> scratch_;  // null: greedy, and the logits are used as they are
  Candidate greedy_ = {0.0, 1.0, 0};
};

// log(sum(exp(logits))): a token's log probability is its logit minus this.
double log_sum_exp(std::span<const float> logits);

// The `count` most likely tokens of the unmodified distribution, best first, ties to smaller ids.
std::vector<TokenLogprob> top_logprobs(std::span<const float> logits, double log_sum,
                                       int32_t count);

}  // namespace ruvllm
