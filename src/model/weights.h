// The weights of a model on its device, by role: what load_weights makes of a checkpoint's tensors.
//
// Which tensors must exist, and their exact shapes, follow from the ModelConfig; their names from
// spec/weight_names. A missing tensor, another shape, an integer or unsupported format is an error
// that names the file, the tensor, what was found and what was expected. Leftover tensors are
// reported in one warning. Values are not looked at: a weight that is not a number gives outputs
// that are not numbers.
//
// Ownership: matrices may point into the mapped files, which must outlive them; norms and biases
// are copied. Constant after load; any thread may read.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "model/linear.h"
#include "ops/ops.h"
#include "ruvllm/result.h"
#include "spec/file_tensor.h"
#include "spec/model_config.h"

namespace ruvllm {

struct NormWeights {
  std::vector<float> weight;  // empty: the model has no such norm
  std::vector<float> bias;    // empty: none
};

struct LayerWeights {
  NormWeights attn_norm;       // [E]
  NormWeights attn_post_norm;  // [E]
  NormWeights mlp_norm;        // [E]
  NormWeights mlp_post_norm;   // [E]
  Projection qkv;              // [(H + 2K) * D, E]
  NormWeights q_norm;          // [D] or [H * D]
  NormWeights k_norm;          // [D] or [K * D]
  Linear attn_out;             // [E, H * D]
  // Dense layers.
  Projection up;  // [2F, E] gate rows then up rows when gated, else [F, E]
  Linear down;    // [E, F]
  // Mixture-of-experts layers.
  Linear router;                                         // [X, E]
  std::vector<std::unique_ptr<Weight>> experts_gate_up;  // [X] of [2F, E]
  std::vector<std::unique_ptr<Weight>> experts_down;     // [X] of [E, F]
};

struct ModelWeights {
  std::unique_ptr<Weight> embedding;           // [V, E]
  std::unique_ptr<Weight> position_embedding;  // [max_positions, E] or null
  std::vector<LayerWeights> layers;            // [L]
  NormWeights final_norm;                      // [E]
  Linear lm_head;                              // [V, E]; no weight when tied to the embedding

  uint64_t num_parameters = 0;
  uint64_t num_bytes = 0;
  std::string_view main_layout;  // the layout that holds most bytes

  const Weight& output_matrix() const {
    return lm_head.weight != nullptr ? *lm_head.weight : *embedding;
  }
};

struct WeightLoadArgs {
  const ModelConfig& config;
  NameStyle names = NameStyle::kHuggingFace;
  std::span<const FileTensor> tensors;
  std::string_view path;  // for messages
  Ops& ops;
  ComputeType compute = ComputeType::kAuto;
  FunctionRef<void(int64_t done_layers, int64_t num_layers)> progress;
};

Result<ModelWeights> load_weights(const WeightLoadArgs& args);

}  // namespace ruvllm
