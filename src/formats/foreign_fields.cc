#include "formats/foreign_fields.h"

#include <algorithm>
#include <string>

namespace ruvllm {
namespace {

// Off: null, false, 0, "", [] and {}.
constexpr std::string_view kSwitches[] = {
    // attention
    "alibi", "use_alibi", "clip_qkv", "attn_logit_softcapping", "query_pre_attn_scalar",
    "use_sliding_window", "attention_chunk_size", "attn_temperature_tuning", "use_logn_attn",
    "kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "v_head_dim", "num_kv_shared_layers",
    "use_cla", "attn_output_gate", "use_attention_sinks", "use_bidirectional_attention",
    "bidirectional", "pruned_heads",
    // positions
    "no_rope_layers", "no_rope_layer_interval", "rope_local_base_freq", "use_dynamic_ntk",
    "use_mrope", "rope_interleave", "rope_interleaved", "rotary_dim",
    // blocks and logits
    "parallel_attn", "use_parallel_residual", "final_logit_softcapping", "scale_depth",
    "dim_model_base", "hidden_size_per_layer_input", "laurel_rank",
    // experts
    "num_experts", "num_local_experts", "n_routed_experts", "n_shared_experts",
    "num_shared_experts", "shared_expert_intermediate_size", "first_k_dense_replace", "n_group"};

// Off: 1 too.
constexpr std::string_view kMultipliers[] = {
    "logit_scale",         "logits_scaling",       "embedding_multiplier",
    "residual_multiplier", "attention_multiplier", "lm_head_multiplier",
    "scale_emb",           "mup_width_multiplier", "mup_embedding_multiplier",
    "rotary_pct",          "rotary_percent",       "routed_scaling_factor"};

// Fields of which only some words, listed between spaces, are what is computed here.
struct Word {
  std::string_view key;
  std::string_view allowed;
};
constexpr Word kWords[] = {
    {"position_embedding_type", " rope rotary absolute "},
    {"mlp_type", " default "},
    {"scoring_func", " softmax "},
};

// Off: 0, false and an empty list; keys without their architecture.
constexpr std::string_view kGgufSwitches[] = {"attention.max_alibi_bias",
                                              "attention.clamp_kqv",
                                              "attention.q_lora_rank",
                                              "attention.kv_lora_rank",
                                              "attention.key_length_mla",
                                              "attention.shared_kv_layers",
                                              "attention.temperature_length",
                                              "attention.temperature_scale",
                                              "attention.recurrent_layers",
                                              "attention.compress_ratios",
                                              "attention.indexer.top_k",
                                              "use_parallel_residual",
                                              "logit_scale",
                                              "residual_scale",
                                              "embedding_scale",
                                              "attn_logit_softcapping",
                                              "router_logit_softcapping",
                                              "final_logit_softcapping",
                                              "swin_norm",
                                              "rescale_every_n_layers",
                                              "interleave_moe_layer_step",
                                              "moe_every_n_layers",
                                              "leading_dense_block_count",
                                              "nextn_predict_layers",
                                              "full_attention_interval",
                                              "embedding_length_per_layer_input",
                                              "activation_sparsity_scale",
                                              "swiglu_clamp_exp",
                                              "altup.num_inputs",
                                              "ssm.state_size",
                                              "wkv.head_size",
                                              "shortconv.l_cache",
                                              "adapters.count",

                                              "hyper_connection.count",
                                              "decoder_block_count",
                                              "n_deepstack_layers"};

bool is_off(const Json& value) {
  if (const auto flag = value.as_bool()) return !*flag;
  if (const auto number = value.as_double()) return *number == 0.0;
  if (const std::string* text = value.as_string()) return text->empty();
  if (const Json::Array* array = value.as_array()) return array->empty();
  if (const Json::Object* object = value.as_object()) return object->empty();
  return value.is_null();
}

bool is_off(const GgufValue& value) {
  if (const auto flag = value.as_bool()) return !*flag;
  if (const auto number = value.as_double()) return *number == 0.0;
  std::vector<int64_t> items;
  return value.is_array() && value.get_integers(items) &&
         std::ranges::all_of(items, [](int64_t item) { return item == 0; });
}

void refuse(JsonFields& fields, std::string_view key, const Json& value) {
  fields.unsupported(key, "found ", printable(value.dump(), 40),
                     ", which this family is not run with");
}

}  // namespace

void refuse_foreign_fields(JsonFields& fields, const ModelConfig& config) {
  for (const std::string_view key : kSwitches) {
    const Json* value = fields.not_asked_for(key);
    if (value != nullptr && !is_off(*value)) refuse(fields, key, *value);
  }
  for (const std::string_view key : kMultipliers) {
    const Json* value = fields.not_asked_for(key);
    if (value != nullptr && !is_off(*value) && value->as_double() != 1.0) {
      refuse(fields, key, *value);
    }
  }
  const auto check_word = [&](std::string_view key, std::string_view allowed) {
    const Json* value = fields.not_asked_for(key);
    if (value == nullptr || is_off(*value)) return;
    const std::string* word = value->as_string();
    if (word == nullptr || allowed.find(concat(" ", *word, " ")) == std::string_view::npos) {
      refuse(fields, key, *value);
    }
  };
  for (const Word& row : kWords) check_word(row.key, row.allowed);
  check_word("norm_type", config.norm == NormKind::kLayer ? " layer_norm " : " rms_norm rmsnorm ");
  // What some files say about every model of their family.
  for (const std::string_view key : {"use_qk_norm", "qk_norm", "qk_layernorm"}) {
    const Json* value = fields.not_asked_for(key);
    if (value != nullptr && !is_off(*value) && config.qk_norm == QkNorm::kNone) {
      refuse(fields, key, *value);
    }
  }
  const Json* qkv_bias = fields.not_asked_for("qkv_bias");
  if (qkv_bias != nullptr && !is_off(*qkv_bias) && !config.qkv_bias) {
    refuse(fields, "qkv_bias", *qkv_bias);
  }
  const Json* causal = fields.not_asked_for("is_causal");
  if (causal != nullptr && causal->as_bool() == false) refuse(fields, "is_causal", *causal);
}

void refuse_foreign_fields(GgufFields& fields) {
  for (const std::string_view key : kGgufSwitches) {
    const GgufValue* value = fields.not_asked_for(key);
    if (value != nullptr && !is_off(*value)) {
      fields.unsupported(key, "found ", value->describe(), ", which this family is not run with");
    }
  }
}

}  // namespace ruvllm
