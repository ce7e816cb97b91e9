#include "formats/hf_rope.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "formats/config_limits.h"

namespace ruvllm {
namespace {

constexpr double kMaxTheta = 1e18;
constexpr double kMinTheta = 1e-3;
constexpr double kMaxFactor = 1e6;
constexpr double kMinFactor = 1e-6;

// A field this engine does not know may change the rotation: it is refused, not skipped.
constexpr std::string_view kKnownKeys[] = {
    "rope_type",    "type",        "rope_theta",       "partial_rotary_factor",
    "factor",       "beta_fast",   "beta_slow",        "original_max_position_embeddings",
    "mscale",       "truncate",    "attention_factor", "mscale_all_dim",
    "short_factor", "long_factor", "low_freq_factor",  "high_freq_factor",
    "finetuned",  // a note of some yarn checkpoints, without effect
};

// What read_rope_object needs beside the object itself.
struct RopeInput {
  double theta = 10000.0;  // when the object has none
  double partial_rotary_factor = 1.0;
  int64_t original_max_positions = 0;  // given beside the object; 0: not
};

void check_keys(JsonFields& fields, const Json& object) {
  if (object.as_object() == nullptr) return;
  for (const JsonMember& member : *object.as_object()) {
    if (std::ranges::find(kKnownKeys, member.key) == std::end(kKnownKeys) &&
        !member.value.is_null()) {
      fields.unsupported(printable(member.key, 40), "this rope field is not supported");
    }
  }
}

int32_t rotary_dim(JsonFields& fields, double partial, int32_t head_dim, bool allow_partial) {
  if (partial != 1.0 && !allow_partial) {
    fields.unsupported("partial_rotary_factor", "found ", partial,
                       ", but this family rotates whole heads");
  }
  const auto dim = static_cast<int32_t>(head_dim * partial);  // truncates, as transformers does
  if (dim < 2 || dim > head_dim || dim % 2 != 0) {
    fields.bad("partial_rotary_factor", "rotates ", dim, " of ", head_dim,
               " elements of a head, expected an even number from 2");
    return 2;
  }
  return dim;
}

// yarn: the share of attention scaling that the lengthened context asks for.
double yarn_mscale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

void read_yarn(JsonFields& fields, int64_t max_positions, RopeConfig& rope) {
  rope.scaling = RopeScaling::kYarn;
  const double implied =
      static_cast<double>(max_positions) / static_cast<double>(rope.original_max_positions);
  rope.factor =
      fields.is_null("factor") ? implied : fields.number("factor", kMinFactor, kMaxFactor);
  rope.beta_fast = fields.number_or("beta_fast", 32.0, 0.0, 1e6);
  rope.beta_slow = fields.number_or("beta_slow", 1.0, 0.0, 1e6);
  // Zero means absent there too.
  if (rope.beta_fast == 0.0) rope.beta_fast = 32.0;
  if (rope.beta_slow == 0.0) rope.beta_slow = 1.0;
  rope.yarn_truncate = fields.flag_or("truncate", true);
  rope.mscale = fields.number_or("mscale", 0.0, 0.0, 1e3);
  rope.mscale_all_dim = fields.number_or("mscale_all_dim", 0.0, 0.0, 1e3);
  const bool both = rope.mscale != 0.0 && rope.mscale_all_dim != 0.0;
  const double inferred =
      both ? yarn_mscale(rope.factor, rope.mscale) / yarn_mscale(rope.factor, rope.mscale_all_dim)
           : yarn_mscale(rope.factor, 1.0);
  rope.attention_factor = fields.number_or("attention_factor", inferred, 1e-6, 1e6);
  if (rope.theta <= 1.0) fields.bad("rope_theta", "found ", rope.theta, ", yarn expects above 1");
}

void read_llama3(JsonFields& fields, RopeConfig& rope) {
  rope.scaling = RopeScaling::kLlama3;
  rope.factor = fields.number("factor", kMinFactor, kMaxFactor);
  rope.low_freq_factor = fields.number("low_freq_factor", kMinFactor, kMaxFactor);
  rope.high_freq_factor = fields.number("high_freq_factor", kMinFactor, kMaxFactor);
  if (rope.high_freq_factor <= rope.low_freq_factor) {
    fields.bad("high_freq_factor", "found ", rope.high_freq_factor,
               ", expected above low_freq_factor ", rope.low_freq_factor);
  }
}

void read_longrope(JsonFields& fields, int64_t max_positions, RopeConfig& rope) {
  rope.scaling = RopeScaling::kLongRope;
  const auto pairs = static_cast<size_t>(rope.rotary_dim / 2);
  rope.short_factors = fields.positive_floats("short_factor", pairs, kMaxFactor);
  rope.long_factors = fields.positive_floats("long_factor", pairs, kMaxFactor);
  const double original = static_cast<double>(rope.original_max_positions);
  rope.factor =
      fields.number_or("factor", static_cast<double>(max_positions) / original, 1e-6, kMaxFactor);
  if (rope.original_max_positions < 2) {
    fields.bad("original_max_position_embeddings", "found ", rope.original_max_positions,
               ", longrope expects at least 2");
  }
  const double inferred =
      rope.factor <= 1.0 ? 1.0 : std::sqrt(1.0 + std::log(rope.factor) / std::log(original));
  rope.attention_factor = fields.number_or("attention_factor", inferred, 1e-6, 1e6);
}

// One rope object (possibly an empty one).
RopeConfig read_rope_object(JsonFields& fields, const RopeInput& input, const ModelConfig& config,
                            const HfRopeDefaults& defaults) {
  RopeConfig rope;
  rope.theta = fields.number_or("rope_theta", input.theta, kMinTheta, kMaxTheta);
  const double partial =
      fields.number_or("partial_rotary_factor", input.partial_rotary_factor, 0.0, 1.0);
  rope.rotary_dim = rotary_dim(fields, partial, config.head_dim, defaults.allow_partial);

  std::string type = fields.text_or("rope_type", fields.text_or("type", "default"));
  if (defaults.yarn_means_longrope && (type == "su" || type == "yarn")) type = "longrope";
  if (type == "default") return rope;

  const int64_t given =
      fields.integer_or("original_max_position_embeddings", config.max_positions, 1, kMaxPositions);
  rope.original_max_positions =
      input.original_max_positions > 0 ? input.original_max_positions : given;
  if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
    rope.factor = fields.number("factor", kMinFactor, kMaxFactor);
  } else if (type == "llama3") {
    read_llama3(fields, rope);
  } else if (type == "yarn") {
    read_yarn(fields, config.max_positions, rope);
  } else if (type == "longrope") {
    read_longrope(fields, config.max_positions, rope);
  } else {
    fields.unsupported("rope_type", "\"", printable(type, 32), "\" is not supported",
                       type == "dynamic" ? " (dynamic NTK)" : "",
                       "; known: default, linear, yarn, llama3, longrope");
  }
  return rope;
}

// The object that holds the scaling, and its name for messages: rope_scaling of transformers 4 wins
// over rope_parameters of transformers 5 when a file has both.
const Json* rope_object(const JsonFields& fields, std::string& name) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const Json* object = fields.find(key);
    if (object == nullptr) continue;
    if (object->as_object() != nullptr && object->as_object()->empty()) continue;
    name = key;
    return object;
  }
  return nullptr;
}

}  // namespace

