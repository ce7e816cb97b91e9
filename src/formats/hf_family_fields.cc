#include "formats/hf_family_fields.h"

#include <cmath>
#include <string>

#include "formats/config_limits.h"

namespace ruvllm {

bool read_layer_types(JsonFields& fields, size_t layers, std::vector<bool>& sliding) {
  const Json* value = fields.find("layer_types");
  if (value == nullptr) return false;
  const Json::Array* array = value->as_array();
  if (array == nullptr || array->size() != layers) {
    fields.bad("layer_types", "expected an array of ", layers, " names");
    return false;
  }
  sliding.assign(layers, false);
  for (size_t i = 0; i < layers; ++i) {
    const std::string* name = (*array)[i].as_string();
    if (name != nullptr && *name == "sliding_attention") {
      sliding[i] = true;
    } else if (name == nullptr || *name != "full_attention") {
      fields.unsupported("layer_types", "found ", printable((*array)[i].dump(), 40),
                         ", known: full_attention, sliding_attention");
    }
  }
  return true;
}

namespace {

// A window of every layer (`sliding_window` of Mistral and its kin).
void read_uniform_window(JsonFields& fields, ModelConfig& config, int64_t fallback) {
  const bool none = fields.is_null("sliding_window");
  const int64_t window = none ? 0 : fields.integer_or("sliding_window", fallback, 1, INT32_MAX);
  for (LayerConfig& layer : config.layers) layer.window = static_cast<int32_t>(window);
}

// The window of the layers that `sliding` names.
void set_windows(JsonFields& fields, ModelConfig& config, const std::vector<bool>& sliding,
                 int64_t window) {
  for (size_t i = 0; i < config.layers.size(); ++i) {
    if (!sliding[i]) continue;
    config.layers[i].window = static_cast<int32_t>(window);
    if (window == 0) {
      fields.bad("layer_types", "layer ", i, " is sliding_attention but sliding_window is off");
    }
  }
}

// sliding_window as use_sliding_window switches it; 0: off.
int64_t switched_window(JsonFields& fields) {
  const bool use = fields.flag_or("use_sliding_window", false);
  const int64_t window = fields.integer_or("sliding_window", 0, 0, INT32_MAX);
  return use ? window : 0;
}

void read_qwen_windows(JsonFields& fields, ModelConfig& config) {
  const int64_t window = switched_window(fields);
  const int64_t full_layers = fields.integer_or("max_window_layers", 28, 0, INT32_MAX);
  std::vector<bool> sliding;
  if (!read_layer_types(fields, config.layers.size(), sliding)) {
    sliding.assign(config.layers.size(), false);
    for (size_t i = 0; i < sliding.size(); ++i) {
      sliding[i] = window > 0 && static_cast<int64_t>(i) >= full_layers;
    }
  }
  set_windows(fields, config, sliding, window);
}

void read_experts(JsonFields& fields, ModelConfig& config, std::string_view count_key,
                  int64_t count, int64_t per_token) {
  config.num_experts = static_cast<int32_t>(fields.integer_or(count_key, count, 1, kMaxExperts));
  config.experts_per_token = static_cast<int32_t>(
      fields.integer_or("num_experts_per_tok", per_token, 1, config.num_experts));
  for (LayerConfig& layer : config.layers) layer.moe = true;
}

void set_layer_norm(ModelConfig& config) {
  config.norm = NormKind::kLayer;
  config.norm_bias = true;
}

// What the three generations of Gemma share.
void read_gemma_common(ModelConfig& config) {
  config.norm_plus_one = true;
  config.embedding_scale = static_cast<float>(std::sqrt(static_cast<double>(config.hidden_size)));
}

// Gemma 2 and 3: `pattern` is the distance between layers with full attention.
void read_gemma_layers(JsonFields& fields, ModelConfig& config, int64_t pattern) {
  config.block_form = BlockForm::kSandwich;
  config.attention_scale = static_cast<float>(
      1.0 / std::sqrt(fields.number_or("query_pre_attn_scalar", 256.0, 1e-3, 1e9)));
  std::vector<bool> sliding;
  if (!read_layer_types(fields, config.layers.size(), sliding)) {
    sliding.assign(config.layers.size(), false);
    for (size_t i = 0; i < sliding.size(); ++i) {
      sliding[i] = (static_cast<int64_t>(i) + 1) % pattern != 0;
    }
  }
  set_windows(fields, config, sliding,
              fields.is_null("sliding_window")
                  ? 0
                  : fields.integer_or("sliding_window", 4096, 1, INT32_MAX));
}

float read_softcap(JsonFields& fields, std::string_view key, double fallback) {
  if (fields.is_null(key)) return 0.0f;
  return static_cast<float>(fields.number_or(key, fallback, 1e-3, 1e9));
}

}  // namespace

void read_llama(JsonFields& fields, ModelConfig& config) {
  if (fields.integer_or("pretraining_tp", 1, 0, INT32_MAX) > 1) {
    fields.unsupported("pretraining_tp", "expected 1");
  }
  if (config.hidden_size % config.num_heads != 0) {
    fields.bad("num_attention_heads", "found ", config.num_heads,
               ", expected a divisor of hidden_size ", config.hidden_size);
  }
}

void read_mistral(JsonFields& fields, ModelConfig& config) {
  read_uniform_window(fields, config, 4096);
}

void read_mixtral(JsonFields& fields, ModelConfig& config) {
  read_uniform_window(fields, config, 0);
  read_experts(fields, config, "num_local_experts", 8, 2);
  config.expert_ffn_size = config.ffn_size;
}

void read_qwen2(JsonFields& fields, ModelConfig& config) {
  config.qkv_bias = true;
  read_qwen_windows(fields, config);
}

void read_qwen3(JsonFields& fields, ModelConfig& config) {
  config.qk_norm = QkNorm::kPerHead;
  read_qwen_windows(fields, config);
}

void read_qwen3_moe(JsonFields& fields, ModelConfig& config) {
  config.qk_norm = QkNorm::kPerHead;
  const int64_t window = switched_window(fields);
  const int64_t experts = fields.integer_or("num_experts", 128, 1, kMaxExperts);
  read_experts(fields, config, "num_local_experts", experts, 8);
  config.expert_ffn_size =
      static_cast<int32_t>(fields.integer_or("moe_intermediate_size", 768, 1, kMaxFfn));
  config.norm_topk_prob = fields.flag_or("norm_topk_prob", false);
  const int64_t step = fields.integer_or("decoder_sparse_step", 1, 1, INT32_MAX);
  for (size_t i = 0; i < config.layers.size(); ++i) {
    config.layers[i].window = static_cast<int32_t>(window);
    config.layers[i].moe = (static_cast<int64_t>(i) + 1) % step == 0;
  }
  const Json* dense = fields.find("mlp_only_layers");
  if (dense == nullptr) return;
  if (!dense->is_array()) return fields.bad("mlp_only_layers", "expected an array of layers");
  for (const Json& item : *dense->as_array()) {
    const auto layer = item.as_int64();
    if (!layer || *layer < 0) return fields.bad("mlp_only_layers", "expected numbers of layers");
    if (*layer < config.num_layers()) config.layers[static_cast<size_t>(*layer)].moe = false;
  }
}

void read_phi(JsonFields& fields, ModelConfig& config) {
  set_layer_norm(config);
  config.block_form = BlockForm::kParallel;
  config.gated_mlp = false;
  config.qkv_bias = config.attn_out_bias = config.mlp_bias = config.lm_head_bias = true;
  if (fields.flag_or("qk_layernorm", false)) {
    fields.unsupported("qk_layernorm", "found true, expected false");
  }
}

void read_phi3(JsonFields& fields, ModelConfig& config) {
  read_uniform_window(fields, config, 0);
}

void read_gemma(JsonFields& fields, ModelConfig& config) {
  read_gemma_common(config);
  if (fields.flag_or("use_bidirectional_attention", false)) {
    fields.unsupported("use_bidirectional_attention", "found true, expected false");
  }
}

void read_gemma2(JsonFields& fields, ModelConfig& config) {
  read_gemma(fields, config);
  read_gemma_layers(fields, config, 2);
  config.attention_softcap = read_softcap(fields, "attn_logit_softcapping", 50.0);
  config.logit_softcap = read_softcap(fields, "final_logit_softcapping", 30.0);
}

void read_gemma3(JsonFields& fields, ModelConfig& config) {
  read_gemma(fields, config);
  config.qk_norm = QkNorm::kPerHead;
  read_gemma_layers(fields, config, fields.integer_or("sliding_window_pattern", 6, 1, INT32_MAX));
  for (LayerConfig& layer : config.layers) layer.local_rope = layer.window > 0;
  // transformers reads this field of Gemma 3 and then does not apply it.
  if (fields.has("attn_logit_softcapping")) {
    fields.unsupported("attn_logit_softcapping", "Gemma 3 has no such cap, expected null");
  }
  if (fields.has("final_logit_softcapping")) {
    config.logit_softcap = read_softcap(fields, "final_logit_softcapping", 0.0);
  }
}

void read_starcoder2(JsonFields& fields, ModelConfig& config) {
  set_layer_norm(config);
  config.gated_mlp = false;
  const bool bias = fields.flag_or("use_bias", true);
  config.qkv_bias = config.attn_out_bias = config.mlp_bias = bias;
  read_uniform_window(fields, config, 0);
}

void read_olmo2(JsonFields&, ModelConfig& config) {
  config.block_form = BlockForm::kPostNorm;
  config.qk_norm = QkNorm::kFull;
}

void read_granite(JsonFields& fields, ModelConfig& config) {
  const auto multiplier = [&](std::string_view key) {
    return fields.number_or(key, 1.0, 1e-9, 1e9);
  };
  config.embedding_scale = static_cast<float>(multiplier("embedding_multiplier"));
  config.residual_scale = static_cast<float>(multiplier("residual_multiplier"));
  config.attention_scale = static_cast<float>(multiplier("attention_multiplier"));
  config.logit_scale = static_cast<float>(1.0 / multiplier("logits_scaling"));
}

void read_smollm3(JsonFields& fields, ModelConfig& config) {
  const size_t layers = config.layers.size();
  const int64_t interval = fields.integer_or("no_rope_layer_interval", 4, 1, INT32_MAX);
  for (size_t i = 0; i < layers; ++i) {
    config.layers[i].use_rope = (static_cast<int64_t>(i) + 1) % interval != 0;
  }
  if (const Json* value = fields.find("no_rope_layers")) {
    const Json::Array* array = value->as_array();
    if (array == nullptr || array->size() != layers) {
      return fields.bad("no_rope_layers", "expected an array of ", layers, " zeros and ones");
    }
    for (size_t i = 0; i < layers; ++i) {
      const auto flag = (*array)[i].as_int64();
      if (!flag || *flag < 0 || *flag > 1) {
        return fields.bad("no_rope_layers", "found ", printable((*array)[i].dump(), 32),
                          ", expected 0 or 1");
      }
      config.layers[i].use_rope = *flag == 1;
    }
  }
  const int64_t window = switched_window(fields);
  std::vector<bool> sliding;
  if (!read_layer_types(fields, layers, sliding)) {
    sliding.assign(layers, false);
    for (size_t i = 0; i < layers; ++i) sliding[i] = window > 0 && !config.layers[i].use_rope;
  }
  set_windows(fields, config, sliding, window);
}

void read_gpt2(JsonFields& fields, ModelConfig& config) {
  set_layer_norm(config);
  config.gated_mlp = false;
  config.qkv_bias = config.attn_out_bias = config.mlp_bias = true;
  config.learned_positions = true;
  config.conv1d_weights = true;
  for (LayerConfig& layer : config.layers) layer.use_rope = false;
  if (!fields.flag_or("scale_attn_weights", true)) config.attention_scale = 1.0f;
  if (fields.flag_or("scale_attn_by_inverse_layer_idx", false)) {
    fields.unsupported("scale_attn_by_inverse_layer_idx", "found true, expected false");
  }
}

}  // namespace ruvllm
