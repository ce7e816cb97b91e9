// Speed of a backend with many sessions at once, through LlmBackend: what its users wait for, and
// what a SpeedRunner inside it wrote down. For the bench verb.
//
// One call at a time, on a backend with nothing else to do. Failure: what the backend refuses.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/speed_runner.h"
#include "ruvllm/backend.h"

namespace ruvllm {

using TokenIds = std::vector<int32_t>;

// `count` prompts of prefix + length tokens: the first `prefix` are the same in all, the rest is
// each one's own. Other `series`: other prompts.
std::vector<TokenIds> make_prompts(int64_t count, int64_t prefix, int64_t length,
                                   int32_t vocab_size, int64_t series);

struct SessionRun {
  double seconds = 0.0;              // from the first request to the last end
  double first_token_seconds = 0.0;  // median over the sessions
  uint64_t preemptions = 0;
};
// One session per prompt, all at once, greedy, `tokens` new tokens each. `runner`: the backend's.
Result<SessionRun> run_sessions(LlmBackend& backend, SpeedRunner& runner,
                                std::span<const TokenIds> prompts, int64_t tokens);

// Tokens per second of all sessions while all of them decode: from the last one's first token to
// the first one's last; where this thread read too late to tell, the sum of the engine's own rates
// of each. Session i is computed with adapters[i % size]; none: with what is the
// default. `runner`: the backend's. Failure also where they never decode all at a time: prompts
// that take more steps than there are `tokens`.
Result<double> decode_rate(LlmBackend& backend, SpeedRunner& runner,
                           std::span<const TokenIds> prompts, int64_t tokens,
                           std::span<const std::string> adapters);

// Steps of exactly `rows` sequences that decode, each followed by another such one: the mean time
// from one to the next, in which the backend does all it does for a token.
struct DecodeSteps {
  int64_t count = 0;
  double seconds = 0.0;
  double model_seconds = 0.0;
  double schedule_seconds = 0.0;  // by the runner's schedule clock; 0 without one
};
DecodeSteps decode_steps(std::span<const SpeedRunner::Step> steps, int64_t rows);

// A long prompt that arrives while others decode.
struct LongPrefillRun {
  double alone_seconds = 0.0;   // of the long prompt, with nothing beside it
  double beside_seconds = 0.0;  // beside the decodes
  // Time from one token of a decoding session to the next.
  double quiet_p50 = 0.0;  // before the prompt came
  double quiet_p99 = 0.0;
  double beside_p50 = 0.0;  // while it was computed
  double beside_p99 = 0.0;
};
// `longs`: two prompts of the same length that share nothing. The decodes are given `tokens` new
// tokens each, and must not have ended when the long prompt has.
Result<LongPrefillRun> run_long_prefill(LlmBackend& backend, SpeedRunner& runner,
                                        std::span<const TokenIds> decodes, int64_t tokens,
                                        const TokenIds (&longs)[2]);

// Requests of different lengths.
struct TraceRequest {
  TokenIds prompt;
  int64_t tokens = 0;  // of the answer
};
// Prompts of 32 to 512 tokens, answers of 32 to 256.
std::vector<TraceRequest> make_mixed_requests(int64_t count, int32_t vocab_size);

struct TraceRun {
  double seconds = 0.0;      // from the first request to the last end
  double cpu_seconds = 0.0;  // of the process
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  int64_t completed = 0;  // requests that got all their tokens
  // From a request to its first token, and from one token to the next (a request's mean).
  double first_token_p50 = 0.0, first_token_p99 = 0.0;
  double token_p50 = 0.0, token_p99 = 0.0;
};
// Greedy; `at_a_time` requests are open, the next begins when one has ended.
Result<TraceRun> run_trace(LlmBackend& backend, std::span<const TraceRequest> requests,
                           int64_t at_a_time);

// How a KV pool is used, by the numbers of EngineStats that sample() sees step by step.
struct PoolUse {
  int64_t most_sessions = 0;  // at a time
  double mean_sessions = 0.0;
  double utilization = 0.0;  // tokens held / places in the pages that are in use
  double pool_share = 0.0;   // tokens held / places in the pool
  int64_t steps = 0;
  uint64_t preemptions = 0;
};
class PoolWatch {
 public:
  void sample(const EngineStats& stats);
  PoolUse use() const;

 private:
  PoolUse sums_;
};
}  // namespace ruvllm