RopeConfig read_hf_rope(JsonFields& fields, const ModelConfig& config,
                        const HfRopeDefaults& defaults) {
  RopeInput input;
  input.theta = fields.number_or("rope_theta", defaults.theta, kMinTheta, kMaxTheta);
  input.partial_rotary_factor =
      fields.number_or("partial_rotary_factor", defaults.partial_rotary_factor, 0.0, 1.0);
  input.original_max_positions =
      fields.integer_or("original_max_position_embeddings", 0, 1, kMaxPositions);

  std::string name = "rope";
  static const Json kEmpty{Json::Object()};
  const Json* object = rope_object(fields, name);
  if (object == nullptr) object = &kEmpty;
  JsonFields rope_fields(*object, concat(fields.where(), ": ", name));
  check_keys(rope_fields, *object);
  RopeConfig rope = read_rope_object(rope_fields, input, config, defaults);
  fields.adopt(rope_fields.status());
  return rope;
}

void read_gemma3_ropes(JsonFields& fields, ModelConfig& config) {
  static const Json kEmpty{Json::Object()};
  RopeInput global;
  global.theta = fields.number_or("rope_theta", 1e6, kMinTheta, kMaxTheta);
  RopeInput local;
  local.theta = fields.number_or("rope_local_base_freq", 1e4, kMinTheta, kMaxTheta);

  const Json* full = &kEmpty;
  const Json* sliding = &kEmpty;
  std::string full_name = "rope_scaling";
  if (const Json* parameters = fields.find("rope_parameters")) {
    JsonFields nested(*parameters, concat(fields.where(), ": rope_parameters"));
    if (const Json* object = nested.find("full_attention")) full = object;
    if (const Json* object = nested.find("sliding_attention")) sliding = object;
    if (full == &kEmpty && sliding == &kEmpty) {
      nested.bad("full_attention", "found nothing, expected one object per kind of layer");
    }
    full_name = "rope_parameters.full_attention";
    fields.adopt(nested.status());
  } else if (const Json* scaling = fields.find("rope_scaling")) {
    full = scaling;
  }
  JsonFields full_fields(*full, concat(fields.where(), ": ", full_name));
  check_keys(full_fields, *full);
  config.rope = read_rope_object(full_fields, global, config, {});
  fields.adopt(full_fields.status());
  JsonFields local_fields(*sliding, concat(fields.where(), ": rope_parameters.sliding_attention"));
  check_keys(local_fields, *sliding);
  config.rope_local = read_rope_object(local_fields, local, config, {});
  fields.adopt(local_fields.status());
}

}  // namespace ruvllm
