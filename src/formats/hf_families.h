// The table of model families as Hugging Face configs describe them: one row per architecture with
// what its absent fields mean, and one small function for the fields only it has. Adding a family
// is adding a row. Facts: the configuration and modeling classes of transformers 5.
// Internal to formats/ (hf_config.cc is the way in).
#pragma once

#include <span>
#include <string_view>

#include "formats/config_limits.h"
#include "formats/json_fields.h"
#include "spec/model_config.h"

namespace ruvllm {

struct HfFamily {
  std::string_view architecture;  // in `architectures`
  std::string_view model_type;
  Family family;
  // Reads what only this family has; the common fields are already in `config`.
  void (*read_own)(JsonFields& fields, ModelConfig& config);

  // Defaults of absent fields.
  int32_t head_dim = 0;  // 0: hidden_size / heads
  int32_t kv_heads = 0;  // 0: as many as heads
  int64_t max_positions = 2048;
  double norm_eps = 1e-6;
  double rope_theta = 10000.0;
  bool tied = false;
  int32_t bos_id = -1;
  int32_t eos_id = -1;
  std::string_view eps_key = "rms_norm_eps";
  std::string_view activation_key = "hidden_act";
  std::string_view activation = "silu";
  bool attention_bias_allowed = false;  // reads `attention_bias` for q, k, v and the output
  bool mlp_bias_allowed = false;        // reads `mlp_bias`
};

std::span<const HfFamily> hf_families();

// Fills `config` from `fields`, complaints included.
void read_hf_family(JsonFields& fields, const HfFamily& family, ModelConfig& config);

}  // namespace ruvllm
