// What one generation asks for and what it gives back: parameters, results and the event stream.
// Plain values; TokenStream is the one class and may be used by one consumer thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "ruvllm/result.h"

namespace ruvllm {

// Sampling order: repetition penalty, frequency/presence penalty, temperature, top_k, top_p, min_p;
// each filter sees the softmax of what the one before left. temperature 0 is the argmax of the
// logits (after penalties); ties go to the smallest id.
struct GenerateParams {
  int32_t max_tokens = 256;
  float temperature = 0.7f;
  float top_p = 0.9f;               // 1: off
  int32_t top_k = 40;               // 0: off
  float min_p = 0.0f;               // 0: off
  float typical_p = 1.0f;           // 1: off
  float repetition_penalty = 1.1f;  // 1: off
  float frequency_penalty = 0.0f;
  float presence_penalty = 0.0f;
  std::vector<std::string> stop;  // the text ends before the first of these; none is ever emitted
  std::vector<int32_t> stop_token_ids;
  std::optional<uint64_t> seed;  // nullopt: drawn from the system
  bool ignore_eos = false;
  int32_t top_logprobs = -1;  // -1: none; 0: of the chosen token; n: plus the n best
  std::vector<std::pair<int32_t, float>> logit_bias;

  // Greedy decoding of the unmodified distribution.
  static GenerateParams greedy(int32_t max_tokens) {
    GenerateParams params;
    params.max_tokens = max_tokens;
    params.temperature = 0.0f;
    params.top_p = 1.0f;
    params.top_k = 0;
    params.repetition_penalty = 1.0f;
    return params;
  }
};

enum class FinishReason : uint8_t { kStop, kLength, kCancelled, kError };

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0.0f;  // natural log, of the unmodified distribution
};

struct Token {
  int32_t id = 0;
  std::string text;  // what this token adds to the text; empty while a UTF-8 character is
                     // incomplete or while a possible stop string is held back
  std::optional<float> logprob;
  std::vector<TokenLogprob> top_logprobs;
};

struct Timings {
  double prefill_seconds = 0.0;
  double decode_seconds = 0.0;
  int64_t prefill_tokens = 0;
  int64_t decode_tokens = 0;
};

struct GenerateResult {
  std::string text;
  std::vector<int32_t> ids;
  std::vector<Token> tokens;  // filled when logprobs were asked for
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  FinishReason finish_reason = FinishReason::kStop;
  std::string matched_stop;  // the stop string that ended the text, if one did
  Timings timings;
};

struct Done {
  GenerateResult result;
};

using StreamEvent = std::variant<Token, Done, Error>;

// Events of one running generation, in order: any number of Token, then one Done or one Error.
// Destroying the stream cancels the generation.
class TokenStream {
 public:
  virtual ~TokenStream() = default;
  // The next event if one is ready; nullopt if none is (or the stream has ended).
  virtual std::optional<StreamEvent> try_next() = 0;
  // Waits at most `timeout`.
  virtual std::optional<StreamEvent> recv_timeout(std::chrono::milliseconds timeout) = 0;
  // Waits; nullopt only after Done or Error was delivered.
  virtual std::optional<StreamEvent> next() = 0;
  // Ends the generation within one token; a Done with kCancelled follows. Any thread.
  virtual void cancel() = 0;
};

// A prompt is text (encoded with the model's special tokens) or token ids (taken as they are).
using Prompt = std::variant<std::string, std::vector<int32_t>>;

}  // namespace ruvllm
