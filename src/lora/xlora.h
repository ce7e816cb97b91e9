// X-LoRA: several LoRA adapters of one model (experts) and a small classifier that decides, for
// every token and module, how much of each to take.
//
// A token is computed twice. Pass 1 runs the model with constant gates (none, as a rule: the plain
// base model) up to the final norm; the classifier turns that hidden state into gates; pass 2 runs
// the model with them. The gates of a position depend on the tokens up to it only, so each pass
// keeps a KV cache of its own and old positions are never computed again.
//
// load_xlora reads both layouts: PEFT's (adapter_config.json with peft_type XLORA, and
// adapter_model.safetensors) and the original repository's (xlora_config.json,
// xlora_classifier.safetensors). XLora is constant after load and may be read by any thread.
// XLoraGate computes gates on a device: one thread at a time, one owner, but for last_gates().
// Failure: one line naming file, field or tensor, found and expected; only loading can fail.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "base/mutex.h"
#include "formats/checkpoint.h"
#include "lora/lora_adapter.h"
#include "ops/ops.h"
#include "ruvllm/result.h"

namespace ruvllm {

// How the classifier's outputs become gates.
struct XLoraPolicy {
  bool softmax = true;        // over the experts, of logits / temperature
  double temperature = 1.0;   // used with `softmax` only
  int32_t top_k = 0;          // keep so many, zero the others, do not rescale; 0: all
  bool softmax_topk = false;  // then a softmax over those that are not zero
  float pass_value = 0.0f;    // the constant gate of pass 1
  float global_scale = 1.0f;  // multiplies every expert
};

struct XLora {
  struct Layer {
    std::vector<float> weight;  // [N, K]
    std::vector<float> bias;    // [N] or empty
    int64_t rows = 0;
    int64_t cols = 0;
  };

  std::string path;
  std::vector<std::string> expert_names;                    // [n]
  std::vector<std::shared_ptr<const LoraAdapter>> experts;  // [n]
  std::vector<std::string> module_names;  // [L] modules that an expert touches, in model order
  bool layerwise = false;                 // gates differ from module to module
  bool relu = true;                       // between the classifier's layers
  std::vector<Layer> classifier;
  XLoraPolicy policy;
  LoraTable table;          // of all experts; a term's gate is its column below
  int32_t first_layer = 0;  // both passes are the same before it
  uint64_t num_bytes = 0;   // of the experts and the classifier, in memory

  int32_t num_experts() const { return static_cast<int32_t>(experts.size()); }
  int32_t num_modules() const { return static_cast<int32_t>(module_names.size()); }
  // Gates of a row: [L, n] when layerwise, else [n], the same for every module.
  int64_t num_gates() const { return int64_t{layerwise ? num_modules() : 1} * num_experts(); }
  bool pass1_is_base() const { return policy.pass_value == 0.0f; }
};

// What a reader may take: any folder that `folder` gives back (with links resolved, or as it is) or
// refuses, asked before anything in it is looked at; and so many bytes in memory.
inline constexpr auto kAnyFolder = [](const std::string& path) -> Result<std::string> {
  return path;
};
struct XLoraLimits {
  FunctionRef<Result<std::string>(const std::string&)> folder = kAnyFolder;
  uint64_t max_bytes = kMaxAdapterBytes;
};

// Experts lie in the folder under their name, or where the config says.
Result<std::shared_ptr<const XLora>> load_xlora(const std::string& path, const Checkpoint& base,
                                                const XLoraLimits& limits = {});

// Turns the n classifier outputs (after the softmax) of one module into its gates, in place: top-k,
// equal values by smaller index, then the softmax over what is not zero.
void finish_gates(const XLoraPolicy& policy, float* gates, int32_t num_experts);

class XLoraGate {
 public:
  static Result<std::unique_ptr<XLoraGate>> make(std::shared_ptr<const XLora> xlora, Ops& ops,
                                                 int64_t max_rows);

  const XLora& xlora() const { return *xlora_; }
  const std::shared_ptr<const XLora>& shared_xlora() const { return xlora_; }
  // gates[t] of the final hidden state hidden[t] of pass 1; [T, num_gates]. T <= max_rows.
  // With `scalings` not absent: the classifier's outputs before top-k, too.
  void compute(ConstMatrixF32 hidden, MatrixF32 gates, MatrixF32 scalings = {});
  // What compute() gave for its last row, [num_gates]; empty before the first. Any thread.
  std::vector<float> last_gates() const;
  // The gates of every row of pass 1.
  void fill_pass1(MatrixF32 gates) const;

 private:
  XLoraGate(std::shared_ptr<const XLora> xlora, Ops& ops) : xlora_(std::move(xlora)), ops_(ops) {}

  std::shared_ptr<const XLora> xlora_;
  Ops& ops_;
  std::vector<std::unique_ptr<Weight>> weights_;  // of the classifier's layers
  std::vector<float> inner_[2];                   // outputs of inner layers, in turn
  mutable Mutex mutex_;
  std::vector<float> last_gates_;  // guarded by mutex_
};

}  // namespace ruvllm
