#include "lora/lora_config.h"

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "base/str.h"
#include "formats/json_fields.h"
#include "ops/lora_batch.h"

namespace ruvllm {
namespace {

constexpr double kMaxAlpha = 1e6;

// Fields that say nothing about the arithmetic of a trained adapter.
constexpr std::string_view kHarmless[] = {
    "auto_mapping",      "base_model_name_or_path",
    "corda_config",      "ensure_weight_tying",
    "eva_config",        "fan_in_fan_out",
    "inference_mode",    "layers_pattern",
    "loftq_config",      "lora_dropout",
    "lora_ga_config",    "megatron_config",
    "megatron_core",     "peft_version",
    "qalora_group_size", "revision",
    "runtime_config",    "task_type",
    "unsloth_fixed",     "velora_config",
};

// Fields that do, and what to say when they are set.
struct Refusal {
  std::string_view field;
  std::string_view why;
};
constexpr Refusal kRefused[] = {
    {"use_dora", "DoRA adapters are not supported"},
    {"lora_bias", "adapters with biases are not supported"},
    {"layer_replication", "adapters that replicate layers are not supported"},
    {"modules_to_save", "modules trained in full are not supported"},
    {"use_qalora", "QA-LoRA adapters are not supported"},
    {"use_bdlora", "BD-LoRA adapters are not supported"},
    {"alora_invocation_tokens", "activated LoRA is not supported"},
    {"arrow_config", "Arrow routing is not supported"},
    {"kasa_config", "KaSA adapters are not supported"},
    {"monteclora_config", "MonteCLoRA adapters are not supported"},
    {"target_parameters", "adapters of single parameters are not supported"},
    {"trainable_token_indices", "trained tokens are not supported"},
};

// Whether a value asks for something: not null, false, "" or an empty list or object.
bool is_set(const Json& value) {
  if (value.is_null() || value.as_bool() == false) return false;
  if (const auto* text = value.as_string()) return !text->empty();
  if (const auto* array = value.as_array()) return !array->empty();
  if (const auto* object = value.as_object()) return !object->empty();
  return true;
}

bool has_ending(std::string_view name, std::string_view ending) {
  if (!name.ends_with(ending)) return false;
  return name.size() == ending.size() || name[name.size() - ending.size() - 1] == '.';
}

void refuse_fields(JsonFields& fields, const Json& config) {
  for (const Refusal& refusal : kRefused) {
    const Json* value = fields.find(refusal.field);
    if (value != nullptr && is_set(*value)) fields.unsupported(refusal.field, refusal.why);
  }
  if (const std::string bias = fields.text_or("bias", "none"); bias != "none") {
    fields.unsupported("bias", "found \"", printable(bias), "\", expected \"none\"");
  }
  // Some ways to begin a training change the base model, too; what was trained then does not fit
  // the base as it was published.
  const Json* init = fields.find("init_lora_weights");
  const std::string* how = init != nullptr ? init->as_string() : nullptr;
  constexpr std::string_view kInits[] = {"gaussian", "eva", "orthogonal"};
  if (how != nullptr && std::ranges::find(kInits, *how) == std::end(kInits)) {
    fields.unsupported("init_lora_weights", "found \"", printable(*how),
                       "\", which changes the base model's weights; convert the adapter to plain "
                       "LoRA first");
  }
  for (const std::string_view field : kHarmless) fields.find(field);
  if (const Json::Object* members = config.as_object()) {
    for (const JsonMember& member : *members) {
      const Json* value = fields.not_asked_for(member.key);
      if (value != nullptr && is_set(*value)) {
        fields.unsupported(printable(member.key), "a field this engine does not know, found ",
                           printable(value->dump(), 48));
      }
    }
  }
}

Result<ModuleSelector> parse_selector(JsonFields& fields, std::string_view key) {
  ModuleSelector selector;
  const Json* value = fields.find(key);
  if (value == nullptr) return selector;
  if (const std::string* text = value->as_string()) {
    if (*text == "all-linear") {
      selector.all_linear = true;
      return selector;
    }
    auto pattern = NamePattern::compile(*text);
    if (!pattern) {
      fields.unsupported(key, pattern.error().message);
    } else {
      selector.pattern = *std::move(pattern);
    }
    return selector;
  }
  const Json::Array* items = value->as_array();
  if (items == nullptr) {
    fields.bad(key, "found ", printable(value->dump(), 48), ", expected names or a pattern");
    return selector;
  }
  for (const Json& item : *items) {
    const std::string* text = item.as_string();
    if (text == nullptr || text->empty()) {
      fields.bad(key, "found ", printable(item.dump(), 48), ", expected a module's name");
      return selector;
    }
    selector.endings.push_back(*text);
  }
  return selector;
}

// An object of key pattern -> number.
template <typename N>
std::vector<std::pair<NamePattern, N>> parse_patterns(JsonFields& fields, std::string_view key,
                                                      double min, double max) {
  std::vector<std::pair<NamePattern, N>> out;
  const Json* value = fields.find(key);
  if (value == nullptr) return out;
  const Json::Object* members = value->as_object();
  if (members == nullptr) {
    fields.bad(key, "found ", value->type_name(), ", expected an object");
    return out;
  }
  for (const JsonMember& member : *members) {
    // As PEFT does: the key may also stand for the end of a name.
    std::string_view text = member.key;
    if (text.starts_with('^')) text.remove_prefix(1);
    auto pattern = NamePattern::compile(
        concat(member.key.starts_with('^') ? "(?:" : "(?:.*\\.)?(?:", text, ")"));
    const auto number = member.value.as_double();
    const bool whole = std::is_floating_point_v<N> || member.value.is_integer();
    if (!pattern) {
      fields.unsupported(key, pattern.error().message);
    } else if (!number || !whole || !(*number >= min && *number <= max)) {
      fields.bad(key, printable(member.key), ": found ", printable(member.value.dump(), 48),
                 ", expected a number from ", min, " to ", max);
    } else {
      out.emplace_back(*std::move(pattern), static_cast<N>(*number));
    }
  }
  return out;
}

void parse_layers(JsonFields& fields, LoraConfig& config) {
  const Json* value = fields.find("layers_to_transform");
  if (value == nullptr) return;
  const Json::Array single = {*value};
  const Json::Array* items = value->as_array();
  if (items == nullptr) items = &single;
  for (const Json& item : *items) {
    const auto number = item.as_int64();
    if (!number || *number < 0) {
      fields.bad("layers_to_transform", "found ", printable(item.dump(), 48),
                 ", expected layer numbers");
      return;
    }
    config.layers.push_back(*number);
  }
}

}  // namespace

Result<bool> ModuleSelector::selects(const LoraModule& module) const {
  if (all_linear) return module.site != LoraSite::kEmbedding && module.site != LoraSite::kLmHead;
  if (pattern) return pattern->matches(module.name);
  return std::ranges::any_of(
      endings, [&](const std::string& ending) { return has_ending(module.name, ending); });
}

Result<bool> LoraConfig::targets(const LoraModule& module) const {
  RUVLLM_ASSIGN(const bool excluded, exclude.selects(module));
  if (excluded) return false;
  RUVLLM_ASSIGN(const bool selected, target.selects(module));
  if (!selected || layers.empty() || target.pattern) return selected;
  return std::ranges::find(layers, module.layer) != layers.end();
}

Result<int32_t> LoraConfig::rank_of(const LoraModule& module) const {
  for (const auto& [pattern, value] : rank_pattern) {
    RUVLLM_ASSIGN(const bool matches, pattern.matches(module.name));
    if (matches) return value;
  }
  return rank;
}

Result<double> LoraConfig::scale_of(const LoraModule& module) const {
  RUVLLM_ASSIGN(const int32_t r, rank_of(module));
  double numerator = alpha;
  for (const auto& [pattern, value] : alpha_pattern) {
    RUVLLM_ASSIGN(const bool matches, pattern.matches(module.name));
    if (!matches) continue;
    numerator = value;
    break;
  }
  return use_rslora ? numerator / std::sqrt(static_cast<double>(r)) : numerator / r;
}

Result<LoraConfig> parse_lora_config(std::string_view json, const std::string& file) {
  const auto parsed = Json::parse(json);
  if (!parsed) return fail(ErrorCode::kBadFile, concat(file, ": ", parsed.error().message));
  JsonFields fields(*parsed, file);
  if (!fields.ok()) return std::unexpected(fields.status().error());
  if (const std::string type = fields.text_or("peft_type", ""); type != "LORA") {
    const std::string message = concat(
        file, ": peft_type: found ", type.empty() ? "nothing" : printable(type), ", expected LORA");
    return fail(type.empty() ? ErrorCode::kBadFile : ErrorCode::kUnsupported, message);
  }
  LoraConfig config;
  config.file = file;
  config.rank = static_cast<int32_t>(fields.integer_or("r", 8, 1, kMaxLoraRank));
  config.alpha = fields.number_or("lora_alpha", 8.0, -kMaxAlpha, kMaxAlpha);
  config.use_rslora = fields.flag_or("use_rslora", false);
  config.rank_pattern = parse_patterns<int32_t>(fields, "rank_pattern", 1, kMaxLoraRank);
  config.alpha_pattern = parse_patterns<double>(fields, "alpha_pattern", -kMaxAlpha, kMaxAlpha);
  RUVLLM_ASSIGN(config.target, parse_selector(fields, "target_modules"));
  RUVLLM_ASSIGN(config.exclude, parse_selector(fields, "exclude_modules"));
  parse_layers(fields, config);
  refuse_fields(fields, *parsed);
  RUVLLM_TRY(fields.status());
  return config;
}

}  // namespace ruvllm
