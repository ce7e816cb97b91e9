#include "formats/gguf_rope.h"

#include <cmath>
#include <cstring>

#include "formats/config_limits.h"

namespace ruvllm {
namespace {

constexpr double kMaxFactor = 1e6;
constexpr double kMinFactor = 1e-6;

// A small f32 vector that belongs to the config; empty when the file has no such tensor.
std::vector<float> read_factors(GgufFields& fields, const GgufFile& file, std::string_view name,
                                int32_t pairs) {
  const FileTensor* tensor = find_gguf_tensor(file, name);
  if (tensor == nullptr) return {};
  const TensorView& view = tensor->view;
  if (view.dtype != DType::kF32 || view.rank != 1 || view.dim(0) != pairs) {
    fields.bad("rope.dimension_count", name, ": found ", view.describe(), ", expected [", pairs,
               "] f32");
    return {};
  }
  std::vector<float> out(static_cast<size_t>(pairs));
  std::memcpy(out.data(), view.data, out.size() * sizeof(float));
  for (const float value : out) {
    if (value > 0.0f && std::isfinite(value)) continue;
    fields.bad("rope.dimension_count", name, ": found ", value, ", expected numbers above 0");
    return {};
  }
  return out;
}

void read_yarn(GgufFields& fields, RopeConfig& rope) {
  rope.scaling = RopeScaling::kYarn;
  rope.beta_fast = fields.number_or("rope.scaling.yarn_beta_fast", 32.0, kMinFactor, 1e6);
  rope.beta_slow = fields.number_or("rope.scaling.yarn_beta_slow", 1.0, kMinFactor, 1e6);
  if (fields.number_or("rope.scaling.yarn_ext_factor", 1.0, -1.0, 1e6) != 1.0) {
    fields.unsupported("rope.scaling.yarn_ext_factor", "expected 1");
  }
  if (fields.number_or("rope.scaling.yarn_log_multiplier", 0.0, -1e6, 1e6) != 0.0) {
    fields.unsupported("rope.scaling.yarn_log_multiplier", "expected 0");
  }
  const double inferred = rope.factor <= 1.0 ? 1.0 : 0.1 * std::log(rope.factor) + 1.0;
  rope.attention_factor =
      fields.number_or("rope.scaling.yarn_attn_factor", inferred, kMinFactor, kMaxFactor) *
      fields.number_or("rope.scaling.attn_factor", 1.0, kMinFactor, kMaxFactor);
  if (rope.theta <= 1.0) fields.bad("rope.freq_base", "yarn expects a base above 1");
}

void read_longrope(GgufFields& fields, const ModelConfig& config, RopeConfig& rope) {
  rope.scaling = RopeScaling::kLongRope;
  if (rope.short_factors.empty() || rope.long_factors.empty()) {
    fields.bad("rope.scaling.type",
               "longrope needs both rope_factors_short.weight and "
               "rope_factors_long.weight");
    return;
  }
  if (rope.original_max_positions < 2) {
    fields.bad("rope.scaling.original_context_length", "found ", rope.original_max_positions,
               ", longrope expects at least 2");
    return;
  }
  const double original = static_cast<double>(rope.original_max_positions);
  rope.factor = static_cast<double>(config.max_positions) / original;
  const double inferred =
      rope.factor <= 1.0 ? 1.0 : std::sqrt(1.0 + std::log(rope.factor) / std::log(original));
  rope.attention_factor =
      fields.number_or("rope.scaling.attn_factor", inferred, kMinFactor, kMaxFactor);
}

// The factor, under its present or its old name; 0 means none.
double read_factor(GgufFields& fields) {
  const char* key = fields.has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear";
  const double factor = fields.number_or(key, 1.0, 0.0, kMaxFactor);
  return factor == 0.0 ? 1.0 : factor;
}

}  // namespace

const FileTensor* find_gguf_tensor(const GgufFile& file, std::string_view name) {
  for (const FileTensor& tensor : file.tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

RopeConfig read_gguf_rope(GgufFields& fields, const GgufFile& file, const ModelConfig& config) {
  RopeConfig rope;
  rope.theta = fields.number_or("rope.freq_base", 10000.0, 1e-3, 1e18);
  rope.rotary_dim = static_cast<int32_t>(
      fields.integer_or("rope.dimension_count", config.head_dim, 2, config.head_dim));
  if (fields.has("rope.dimension_sections")) {
    fields.unsupported("rope.dimension_sections", "multi-axis rope is not supported");
  }
  if (fields.has("rope.scaling.alpha")) {
    fields.unsupported("rope.scaling.alpha", "dynamic NTK scaling is not supported");
  }
  rope.factor = read_factor(fields);
  rope.original_max_positions = fields.integer_or("rope.scaling.original_context_length",
                                                  config.max_positions, 1, kMaxPositions);
  const int32_t pairs = rope.rotary_dim / 2;
  rope.short_factors = read_factors(fields, file, "rope_factors_short.weight", pairs);
  rope.long_factors = read_factors(fields, file, "rope_factors_long.weight", pairs);
  rope.freq_divisors = read_factors(fields, file, "rope_freqs.weight", pairs);
  const bool has_long = !rope.short_factors.empty() || !rope.long_factors.empty();

  // Absent means linear; converters of Phi-3 write the factors and no type.
  const std::string_view type =
      fields.text_or("rope.scaling.type", has_long ? "longrope" : "linear");
  if (type == "longrope" || has_long) {
    read_longrope(fields, config, rope);
  } else if (type == "yarn") {
    read_yarn(fields, rope);
  } else if (type == "linear") {
    rope.scaling = rope.factor != 1.0 ? RopeScaling::kLinear : RopeScaling::kNone;
  } else if (type == "none") {
    rope.factor = 1.0;
  } else {
    fields.unsupported("rope.scaling.type", "\"", printable(type, 32),
                       "\" is not supported; known: none, linear, yarn, longrope");
  }
  if (!rope.freq_divisors.empty() && rope.scaling != RopeScaling::kNone) {
    if (rope.scaling != RopeScaling::kLinear) {
      fields.unsupported("rope.scaling.type", "\"", printable(type, 32),
                         "\" together with rope_freqs.weight is not supported");
    }
    for (float& divisor : rope.freq_divisors) divisor *= static_cast<float>(rope.factor);
    rope.scaling = RopeScaling::kNone;
    rope.factor = 1.0;
  }
  return rope;
}

}  // namespace ruvllm
