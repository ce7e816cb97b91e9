#include "formats/config_limits.h"

#include <cmath>
#include <string>

#include "base/str.h"

namespace ruvllm {
namespace {

Status check_rope(const RopeConfig& rope, const ModelConfig& config, const std::string& file) {
  if (rope.rotary_dim < 2 || rope.rotary_dim > config.head_dim || rope.rotary_dim % 2 != 0) {
    return fail(ErrorCode::kBadFile,
                concat(file, ": rotary dimension: found ", rope.rotary_dim,
                       ", expected an even number from 2 to the head dimension ", config.head_dim));
  }
  if (!(rope.theta > 0.0) || !std::isfinite(rope.theta)) {
    return fail(ErrorCode::kBadFile,
                concat(file, ": rope base: found ", rope.theta, ", expected a number above 0"));
  }
  return {};
}

Status check_id(const char* name, int32_t id, const ModelConfig& config, const std::string& file) {
  if (id >= -1 && id < config.vocab_size) return {};
  return fail(ErrorCode::kBadFile,
              concat(file, ": ", name, ": found ", id,
                     ", expected an id below the vocabulary size ", config.vocab_size));
}

}  // namespace

Status check_model_config(const ModelConfig& config, const std::string& file) {
  const auto bad = [&](const auto&... parts) {
    return fail(ErrorCode::kBadFile, concat(file, ": ", parts...));
  };
  if (config.num_kv_heads < 1 || config.num_heads % config.num_kv_heads != 0) {
    return bad("key/value heads: found ", config.num_kv_heads, ", expected a divisor of the ",
               config.num_heads, " heads");
  }
  if (!(config.norm_eps >= 0.0f) || config.norm_eps > 1.0f) {
    return bad("norm epsilon: found ", config.norm_eps, ", expected from 0 to 1");
  }
  if (!(config.attention_scale > 0.0f) || !std::isfinite(config.attention_scale)) {
    return bad("attention scale: found ", config.attention_scale, ", expected above 0");
  }
  bool any_rope = false;
  bool any_local = false;
  bool any_moe = false;
  for (const LayerConfig& layer : config.layers) {
    any_rope = any_rope || (layer.use_rope && !layer.local_rope);
    any_local = any_local || (layer.use_rope && layer.local_rope);
    any_moe = any_moe || layer.moe;
  }
  if (any_rope) RUVLLM_TRY(check_rope(config.rope, config, file));
  if (any_local) RUVLLM_TRY(check_rope(config.rope_local, config, file));
  if (any_moe && (config.num_experts < 1 || config.experts_per_token < 1 ||
                  config.experts_per_token > config.num_experts || config.expert_ffn_size < 1)) {
    return bad("experts per token: found ", config.experts_per_token, ", expected from 1 to the ",
               config.num_experts, " experts");
  }
  RUVLLM_TRY(check_id("bos id", config.bos_id, config, file));
  for (const int32_t id : config.eos_ids) RUVLLM_TRY(check_id("eos id", id, config, file));
  return check_id("padding id", config.pad_id, config, file);
}

}  // namespace ruvllm
