#include "formats/hf_config.h"

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "base/str.h"
#include "formats/foreign_fields.h"
#include "formats/hf_families.h"
#include "formats/json_fields.h"
#include "formats/quantized_config.h"

namespace ruvllm {
namespace {

Result<Json> parse_object(std::string_view json, const std::string& file) {
  auto root = Json::parse(json);
  if (!root) {
    return fail(ErrorCode::kBadFile, concat(file, ": ", root.error().message));
  }
  if (!root->is_object()) {
    return fail(ErrorCode::kBadFile,
                concat(file, ": found ", root->type_name(), ", expected an object"));
  }
  return std::move(*root);
}

std::string known_architectures() {
  std::string out;
  for (const HfFamily& row : hf_families()) {
    if (!out.empty()) out += ", ";
    out += row.architecture;
  }
  return out;
}

// The row of the table that a config belongs to. model_type decides, as in transformers, and the
// first of `architectures` must be that family's language model.
const HfFamily* find_family(JsonFields& fields) {
  const std::string model_type = fields.text_or("model_type", "");
  std::string architecture;
  if (const Json* list = fields.find("architectures")) {
    const Json::Array* array = list->as_array();
    const std::string* first =
        array != nullptr && !array->empty() ? array->front().as_string() : nullptr;
    if (first != nullptr) {
      architecture = *first;
    } else if (array == nullptr || !array->empty()) {
      fields.bad("architectures", "expected an array of names");
    }
  }
  if (!fields.ok()) return nullptr;
  if (architecture.empty() && model_type.empty()) {
    fields.bad("architectures", "found nothing, expected the name of an architecture");
    return nullptr;
  }
  for (const HfFamily& row : hf_families()) {
    if (architecture.empty() ? model_type != row.model_type : architecture != row.architecture) {
      continue;
    }
    if (!model_type.empty() && model_type != row.model_type) {
      fields.bad("model_type", "found \"", printable(model_type, 32), "\", expected \"",
                 row.model_type, "\" for ", row.architecture);
      return nullptr;
    }
    return &row;
  }
  fields.unsupported(architecture.empty() ? "model_type" : "architectures", "\"",
                     printable(architecture.empty() ? model_type : architecture, 48),
                     "\" is not supported; known: ", known_architectures());
  return nullptr;
}

// bos_token_id and the like: an id, a list of ids (for eos), null or absent.
std::vector<int32_t> read_ids(JsonFields& fields, std::string_view key, int64_t vocab_size,
                              bool list_allowed) {
  std::vector<int32_t> ids;
  const Json* value = fields.find(key);
  if (value == nullptr) return ids;
  const Json::Array* array = value->as_array();
  const Json* const begin = array != nullptr ? array->data() : value;
  const size_t count = array != nullptr ? array->size() : 1;
  if (array != nullptr && (!list_allowed || count > 1024)) {
    fields.bad(key, "found an array of ", count, ", expected ",
               list_allowed ? "at most 1024 ids" : "an id");
    return ids;
  }
  for (size_t i = 0; i < count; ++i) {
    const auto id = begin[i].as_int64();
    if (!id || *id < 0 || *id >= vocab_size) {
      fields.bad(key, "found ", printable(begin[i].dump(), 32), ", expected an id from 0 to ",
                 vocab_size - 1);
      return ids;
    }
    if (std::ranges::find(ids, static_cast<int32_t>(*id)) == ids.end()) {
      ids.push_back(static_cast<int32_t>(*id));
    }
  }
  return ids;
}

void read_token_ids(JsonFields& fields, const HfFamily& family, ModelConfig& config) {
  const int32_t vocab = config.vocab_size;
  // A family's default id may lie outside a smaller vocabulary: then there is none.
  const auto default_id = [&](int32_t id) { return id < vocab ? id : -1; };
  const bool no_bos = fields.is_null("bos_token_id");
  const auto bos = read_ids(fields, "bos_token_id", vocab, false);
  config.bos_id = !bos.empty() ? bos[0] : no_bos ? -1 : default_id(family.bos_id);
  const bool no_eos = fields.is_null("eos_token_id");
  config.eos_ids = read_ids(fields, "eos_token_id", vocab, true);
  if (config.eos_ids.empty() && !no_eos && default_id(family.eos_id) >= 0) {
    config.eos_ids.push_back(family.eos_id);
  }
  // Some published files pad with -1 or with an id past the vocabulary; padding is never embedded
  // here, so those mean "none".
  const int64_t pad = fields.integer_or("pad_token_id", -1, INT64_MIN, INT64_MAX);
  config.pad_id = pad >= 0 && pad < vocab ? static_cast<int32_t>(pad) : -1;
}

// The vision-language Gemma 3 models: their text part as the config of a Gemma3ForCausalLM.
// Published files leave out of text_config what is the class's default, sizes too, and keep the
// token ids outside it. nullopt for every other config.
std::optional<Json> gemma3_text_part(const Json& root) {
  const Json* architectures = root.find("architectures");
  const Json::Array* list = architectures != nullptr ? architectures->as_array() : nullptr;
  const std::string* name = list != nullptr && !list->empty() ? list->front().as_string() : nullptr;
  const Json* text = root.find("text_config");
  if (name == nullptr || *name != kGemma3WithImages || text == nullptr || !text->is_object()) {
    return std::nullopt;
  }
  Json::Object members = *text->as_object();
  const auto add_missing = [&](const char* key, const Json& value) {
    if (text->find(key) == nullptr) members.push_back({key, value});
  };
  constexpr std::pair<const char*, int64_t> kSizes[] = {{"vocab_size", 262208},
                                                        {"hidden_size", 2304},
                                                        {"intermediate_size", 9216},
                                                        {"num_hidden_layers", 26},
                                                        {"num_attention_heads", 8}};
  for (const auto& [key, value] : kSizes) add_missing(key, Json(value));
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id", "quantization_config"}) {
    if (const Json* value = root.find(key)) add_missing(key, *value);
  }
  add_missing("model_type", Json(std::string("gemma3_text")));
  return Json(std::move(members));
}

}  // namespace

