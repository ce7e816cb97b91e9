// The fields of config.json that only one family has: one function each, named in the table of
// hf_families.cc. Each reads on from what is common (sizes, layers, biases, norm, activation),
// which is already in `config`. Complaints go to `fields`. Internal to formats/.
#pragma once

#include <vector>

#include "formats/json_fields.h"
#include "spec/model_config.h"

namespace ruvllm {

void read_llama(JsonFields& fields, ModelConfig& config);
void read_mistral(JsonFields& fields, ModelConfig& config);
void read_mixtral(JsonFields& fields, ModelConfig& config);
void read_qwen2(JsonFields& fields, ModelConfig& config);
void read_qwen3(JsonFields& fields, ModelConfig& config);
void read_qwen3_moe(JsonFields& fields, ModelConfig& config);
void read_phi(JsonFields& fields, ModelConfig& config);
void read_phi3(JsonFields& fields, ModelConfig& config);
void read_gemma(JsonFields& fields, ModelConfig& config);
void read_gemma2(JsonFields& fields, ModelConfig& config);
void read_gemma3(JsonFields& fields, ModelConfig& config);
void read_starcoder2(JsonFields& fields, ModelConfig& config);
void read_olmo2(JsonFields& fields, ModelConfig& config);
void read_granite(JsonFields& fields, ModelConfig& config);
void read_smollm3(JsonFields& fields, ModelConfig& config);
void read_gpt2(JsonFields& fields, ModelConfig& config);

// Which layers `layer_types` calls sliding; false when the file has no such list.
bool read_layer_types(JsonFields& fields, size_t layers, std::vector<bool>& sliding);

}  // namespace ruvllm
