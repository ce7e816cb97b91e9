// What one generation asks for and what it gives back: parameters, results and the event stream.
// Plain values; TokenStream is the one class and may be used by one consumer thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "ruvllm/result.h"

namespace ruvllm {

// How much of X-LoRA's gates an answer says: one number per token and expert (the mean over the
// modules), or one per token, module and expert.
enum class GateDetail : uint8_t { kNone, kMean, kModules };

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

  // What follows is refused by name (kUnsupported) by a backend that cannot do it; the defaults ask
  // for nothing.

  // The answer does not end by itself before so many tokens: until then the end-of-text tokens and
  // stop_token_ids cannot be chosen and stop strings are not looked for. At most max_tokens.
  int32_t min_tokens = 0;
  // The text ends after the stop string that ended it, not before.
  bool include_stop_in_output = false;
  // Control tokens have no text in the answer.
  bool skip_special_tokens = true;
  // Only these may be chosen; empty: all.
  std::vector<int32_t> allowed_token_ids;
  // None of these sequences (each of 1 or more ids) may be completed in the answer: when its
  // beginning are the last tokens of the answer, its last token cannot be chosen.
  std::vector<std::vector<int32_t>> banned_sequences;
  // Scores the prompt: -1: no; k: the log probability and rank of each prompt token after the
  // first, plus the k best. Computed for every position even when the prompt is cached.
  int32_t prompt_logprobs = -1;

  // With X-LoRA: which expert spoke, in GenerateResult::gates. Computed for every position even
  // when the prompt is cached. Without X-LoRA there is nothing to say, which is no error.
  GateDetail gates = GateDetail::kNone;

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

// The seed of answer `index` of several to one prompt (LlmBackend::generate_answers): each has its
// own random numbers, the first those of the seed itself.
constexpr uint64_t seed_of_answer(uint64_t seed, int32_t index) {
  return seed + static_cast<uint64_t>(index) * 0x9E3779B97F4A7C15u;
}

// What answer `index` of generate_answers is computed with.
inline GenerateParams params_of_answer(const GenerateParams& params, int32_t index) {
  GenerateParams own = params;
  if (own.seed) own.seed = seed_of_answer(*own.seed, index);
  if (index > 0) own.prompt_logprobs = -1;  // the first one's serve all
  return own;
}

// What a model's makers recommend for sampling (generation_config.json, general.sampling.* of a
// GGUF file); nullopt: they say nothing. See ModelInfo. The backend never applies it by itself.
struct GenerationDefaults {
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<int32_t> top_k;  // 0: off
  std::optional<float> repetition_penalty;

  void apply_to(GenerateParams& params) const {
    params.temperature = temperature.value_or(params.temperature);
    params.top_p = top_p.value_or(params.top_p);
    params.min_p = min_p.value_or(params.min_p);
    params.top_k = top_k.value_or(params.top_k);
    params.repetition_penalty = repetition_penalty.value_or(params.repetition_penalty);
  }
};

// How one request is treated beside others; says nothing about its answer. A backend that cannot
// honour a field refuses it by name (kUnsupported), see LlmBackend::features().
struct RequestOptions {
  // For logs and traces; at most 128 visible ASCII characters. Need not be unique.
  std::string request_id;
  // W3C trace context of the caller, passed on as it is; empty: none.
  std::string trace_parent;
  // Lower goes first; equal ones in the order they came. 0 in a backend without priorities.
  int64_t priority = 0;
  // What the request is computed with: the name of an adapter, "base", "xlora", or a weighted sum
  // such as "a:0.5+b:0.5". Empty: as the model was loaded (LoadOptions::use_adapter).
  std::string adapter;
  // Cached prompt pages are shared only between requests of the same salt.
  std::string cache_salt;
  // Ends the request with FinishReason::kDeadline when it has not begun to be computed, or has not
  // ended, so long after it was submitted. 0: no limit.
  std::chrono::milliseconds queue_timeout{0};
  std::chrono::milliseconds total_timeout{0};
};

// kDeadline: a time limit of RequestOptions passed; what was generated before is kept.
enum class FinishReason : uint8_t { kStop, kLength, kCancelled, kError, kDeadline };

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

// One token of a scored prompt.
struct PromptToken {
  int32_t id = 0;
  // Given the tokens before it; natural log, of the unmodified distribution. The first token has
  // none (0, rank 0, no top_logprobs).
  float logprob = 0.0f;
  int32_t rank = 0;  // 1: the most likely one; the number of tokens that are more likely, plus 1
  std::vector<TokenLogprob> top_logprobs;  // best first
};

// What X-LoRA's router decided. Row p belongs to token p of prompt and answer: it was read with
// these gates, and the token after it was spoken with them. So the first token of the answer was
// spoken with row prompt_tokens - 1; the last one was never read, and has no row.
struct GateTrace {
  std::vector<std::string> experts;  // [n]
  std::vector<std::string> modules;  // [L] with GateDetail::kModules, else empty
  int64_t num_rows = 0;
  // [num_rows, n], the mean over the modules; with kModules [num_rows, L, n].
  std::vector<float> values;
};

struct Timings {
  double queue_seconds = 0.0;  // from the call to the first step that computed something for it
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
  int64_t cached_prompt_tokens = 0;  // of prompt_tokens: found in the cache, not computed
  int32_t preemptions = 0;           // times its KV pages were wanted elsewhere, and it waited
  FinishReason finish_reason = FinishReason::kStop;
  std::string matched_stop;                  // the stop string that ended the text, if one did
  std::optional<int32_t> matched_stop_id;    // the one of stop_token_ids that ended it, if one did
  std::vector<PromptToken> prompt_logprobs;  // [prompt_tokens] when asked for, else empty
  std::optional<GateTrace> gates;            // when asked for and computed with X-LoRA
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
  // `notify` is called, on any thread, after an event became ready for try_next(): at least once
  // for events that came since the last try_next() that found nothing. It must not block, call the
  // stream or take long. Set at most once, by the consumer; when events are already there it is
  // called at once. False: this stream cannot notify, so ask it from time to time. After the
  // stream's destruction has returned, `notify` is not called any more.
  virtual bool set_notify(std::function<void()> notify) {
    static_cast<void>(notify);
    return false;
  }
};

// A prompt is text (encoded with the model's special tokens) or token ids (taken as they are).
using Prompt = std::variant<std::string, std::vector<int32_t>>;

}  // namespace ruvllm