std::vector<std::string_view> supported_hf_architectures() {
  std::vector<std::string_view> names;
  for (const HfFamily& row : hf_families()) names.push_back(row.architecture);
  return names;
}

std::string hf_text_tensor_name(std::string_view name) {
  constexpr std::string_view kOld = "language_model.";  // transformers 4.50 and published files
  constexpr std::string_view kNew = "model.language_model.";  // later
  if (name.starts_with(kOld)) return std::string(name.substr(kOld.size()));
  if (name.starts_with(kNew)) return concat("model.", name.substr(kNew.size()));
  return name == "lm_head.weight" ? std::string(name) : std::string();
}

Result<ModelConfig> parse_hf_config(std::string_view json, const std::string& file) {
  RUVLLM_ASSIGN(const Json root, parse_object(json, file));
  const std::optional<Json> text_part = gemma3_text_part(root);
  JsonFields fields(text_part ? *text_part : root, file);
  const HfFamily* family = find_family(fields);
  if (family == nullptr) return std::unexpected(fields.status().error());

  if (const Json* quantization = fields.find("quantization_config")) {
    RUVLLM_TRY(parse_quantization_config(*quantization, file));
  }
  ModelConfig config;
  config.family = family->family;
  config.architecture = text_part ? kGemma3WithImages : family->architecture;
  read_hf_family(fields, *family, config);
  read_token_ids(fields, *family, config);
  refuse_foreign_fields(fields, config);
  RUVLLM_TRY(fields.status());
  RUVLLM_TRY(check_model_config(config, file));
  return config;
}

Status apply_generation_config(std::string_view json, const std::string& file, ModelConfig& config,
                               GenerationDefaults& defaults) {
  RUVLLM_ASSIGN(const Json root, parse_object(json, file));
  JsonFields fields(root, file);
  const auto bos = read_ids(fields, "bos_token_id", config.vocab_size, false);
  if (!bos.empty()) config.bos_id = bos[0];
  auto eos = read_ids(fields, "eos_token_id", config.vocab_size, true);
  if (!eos.empty()) config.eos_ids = std::move(eos);

  const auto number = [&](std::string_view key, double max) -> std::optional<float> {
    if (!fields.has(key)) return std::nullopt;
    return static_cast<float>(fields.number(key, 0.0, max));
  };
  defaults.temperature = number("temperature", 1e4);
  defaults.top_p = number("top_p", 1.0);
  defaults.min_p = number("min_p", 1.0);
  defaults.repetition_penalty = number("repetition_penalty", 1e4);
  if (fields.has("top_k")) {
    defaults.top_k = static_cast<int32_t>(fields.integer("top_k", 0, INT32_MAX));
  }
  return fields.status();
}

Result<Pooling> parse_pooling_config(std::string_view json, const std::string& file) {
  RUVLLM_ASSIGN(const Json root, parse_object(json, file));
  JsonFields fields(root, file);
  struct Mode {
    std::string_view flag;
    std::string_view name;
    std::optional<Pooling> pooling;
  };
  static constexpr Mode kModes[] = {
      {"pooling_mode_mean_tokens", "mean", Pooling::kMean},
      {"pooling_mode_lasttoken", "lasttoken", Pooling::kLastToken},
      {"pooling_mode_cls_token", "cls", Pooling::kFirstToken},
      {"pooling_mode_max_tokens", "max", std::nullopt},
      {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", std::nullopt},
      {"pooling_mode_weightedmean_tokens", "weightedmean", std::nullopt},
  };
  const std::string named = fields.text_or("pooling_mode", "");
  const Mode* chosen = nullptr;
  for (const Mode& mode : kModes) {
    if (!fields.flag_or(mode.flag, false) && named != mode.name) continue;
    if (chosen != nullptr) fields.unsupported(mode.flag, "two pooling modes at once");
    chosen = &mode;
  }
  RUVLLM_TRY(fields.status());
  if (chosen == nullptr || !chosen->pooling) {
    return fail(
        ErrorCode::kUnsupported,
        concat(file, ": pooling mode ", chosen != nullptr ? chosen->name : printable(named, 32),
               " is not supported; known: mean, lasttoken, cls"));
  }
  return *chosen->pooling;
}

}  // namespace ruvllm
