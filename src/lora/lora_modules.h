// The modules of a model that an adapter may change, under the names that Hugging Face gives them,
// each with its place in this engine's matrices. Follows from the ModelConfig alone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/lora_batch.h"
#include "spec/model_config.h"

namespace ruvllm {

struct LoraModule {
  std::string name;  // "model.layers.0.self_attn.q_proj"
  LoraSite site = LoraSite::kQkv;
  int32_t layer = -1;         // -1: of no layer (embedding, output)
  int64_t first_column = 0;   // where its outputs stand in the site's
  int64_t rows = 0;           // N, outputs
  int64_t cols = 0;           // K, inputs (V of the embedding)
  int32_t rotated_heads = 0;  // heads whose rows are rotated by position (q, k); 0: none
};

// In the order in which the modules stand in the model as transformers builds it: what X-LoRA
// counts its layers by. Experts and routers are not among them.
std::vector<LoraModule> lora_modules(const ModelConfig& config);

}  // namespace ruvllm
