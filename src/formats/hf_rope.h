// Rotary position fields of a Hugging Face config (rope_theta + rope_scaling of transformers 4,
// rope_parameters of transformers 5) -> RopeConfig.
#pragma once

#include "formats/json_fields.h"
#include "spec/model_config.h"

namespace ruvllm {

struct HfRopeDefaults {
  double theta = 10000.0;
  double partial_rotary_factor = 1.0;
  bool allow_partial = false;        // the family rotates a part of each head
  bool yarn_means_longrope = false;  // Phi-3: "yarn" and "su" are older names of longrope
};

// The rope of every layer. head_dim and max_positions of `config` must be set. Complaints go to
// `fields`.
RopeConfig read_hf_rope(JsonFields& fields, const ModelConfig& config,
                        const HfRopeDefaults& defaults);

// Gemma 3: `config.rope` for the layers with full attention, `config.rope_local` for the others.
void read_gemma3_ropes(JsonFields& fields, ModelConfig& config);

}  // namespace ruvllm
