// Generation: the state of one request from its prompt to its finish reason, without the model:
// it chooses tokens from logits, turns them into text and knows when to end.
//
// The texts of the tokens it hands out, joined, are exactly the result's text. The end-of-sequence
// token counts as a token of the answer (it is in `ids`) and has no text of its own.
// One owner, one thread. Both backends use it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/stop_filter.h"
#include "ruvllm/request.h"
#include "sampling/sampler.h"
#include "tokenizer/tokenizer.h"

namespace ruvllm {

struct GenerationSetup {
  GenerateParams params;         // passed validate_params
  std::vector<int32_t> prompt;   // not empty
  std::vector<int32_t> eos_ids;  // end the answer unless params.ignore_eos
  int32_t vocab_size = 0;
  int64_t max_seq_len = 0;                      // prompt and answer together
  std::unique_ptr<IncrementalDecoder> decoder;  // null: the answer has no text
  std::shared_ptr<SamplerScratch> scratch;      // null: one of its own
};

class Generation {
 public:
  explicit Generation(GenerationSetup setup);

  bool finished() const { return finished_; }
  std::span<const int32_t> prompt() const { return prompt_; }

  // Longest answer: what the parameters and the context allow.
  int64_t max_new_tokens() const { return max_new_tokens_; }

  // Chooses the next token from its logits [V]; not after finished(). Fails when no token may be
  // chosen; then the generation is of no more use.
  Result<Token> step(std::span<const float> logits);
  // What the logits [V] after prompt token `position` say of the next one; in order of position,
  // for generations that score their prompt.
  void score_prompt(int64_t position, std::span<const float> logits);
  bool scores_prompt() const { return params_.prompt_logprobs >= 0; }
  GateDetail gate_detail() const { return params_.gates; }
  // Ends the answer here, for a reason of its owner's.
  void end(FinishReason reason);

  int32_t last_id() const { return result_.ids.back(); }
  // Of a finished generation; call once.
  GenerateResult take_result() { return std::move(result_); }
  GenerateResult& result() { return result_; }
  Timings& timings() { return result_.timings; }

 private:
  void finish(FinishReason reason);
  std::string text_of(int32_t id, bool ends_the_answer);

  GenerateParams params_;
  std::vector<int32_t> prompt_;
  std::vector<int32_t> stop_ids_;
  int64_t max_new_tokens_;
  std::unique_ptr<IncrementalDecoder> decoder_;
  Sampler sampler_;
  StopFilter stop_filter_;
  GenerateResult result_;
  bool finished_ = false;
};

}  // namespace ruvllm
