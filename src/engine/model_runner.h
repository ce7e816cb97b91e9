// ModelRunner: a model loaded on a device: weights, operations, KV memory; it runs one step at a
// time. Both backends drive it; neither knows what is inside.
//
// Threads: one step at a time, from one thread at a time; the constant accessors from any thread.
// Ownership: keeps the checkpoint alive. Failure: load() explains in one line what the file lacks;
// a step cannot fail. After load, a step of at most max_step_rows rows allocates nothing, except
// that the logits buffer grows when a step asks for more output rows than any before it (one row is
// ready from the start).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "formats/checkpoint.h"
#include "model/forward_batch.h"
#include "ruvllm/options.h"
#include "ruvllm/result.h"

namespace ruvllm {

struct RunnerOptions {
  ComputeType compute = ComputeType::kAuto;
  KvType kv = KvType::kAuto;    // kAuto: f32 when compute is kF32, else bf16
  int32_t threads = 0;          // 0: default_num_threads()
  int64_t max_seq_len = 0;      // 0: config.max_positions
  int64_t max_step_rows = 256;  // longer prompts are given in several steps
  int32_t kv_block_tokens = 64;
  bool reference_ops = false;                                 // the oracle instead of ops/cpu
  std::function<void(int64_t done, int64_t total)> progress;  // during load; may be empty
};

class ModelRunner {
 public:
  static Result<std::unique_ptr<ModelRunner>> load(std::shared_ptr<const Checkpoint> checkpoint,
                                                   const RunnerOptions& options);
  virtual ~ModelRunner() = default;

  virtual const ModelConfig& config() const = 0;
  virtual int64_t max_seq_len() const = 0;
  virtual int64_t max_step_rows() const = 0;
  virtual int32_t kv_block_tokens() const = 0;
  virtual uint64_t weight_bytes() const = 0;
  virtual uint64_t num_parameters() const = 0;
  virtual uint64_t kv_block_bytes() const = 0;        // one block, all layers, keys and values
  virtual std::string_view quantization() const = 0;  // the layout that holds most bytes
  virtual std::string_view kernels() const = 0;       // e.g. "reference", "avx2"

  // KV memory: makes blocks 0..num_blocks-1 usable. kOutOfMemory when the machine refuses.
  virtual Status reserve_kv_blocks(int64_t num_blocks) = 0;
  virtual int64_t num_kv_blocks() const = 0;
  // Makes block `to` hold what block `from` holds.
  virtual void copy_kv_block(int32_t from, int32_t to) = 0;

  // Which rotary table a sequence of that many tokens uses. When a growing sequence crosses into
  // another regime (longrope), its KV must be computed anew with the new regime.
  virtual uint8_t rope_regime(int64_t sequence_tokens) const = 0;

  // The device the model is on, for what computes beside it (X-LoRA's classifier); null: none.
  virtual Ops* ops() { return nullptr; }

  // Runs the batch: writes its keys and values to the blocks its sequences name, then computes the
  // outputs asked for.
  virtual ForwardOutput forward(const ForwardBatch& batch) = 0;
};

}  // namespace ruvllm
