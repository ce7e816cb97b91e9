// Rotary position metadata of GGUF -> RopeConfig. Internal to gguf_config.cc.
#pragma once

#include "formats/gguf.h"
#include "formats/gguf_fields.h"
#include "spec/model_config.h"

namespace ruvllm {

// The tensor of that name, or nullptr. Linear: for the few that a config looks at.
const FileTensor* find_gguf_tensor(const GgufFile& file, std::string_view name);

// head_dim and max_positions of `config` must be set. Complaints go to `fields`.
RopeConfig read_gguf_rope(GgufFields& fields, const GgufFile& file, const ModelConfig& config);

}  // namespace ruvllm
