// How each family's checkpoints name their tensors: tables from a tensor's role in the model to its
// name, for Hugging Face files and for GGUF. Data only: the loader asks for the roles that the
// ModelConfig's traits call for, and a row nobody asks for costs nothing.
//
// A pattern may hold {L} (layer number) and {X} (expert number); '@' at its start stands for the
// prefix of the model's body, which some files leave out. A bias has its weight's name with
// ".bias" for ".weight". Several rows of one role are alternatives, tried in order; a family's own
// rows hide its base table's rows of the same role.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "spec/file_tensor.h"
#include "spec/model_config.h"

namespace ruvllm {

enum class Role : uint8_t {
  kEmbedding,          // [V, E]
  kPositionEmbedding,  // [max_positions, E]
  kFinalNorm,          // [E]
  kLmHead,             // [V, E]
  kAttnNorm,           // [E], before attention
  kAttnPostNorm,       // [E], after attention, before its addition
  kMlpNorm,            // [E], before the feed-forward part
  kMlpPostNorm,        // [E], after it, before its addition
  kQkv,                // [(H + 2K) * D, E]: q, k, v rows in this order
  kQ,
  kK,
  kV,  // [H * D, E], [K * D, E], [K * D, E]
  kQNorm,
  kKNorm,    // [D], or [H * D] and [K * D]
  kAttnOut,  // [E, H * D]
  kGateUp,   // [2F, E]: gate rows, then up rows
  kGate,
  kUp,      // [F, E]
  kDown,    // [E, F]
  kRouter,  // [X, E]
  kExpertGate,
  kExpertUp,
  kExpertDown,     // one expert's [F, E], [F, E], [E, F]
  kExpertsGateUp,  // all experts at once: [X, 2F, E]
  kExpertsGate,
  kExpertsUp,
  kExpertsDown,  // [X, F, E], [X, F, E], [X, E, F]
};

struct WeightName {
  Role role;
  std::string_view pattern;
};

struct NameTable {
  std::span<const std::string_view> prefixes;  // what '@' may stand for, tried in order
  std::span<const WeightName> own;             // the family's rows
  std::span<const WeightName> base;            // used for roles without a row in `own`
};

namespace weight_names_detail {

inline constexpr std::string_view kModelPrefixes[] = {"model.", "", "model.language_model.",
                                                      "language_model.model."};
inline constexpr std::string_view kTransformerPrefixes[] = {"transformer.", ""};
inline constexpr std::string_view kNoPrefixes[] = {""};

// --- Hugging Face -------------------------------------------------------------------------------
inline constexpr WeightName kHfBase[] = {
    {Role::kEmbedding, "@embed_tokens.weight"},
    {Role::kFinalNorm, "@norm.weight"},
    {Role::kLmHead, "lm_head.weight"},
    {Role::kAttnNorm, "@layers.{L}.input_layernorm.weight"},
    {Role::kMlpNorm, "@layers.{L}.post_attention_layernorm.weight"},
    {Role::kQkv, "@layers.{L}.self_attn.qkv_proj.weight"},
    {Role::kQ, "@layers.{L}.self_attn.q_proj.weight"},
    {Role::kK, "@layers.{L}.self_attn.k_proj.weight"},
    {Role::kV, "@layers.{L}.self_attn.v_proj.weight"},
    {Role::kQNorm, "@layers.{L}.self_attn.q_norm.weight"},
    {Role::kKNorm, "@layers.{L}.self_attn.k_norm.weight"},
    {Role::kAttnOut, "@layers.{L}.self_attn.o_proj.weight"},
    {Role::kGateUp, "@layers.{L}.mlp.gate_up_proj.weight"},
    {Role::kGate, "@layers.{L}.mlp.gate_proj.weight"},
    {Role::kUp, "@layers.{L}.mlp.up_proj.weight"},
    {Role::kDown, "@layers.{L}.mlp.down_proj.weight"},
    {Role::kRouter, "@layers.{L}.mlp.gate.weight"},
    {Role::kExpertGate, "@layers.{L}.mlp.experts.{X}.gate_proj.weight"},
    {Role::kExpertUp, "@layers.{L}.mlp.experts.{X}.up_proj.weight"},
    {Role::kExpertDown, "@layers.{L}.mlp.experts.{X}.down_proj.weight"},
    {Role::kExpertsGateUp, "@layers.{L}.mlp.experts.gate_up_proj"},
    {Role::kExpertsDown, "@layers.{L}.mlp.experts.down_proj"},
};

inline constexpr WeightName kHfMixtral[] = {
    {Role::kRouter, "@layers.{L}.block_sparse_moe.gate.weight"},
    {Role::kRouter, "@layers.{L}.mlp.gate.weight"},
    {Role::kExpertGate, "@layers.{L}.block_sparse_moe.experts.{X}.w1.weight"},
    {Role::kExpertUp, "@layers.{L}.block_sparse_moe.experts.{X}.w3.weight"},
    {Role::kExpertDown, "@layers.{L}.block_sparse_moe.experts.{X}.w2.weight"},
    {Role::kExpertsGateUp, "@layers.{L}.mlp.experts.gate_up_proj"},
    {Role::kExpertsGateUp, "@layers.{L}.block_sparse_moe.experts.gate_up_proj"},
    {Role::kExpertsDown, "@layers.{L}.mlp.experts.down_proj"},
    {Role::kExpertsDown, "@layers.{L}.block_sparse_moe.experts.down_proj"},
};

// Gemma 2 and 3: four norms a layer.
inline constexpr WeightName kHfGemma2[] = {
    {Role::kAttnPostNorm, "@layers.{L}.post_attention_layernorm.weight"},
    {Role::kMlpNorm, "@layers.{L}.pre_feedforward_layernorm.weight"},
    {Role::kMlpPostNorm, "@layers.{L}.post_feedforward_layernorm.weight"},
};

inline constexpr WeightName kHfOlmo2[] = {
    {Role::kAttnPostNorm, "@layers.{L}.post_attention_layernorm.weight"},
    {Role::kMlpPostNorm, "@layers.{L}.post_feedforward_layernorm.weight"},
};

inline constexpr WeightName kHfPhi[] = {
    {Role::kFinalNorm, "@final_layernorm.weight"},
    {Role::kAttnOut, "@layers.{L}.self_attn.dense.weight"},
    {Role::kUp, "@layers.{L}.mlp.fc1.weight"},
    {Role::kDown, "@layers.{L}.mlp.fc2.weight"},
};

inline constexpr WeightName kHfStarcoder2[] = {
    {Role::kUp, "@layers.{L}.mlp.c_fc.weight"},
    {Role::kDown, "@layers.{L}.mlp.c_proj.weight"},
};

inline constexpr WeightName kHfGpt2[] = {
    {Role::kEmbedding, "@wte.weight"},
    {Role::kPositionEmbedding, "@wpe.weight"},
    {Role::kFinalNorm, "@ln_f.weight"},
    {Role::kAttnNorm, "@h.{L}.ln_1.weight"},
    {Role::kMlpNorm, "@h.{L}.ln_2.weight"},
    {Role::kQkv, "@h.{L}.attn.c_attn.weight"},
    {Role::kAttnOut, "@h.{L}.attn.c_proj.weight"},
    {Role::kUp, "@h.{L}.mlp.c_fc.weight"},
    {Role::kDown, "@h.{L}.mlp.c_proj.weight"},
};

// --- GGUF: one vocabulary for all architectures
// ---------------------------------------------------
inline constexpr WeightName kGgufBase[] = {
    {Role::kEmbedding, "token_embd.weight"},
    {Role::kPositionEmbedding, "position_embd.weight"},
    {Role::kFinalNorm, "output_norm.weight"},
    {Role::kLmHead, "output.weight"},
    {Role::kAttnNorm, "blk.{L}.attn_norm.weight"},
    {Role::kAttnPostNorm, "blk.{L}.post_attention_norm.weight"},
    {Role::kMlpNorm, "blk.{L}.ffn_norm.weight"},
    {Role::kMlpPostNorm, "blk.{L}.post_ffw_norm.weight"},
    {Role::kQkv, "blk.{L}.attn_qkv.weight"},
    {Role::kQ, "blk.{L}.attn_q.weight"},
    {Role::kK, "blk.{L}.attn_k.weight"},
    {Role::kV, "blk.{L}.attn_v.weight"},
    {Role::kQNorm, "blk.{L}.attn_q_norm.weight"},
    {Role::kKNorm, "blk.{L}.attn_k_norm.weight"},
    {Role::kAttnOut, "blk.{L}.attn_output.weight"},
    {Role::kGate, "blk.{L}.ffn_gate.weight"},
    {Role::kUp, "blk.{L}.ffn_up.weight"},
    {Role::kDown, "blk.{L}.ffn_down.weight"},
    {Role::kRouter, "blk.{L}.ffn_gate_inp.weight"},
    {Role::kExpertGate, "blk.{L}.ffn_gate.{X}.weight"},
    {Role::kExpertUp, "blk.{L}.ffn_up.{X}.weight"},
    {Role::kExpertDown, "blk.{L}.ffn_down.{X}.weight"},
    {Role::kExpertsGateUp, "blk.{L}.ffn_gate_up_exps.weight"},
    {Role::kExpertsGate, "blk.{L}.ffn_gate_exps.weight"},
    {Role::kExpertsUp, "blk.{L}.ffn_up_exps.weight"},
    {Role::kExpertsDown, "blk.{L}.ffn_down_exps.weight"},
};

inline constexpr WeightName kGgufPhi3[] = {
    {Role::kGateUp, "blk.{L}.ffn_up.weight"},
};

}  // namespace weight_names_detail

constexpr NameTable weight_names(Family family, NameStyle style) {
  using namespace weight_names_detail;
  if (style == NameStyle::kGguf) {
    if (family == Family::kPhi3) return {kNoPrefixes, kGgufPhi3, kGgufBase};
    return {kNoPrefixes, {}, kGgufBase};
  }
  switch (family) {
    case Family::kMixtral:
      return {kModelPrefixes, kHfMixtral, kHfBase};
    case Family::kGemma2:
    case Family::kGemma3:
      return {kModelPrefixes, kHfGemma2, kHfBase};
    case Family::kOlmo2:
      return {kModelPrefixes, kHfOlmo2, kHfBase};
    case Family::kPhi:
      return {kModelPrefixes, kHfPhi, kHfBase};
    case Family::kStarcoder2:
      return {kModelPrefixes, kHfStarcoder2, kHfBase};
    case Family::kGpt2:
      return {kTransformerPrefixes, kHfGpt2, kHfBase};
    default:
      return {kModelPrefixes, {}, kHfBase};
  }
}

// Tensors that published files carry although the model is complete without them: buffers that old
// versions saved, and GGUF tensors that formats/ reads as part of the configuration. A name that
// ends in one of these is passed over in silence (TensorFinder::check_leftovers).
inline constexpr std::string_view kHarmlessTensorEndings[] = {
    "rotary_emb.inv_freq",      "rotary_emb.cos_cached",
    "rotary_emb.sin_cached",    ".attn.bias",
    ".attn.masked_bias",        "rope_freqs.weight",
    "rope_factors_long.weight", "rope_factors_short.weight",
};

}  // namespace ruvllm
