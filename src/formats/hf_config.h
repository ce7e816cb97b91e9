// config.json and generation_config.json of Hugging Face checkpoints -> ModelConfig, for every
// family in spec/model_config.h, in the spellings of transformers 4 and 5. A field that is absent
// means what it means to transformers for that family. A config that asks for something this engine
// does not do is refused by name (kUnsupported); one that contradicts itself, or has a field of the
// wrong type or out of range, is kBadFile. Sizes in the result are bounded (config_limits.h).
// Pure functions of the text; `file` begins every message.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "formats/checkpoint.h"
#include "ruvllm/result.h"
#include "spec/model_config.h"

namespace ruvllm {

// The one architecture of which only a part is run, the text: it is read from text_config, and its
// tensors are named with a prefix (hf_text_tensor_name).
inline constexpr std::string_view kGemma3WithImages = "Gemma3ForConditionalGeneration";

// The name of a tensor of such a file in a Gemma3ForCausalLM file; "" for what is no text part.
std::string hf_text_tensor_name(std::string_view name);

Result<ModelConfig> parse_hf_config(std::string_view json, const std::string& file);

// Takes the token ids (they win over config.json's) and the sampling defaults.
Status apply_generation_config(std::string_view json, const std::string& file, ModelConfig& config,
                               GenerationDefaults& defaults);

// sentence-transformers' 1_Pooling/config.json.
Result<Pooling> parse_pooling_config(std::string_view json, const std::string& file);

// The architectures parse_hf_config knows, as config.json spells them.
std::vector<std::string_view> supported_hf_architectures();

}  // namespace ruvllm
