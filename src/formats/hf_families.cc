#include "formats/hf_families.h"

#include <cmath>
#include <string>

#include "formats/hf_rope.h"

namespace ruvllm {
namespace {

void read_activation(JsonFields& fields, std::string_view key, const std::string& name,
                     ModelConfig& config) {
  struct Row {
    std::string_view name;
    Activation activation;
  };
  static constexpr Row kRows[] = {
      {"silu", Activation::kSilu},         {"swish", Activation::kSilu},
      {"gelu", Activation::kGeluErf},      {"gelu_python", Activation::kGeluErf},
      {"gelu_new", Activation::kGeluTanh}, {"gelu_pytorch_tanh", Activation::kGeluTanh},
      {"relu", Activation::kRelu},         {"gelu_fast", Activation::kGeluTanh},
  };
  for (const Row& row : kRows) {
    if (row.name == name) {
      config.activation = row.activation;
      return;
    }
  }
  fields.unsupported(key, "activation \"", printable(name, 32), "\" is not supported");
}

// A window of every layer (`sliding_window` of Mistral and its kin).
void read_uniform_window(JsonFields& fields, ModelConfig& config, int64_t fallback) {
  const bool none = fields.is_null("sliding_window");
  const int64_t window = none ? 0 : fields.integer_or("sliding_window", fallback, 1, INT32_MAX);
  for (LayerConfig& layer : config.layers) layer.window = static_cast<int32_t>(window);
}

// Which layers `layer_types` calls sliding; nullopt when the file has no such list.
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

// --- one function per family -------------------------------------------------------------------

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
  const auto* key = fields.has("num_local_experts") ? "num_local_experts" : "num_experts";
  read_experts(fields, config, key, 128, 8);
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

// What the three generations of Gemma share.
void read_gemma_common(ModelConfig& config) {
  config.norm_plus_one = true;
  config.embedding_scale = static_cast<float>(std::sqrt(static_cast<double>(config.hidden_size)));
}

void read_gemma(JsonFields& fields, ModelConfig& config) {
  read_gemma_common(config);
  if (fields.flag_or("use_bidirectional_attention", false)) {
    fields.unsupported("use_bidirectional_attention", "found true, expected false");
  }
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

// --- the table ---------------------------------------------------------------------------------

constexpr HfFamily kFamilies[] = {
    {.architecture = "LlamaForCausalLM",
     .model_type = "llama",
     .family = Family::kLlama,
     .read_own = read_llama,
     .bos_id = 1,
     .eos_id = 2,
     .attention_bias_allowed = true,
     .mlp_bias_allowed = true},
    {.architecture = "MistralForCausalLM",
     .model_type = "mistral",
     .family = Family::kMistral,
     .read_own = read_mistral,
     .kv_heads = 8,
     .max_positions = 131072,
     .bos_id = 1,
     .eos_id = 2},
    {.architecture = "MixtralForCausalLM",
     .model_type = "mixtral",
     .family = Family::kMixtral,
     .read_own = read_mixtral,
     .kv_heads = 8,
     .max_positions = 131072,
     .norm_eps = 1e-5,
     .rope_theta = 1e6,
     .bos_id = 1,
     .eos_id = 2},
    {.architecture = "Qwen2ForCausalLM",
     .model_type = "qwen2",
     .family = Family::kQwen2,
     .read_own = read_qwen2,
     .kv_heads = 32,
     .max_positions = 32768},
    {.architecture = "Qwen3ForCausalLM",
     .model_type = "qwen3",
     .family = Family::kQwen3,
     .read_own = read_qwen3,
     .head_dim = 128,
     .kv_heads = 32,
     .max_positions = 32768,
     .attention_bias_allowed = true},
    {.architecture = "Qwen3MoeForCausalLM",
     .model_type = "qwen3_moe",
     .family = Family::kQwen3Moe,
     .read_own = read_qwen3_moe,
     .kv_heads = 4,
     .max_positions = 32768,
     .attention_bias_allowed = true},
    {.architecture = "PhiForCausalLM",
     .model_type = "phi",
     .family = Family::kPhi,
     .read_own = read_phi,
     .norm_eps = 1e-5,
     .bos_id = 1,
     .eos_id = 2,
     .eps_key = "layer_norm_eps",
     .activation = "gelu_new"},
    {.architecture = "Phi3ForCausalLM",
     .model_type = "phi3",
     .family = Family::kPhi3,
     .read_own = read_phi3,
     .max_positions = 4096,
     .norm_eps = 1e-5,
     .bos_id = 1,
     .eos_id = 32000},
    {.architecture = "GemmaForCausalLM",
     .model_type = "gemma",
     .family = Family::kGemma,
     .read_own = read_gemma,
     .head_dim = 256,
     .kv_heads = 16,
     .max_positions = 8192,
     .tied = true,
     .bos_id = 2,
     .eos_id = 1,
     .activation_key = "hidden_activation",
     .activation = "gelu_pytorch_tanh",
     .attention_bias_allowed = true},
    {.architecture = "Gemma2ForCausalLM",
     .model_type = "gemma2",
     .family = Family::kGemma2,
     .read_own = read_gemma2,
     .head_dim = 256,
     .kv_heads = 4,
     .max_positions = 8192,
     .tied = true,
     .bos_id = 2,
     .eos_id = 1,
     .activation_key = "hidden_activation",
     .activation = "gelu_pytorch_tanh",
     .attention_bias_allowed = true},
    {.architecture = "Gemma3ForCausalLM",
     .model_type = "gemma3_text",
     .family = Family::kGemma3,
     .read_own = read_gemma3,
     .head_dim = 256,
     .kv_heads = 4,
     .max_positions = 131072,
     .tied = true,
     .bos_id = 2,
     .eos_id = 1,
     .activation_key = "hidden_activation",
     .activation = "gelu_pytorch_tanh",
     .attention_bias_allowed = true},
    {.architecture = "Starcoder2ForCausalLM",
     .model_type = "starcoder2",
     .family = Family::kStarcoder2,
     .read_own = read_starcoder2,
     .kv_heads = 2,
     .max_positions = 4096,
     .norm_eps = 1e-5,
     .tied = true,
     .bos_id = 50256,
     .eos_id = 50256,
     .eps_key = "norm_epsilon",
     .activation = "gelu_pytorch_tanh"},
    {.architecture = "Olmo2ForCausalLM",
     .model_type = "olmo2",
     .family = Family::kOlmo2,
     .read_own = read_olmo2,
     .norm_eps = 1e-5,
     .eos_id = 50279,
     .attention_bias_allowed = true},
    {.architecture = "GraniteForCausalLM",
     .model_type = "granite",
     .family = Family::kGranite,
     .read_own = read_granite,
     .bos_id = 1,
     .eos_id = 2,
     .attention_bias_allowed = true,
     .mlp_bias_allowed = true},
    {.architecture = "SmolLM3ForCausalLM",
     .model_type = "smollm3",
     .family = Family::kSmolLm3,
     .read_own = read_smollm3,
     .kv_heads = 4,
     .max_positions = 32768,
     .rope_theta = 2e6,
     .tied = true,
     .bos_id = 128000,
     .eos_id = 128001,
     .attention_bias_allowed = true,
     .mlp_bias_allowed = true},
    {.architecture = "GPT2LMHeadModel",
     .model_type = "gpt2",
     .family = Family::kGpt2,
     .read_own = read_gpt2,
     .max_positions = 1024,
     .norm_eps = 1e-5,
     .tied = true,
     .bos_id = 50256,
     .eos_id = 50256,
     .eps_key = "layer_norm_epsilon",
     .activation_key = "activation_function",
     .activation = "gelu_new"},
};

// --- fields that (nearly) all families share ---------------------------------------------------

int32_t size_field(JsonFields& fields, std::string_view key, int64_t max) {
  return static_cast<int32_t>(fields.integer(key, 1, max));
}

void read_sizes(JsonFields& fields, const HfFamily& family, ModelConfig& config) {
  const bool gpt2 = family.family == Family::kGpt2;
  config.vocab_size = size_field(fields, "vocab_size", kMaxVocab);
  config.hidden_size = size_field(fields, gpt2 ? "n_embd" : "hidden_size", kMaxHidden);
  config.num_heads = size_field(fields, gpt2 ? "n_head" : "num_attention_heads", kMaxHeads);
  config.layers.resize(
      static_cast<size_t>(size_field(fields, gpt2 ? "n_layer" : "num_hidden_layers", kMaxLayers)));
  config.max_positions = fields.integer_or(gpt2 ? "n_positions" : "max_position_embeddings",
                                           family.max_positions, 1, kMaxPositions);
  if (gpt2) {
    config.ffn_size = static_cast<int32_t>(
        fields.integer_or("n_inner", int64_t{4} * config.hidden_size, 1, kMaxFfn));
    config.num_kv_heads = config.num_heads;
  } else {
    config.ffn_size = size_field(fields, "intermediate_size", kMaxFfn);
    // Absent: the family's default; null: as many as there are heads.
    const bool as_heads = fields.is_null("num_key_value_heads") || family.kv_heads == 0;
    config.num_kv_heads = static_cast<int32_t>(fields.integer_or(
        "num_key_value_heads", as_heads ? config.num_heads : family.kv_heads, 1, kMaxHeads));
  }
  const bool derived =
      !fields.has("head_dim") && (family.head_dim == 0 || fields.is_null("head_dim"));
  const int64_t fallback = derived ? config.hidden_size / config.num_heads : family.head_dim;
  config.head_dim = static_cast<int32_t>(fields.integer_or("head_dim", fallback, 1, kMaxHeadDim));
  if (derived && (config.hidden_size % config.num_heads != 0 || fallback > kMaxHeadDim)) {
    fields.bad("num_attention_heads", "found ", config.num_heads,
               ", expected a divisor of hidden_size ", config.hidden_size);
    config.head_dim = 2;
  }
}

// A switch that changes the arithmetic, in a family that does not have it.
void refuse_flag(JsonFields& fields, std::string_view key) {
  if (fields.flag_or(key, false)) {
    fields.unsupported(key, "found true, but this family is only run without it");
  }
}

void read_biases(JsonFields& fields, const HfFamily& family, ModelConfig& config) {
  if (family.attention_bias_allowed) {
    config.qkv_bias = config.attn_out_bias = fields.flag_or("attention_bias", false);
  } else {
    refuse_flag(fields, "attention_bias");
  }
  if (family.mlp_bias_allowed) {
    config.mlp_bias = fields.flag_or("mlp_bias", false);
  } else {
    refuse_flag(fields, "mlp_bias");
  }
  refuse_flag(fields, "lm_head_bias");
  refuse_flag(fields, "is_encoder_decoder");
  refuse_flag(fields, "add_cross_attention");
}

bool reads_layer_types(Family family) {
  return family == Family::kQwen2 || family == Family::kQwen3 || family == Family::kGemma2 ||
         family == Family::kGemma3 || family == Family::kSmolLm3;
}

// layer_types in a family that has one kind of layer: harmless only if all are of that kind.
void check_unused_layer_types(JsonFields& fields, const ModelConfig& config) {
  std::vector<bool> sliding;
  if (!read_layer_types(fields, config.layers.size(), sliding)) return;
  for (size_t i = 0; i < sliding.size(); ++i) {
    if (sliding[i] != (config.layers[i].window > 0)) {
      return fields.unsupported("layer_types", "layer ", i,
                                " differs from the one kind of layer this family has");
    }
  }
}

}  // namespace

std::span<const HfFamily> hf_families() {
  return kFamilies;
}

void read_hf_family(JsonFields& fields, const HfFamily& family, ModelConfig& config) {
  read_sizes(fields, family, config);
  if (!fields.ok()) return;
  config.norm_eps = static_cast<float>(fields.number_or(family.eps_key, family.norm_eps, 0.0, 1.0));
  config.tied_embeddings = fields.flag_or("tie_word_embeddings", family.tied);
  config.attention_scale =
      static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim)));
  read_activation(fields, family.activation_key,
                  fields.text_or(family.activation_key, family.activation), config);
  read_biases(fields, family, config);
  family.read_own(fields, config);
  if (!reads_layer_types(family.family)) check_unused_layer_types(fields, config);

  if (family.family == Family::kGemma3) {
    read_gemma3_ropes(fields, config);
  } else if (!config.learned_positions) {
    const bool phi = family.family == Family::kPhi;
    const bool phi3 = family.family == Family::kPhi3;
    config.rope = read_hf_rope(fields, config,
                               {.theta = family.rope_theta,
                                .partial_rotary_factor = phi ? 0.5 : 1.0,
                                .allow_partial = phi || phi3,
                                .yarn_means_longrope = phi3});
  }
}

}  // namespace ruvllm
