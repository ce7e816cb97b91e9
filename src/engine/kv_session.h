// KvSession: one sequence in a runner's KV cache. It remembers which tokens the cache holds, so
// that a prompt which begins like the last one (a chat with a new turn) is computed from where they
// differ; it grows the cache block by block; and it recomputes the sequence when it crosses into
// another rotary regime (see ModelRunner::rope_regime). With X-LoRA it runs both passes of every
// step, each on a KV cache of its own.
//
// Owns nothing of the runner, which must outlive it. One thread at a time. Failure: kOutOfMemory
// when the cache cannot grow, kUnavailable when `cancelled` became true (between steps).
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "base/function_ref.h"
#include "engine/gate_recorder.h"
#include "engine/model_runner.h"
#include "engine/sequence_adapter.h"

namespace ruvllm {

// One row of score(): the logits after this position and the final hidden state, or null.
struct ScoredRow {
  int64_t position = 0;
  const float* logits = nullptr;  // [V]
  const float* hidden = nullptr;  // [E]
  const float* gates = nullptr;   // [num_gates] when the sequence has X-LoRA
};

struct ScoreOptions {
  int64_t first_row = 0;  // rows before it are computed but not handed out
  bool logits = true;
  bool hidden = false;
};

class KvSession {
 public:
  explicit KvSession(ModelRunner& runner) : runner_(runner) {}

  // What the sequence is computed with from now on; another one than before empties the cache. Ends
  // the use of a gate recorder.
  void set_adapter(SequenceAdapter adapter);
  const SequenceAdapter& adapter() const { return adapter_; }
  // Hears of the gates of every position from the next prefill on, which computes all of them.
  void set_gate_recorder(GateRecorder& recorder) {
    recorder_ = &recorder;
    clear();
  }

  // Makes the cache hold `ids` (at least one, at most max_seq_len, each in the vocabulary) and
  // returns the logits after the last; valid until the next call.
  Result<std::span<const float>> prefill(std::span<const int32_t> ids,
                                         const std::atomic<bool>& cancelled);
  // Appends one token; the sequence must have room.
  Result<std::span<const float>> advance(int32_t id, const std::atomic<bool>& cancelled);

  // Runs `ids` from the start and hands out every row asked for, in order.
  Status score(std::span<const int32_t> ids, const ScoreOptions& options,
               FunctionRef<void(const ScoredRow&)> sink);

  int64_t num_tokens() const { return static_cast<int64_t>(tokens_.size()); }
  // Tokens of the last prefill that the cache held already.
  int64_t num_reused() const { return num_reused_; }
  void clear() { tokens_.clear(); }
  // Of the rows of the last step; absent without X-LoRA. [rows, num_gates]
  ConstMatrixF32 last_gates() const { return last_gates_; }

 private:
  Status grow(int64_t num_tokens);
  ForwardOutput forward(std::span<const int32_t> ids, std::span<const int32_t> output_rows,
                        bool logits, bool hidden);

  // Pass 1 of X-LoRA: fills last_gates_ for these tokens, and `shared` if both passes begin alike.
  void route(const ForwardBatch& batch, std::span<const StreamRows> shared);

  ModelRunner& runner_;
  std::vector<int32_t> tokens_;       // what the cache holds
  std::vector<int32_t> block_table_;  // 0, 1, 2, ...; with X-LoRA 0, 2, 4, ...
  std::vector<int32_t> pass1_table_;  // with X-LoRA 1, 3, 5, ...
  SequenceAdapter adapter_;
  std::vector<float> gates_;   // [max_step_rows, num_gates]
  std::vector<float> stream_;  // [max_step_rows, E] where the passes part; empty: they never meet
  std::vector<int32_t> all_rows_;
  MatrixF32 last_gates_;
  GateRecorder* recorder_ = nullptr;
  uint8_t regime_ = 0;  // of the cached keys
  int64_t num_reused_ = 0;
};

}  // namespace ruvllm
