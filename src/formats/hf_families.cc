#include "formats/hf_families.h"

#include <cmath>
#include <string>

#include "formats/hf_family_fields.h"
#include "formats/hf_rope.h"

namespace ruvllm {
namespace {

// --- the table ---------------------------------------------------------------------------------

// The three generations of Gemma have all other defaults in common.
constexpr HfFamily gemma(std::string_view architecture, std::string_view model_type, Family family,
                         void (*read_own)(JsonFields&, ModelConfig&), int32_t kv_heads,
                         int64_t max_positions) {
  return {.architecture = architecture,
          .model_type = model_type,
          .family = family,
          .read_own = read_own,
          .head_dim = 256,
          .kv_heads = kv_heads,
          .max_positions = max_positions,
          .tied = true,
          .bos_id = 2,
          .eos_id = 1,
          .activation_key = "hidden_activation",
          .activation = "gelu_pytorch_tanh",
          .attention_bias_allowed = true};
}

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
    gemma("GemmaForCausalLM", "gemma", Family::kGemma, read_gemma, 16, 8192),
    gemma("Gemma2ForCausalLM", "gemma2", Family::kGemma2, read_gemma2, 4, 8192),
    gemma("Gemma3ForCausalLM", "gemma3_text", Family::kGemma3, read_gemma3, 4, 131072),
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
