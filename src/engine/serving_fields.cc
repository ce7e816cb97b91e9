#include "engine/serving_fields.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/str.h"
#include "quantize/isq_config.h"

namespace ruvllm {
namespace {

constexpr ServingField kFields[] = {
    {"paged_attention.block_size", "--block-size", "N", "tokens per KV page", 1, 2048,
     [](ServingConfig& c) -> ServingTarget { return &c.paged_attention.block_size; }},
    {"paged_attention.max_blocks", "--max-blocks", "N", "KV pages at most", 1, 1 << 28,
     [](ServingConfig& c) -> ServingTarget { return &c.paged_attention.max_blocks; }},
    {"paged_attention.gpu_memory_fraction", "--gpu-memory-utilization", "X",
     "KV pages take at most this part of the memory that is free after the weights", 0, 1,
     [](ServingConfig& c) -> ServingTarget { return &c.paged_attention.gpu_memory_fraction; }},
    {"paged_attention.enable_prefix_caching", "--enable-prefix-caching", "",
     "keep prompts for the next ones", 0, 0,
     [](ServingConfig& c) -> ServingTarget { return &c.paged_attention.enable_prefix_caching; }},
    {"max_concurrent_requests", "--max-num-seqs", "N", "sequences that are computed at a time", 1,
     4096, [](ServingConfig& c) -> ServingTarget { return &c.max_concurrent_requests; }},
    {"max_batched_tokens", "--max-num-batched-tokens", "N", "tokens of one step", 2, 1 << 16,
     [](ServingConfig& c) -> ServingTarget { return &c.max_batched_tokens; }},
    {"max_waiting_requests", "--max-waiting-seqs", "N",
     "sequences that wait beside those; more are refused", 0, 1 << 19,
     [](ServingConfig& c) -> ServingTarget { return &c.max_waiting_requests; }},
    {"kv_cache_memory_bytes", "--kv-cache-memory-bytes", "BYTES",
     "memory of the KV pages (4G, 512M); instead of --max-blocks and --gpu-memory-utilization", 0,
     0, [](ServingConfig& c) -> ServingTarget { return &c.kv_cache_memory_bytes; }},
};

struct DeviceName {
  std::string_view name;
  DeviceKind kind;
};
constexpr DeviceName kDevices[] = {{"auto", DeviceKind::kAuto},
                                   {"cpu", DeviceKind::kCpu},
                                   {"cuda", DeviceKind::kCuda},
                                   {"metal", DeviceKind::kMetal}};

struct MixingName {
  std::string_view name;
  XLoraMixingMode mode;
};
constexpr MixingName kMixing[] = {{"additive", XLoraMixingMode::kAdditive},
                                  {"concatenate", XLoraMixingMode::kConcatenate},
                                  {"gated", XLoraMixingMode::kGated}};

Json text(std::string_view value) {
  return Json(std::string(value));
}

// A float as it is written: 0.9, not 0.8999999762. Reads back as the same float.
Json number(float value) {
  double written = 0.0;
  parse_number(concat(value), written);
  return Json(written);
}

Json value_of(const ServingTarget& target) {
  if (const auto* const* p = std::get_if<int32_t*>(&target)) return Json(int64_t{**p});
  if (const auto* const* p = std::get_if<float*>(&target)) return number(**p);
  if (const auto* const* p = std::get_if<bool*>(&target)) return Json(**p);
  return Json(**std::get_if<uint64_t*>(&target));
}

std::unexpected<Error> wrong(std::string_view path, const Json& found, std::string_view expected) {
  return fail(
      ErrorCode::kInvalidArgument,
      concat("serving config: ", path, " is ", printable(found.dump()), ", expected ", expected));
}

// Sets what `target` points to, when the field may be that.
template <typename T>
Status set_checked(const ServingField& field, const ServingTarget& target, T* place,
                   std::optional<T> value, const Json& json) {
  const T before = *place;
  if (value) *place = *value;
  if (value && is_allowed(field, target)) return {};
  *place = before;
  return wrong(field.path, json, allowed_text(field, target));
}

template <typename T>
std::optional<T> number_as(const Json& json) {
  if constexpr (std::is_same_v<T, bool>) {
    return json.as_bool();
  } else if constexpr (std::is_same_v<T, float>) {
    const auto value = json.as_double();
    return value ? std::optional(static_cast<float>(*value)) : std::nullopt;
  } else if constexpr (std::is_same_v<T, uint64_t>) {
    return json.as_uint64();
  } else {
    const auto value = json.as_int64();
    return value && std::in_range<T>(*value) ? std::optional(static_cast<T>(*value)) : std::nullopt;
  }
}

Status set_value(const ServingField& field, const ServingTarget& target, const Json& json) {
  return std::visit(
      [&]<typename T>(T* place) {
        return set_checked(field, target, place, number_as<T>(json), json);
      },
      target);
}

std::unexpected<Error> unknown(std::string_view path, std::string_view known) {
  return fail(ErrorCode::kInvalidArgument,
              concat("serving config: ", path, " is not known, expected one of ", known));
}

Json isq_json(const IsqConfig& isq) {
  return Json(Json::Object{{"scheme", Json(isq_text(isq))},
                           {"calibration_samples", Json(int64_t{isq.calibration_samples})}});
}

Json xlora_json(const XLoraConfig& xlora) {
  Json::Array adapters;
  for (const std::string& adapter : xlora.adapters) adapters.emplace_back(adapter);
  const auto* mixing = std::ranges::find(kMixing, xlora.mixing_mode, &MixingName::mode);
  return Json(Json::Object{{"adapters", Json(std::move(adapters))},
                           {"top_k", Json(int64_t{xlora.top_k})},
                           {"temperature", number(xlora.temperature)},
                           {"mixing_mode", text(mixing->name)}});
}

Result<int32_t> whole(std::string_view path, const Json& json, int64_t min, int64_t max) {
  const auto value = json.as_int64();
  if (!value || *value < min || *value > max) return wrong(path, json, concat(min, " to ", max));
  return static_cast<int32_t>(*value);
}

// `path`: "isq[0]".
Result<IsqConfig> isq_from_json(const std::string& path, const Json& json) {
  const Json* scheme = json.find("scheme");
  if (scheme == nullptr || scheme->as_string() == nullptr) {
    return wrong(path, json, "an object with a scheme such as \"rtn4:g32\"");
  }
  Result<IsqConfig> isq = parse_isq(*scheme->as_string());
  if (!isq) {
    return fail(isq.error().code,
                concat("serving config: ", path, ".scheme: ", isq.error().message));
  }
  for (const auto& [key, value] : *json.as_object()) {
    if (key == "scheme") continue;
    const std::string member = concat(path, ".", printable(key));
    if (key != "calibration_samples") return unknown(member, "scheme, calibration_samples");
    RUVLLM_ASSIGN(isq->calibration_samples, whole(member, value, 1, 1 << 16));
  }
  return isq;
}

// `path`: "xlora[0]".
Result<XLoraConfig> xlora_from_json(const std::string& path, const Json& json) {
  XLoraConfig xlora;
  if (!json.is_object()) return wrong(path, json, "an object");
  for (const auto& [key, value] : *json.as_object()) {
    const std::string member = concat(path, ".", printable(key));
    if (key == "adapters") {
      if (!value.is_array()) return wrong(member, value, "an array of names");
      for (const Json& adapter : *value.as_array()) {
        if (!adapter.is_string()) return wrong(member, value, "an array of names");
        xlora.adapters.push_back(*adapter.as_string());
      }
    } else if (key == "top_k") {
      RUVLLM_ASSIGN(xlora.top_k, whole(member, value, 0, std::numeric_limits<int32_t>::max()));
    } else if (key == "temperature") {
      xlora.temperature = static_cast<float>(value.as_double().value_or(0.0));
      if (!(xlora.temperature > 0.0f) || !std::isfinite(xlora.temperature)) {
        return wrong(member, value, "a number above 0");
      }
    } else if (key == "mixing_mode") {
      const std::string name = value.is_string() ? *value.as_string() : std::string();
      const auto* mixing = std::ranges::find(kMixing, std::string_view(name), &MixingName::name);
      if (mixing == std::end(kMixing)) {
        return wrong(member, value, "additive, concatenate or gated");
      }
      xlora.mixing_mode = mixing->mode;
    } else {
      return unknown(member, "adapters, top_k, temperature, mixing_mode");
    }
  }
  return xlora;
}

// The members of `object` ("" is the top) that hold a number or a switch.
std::string known_members(std::string_view object) {
  std::string names;
  for (const ServingField& field : kFields) {
    const std::string_view outer = field.path.substr(0, field.path.size() - field.name().size());
    if (outer == object) names += concat(names.empty() ? "" : ", ", field.name());
  }
  return names;
}

// A number or a switch of `object` ("paged_attention." or ""); false: there is none of that name.
Result<bool> set_field(ServingConfig& config, std::string_view object, std::string_view key,
                       const Json& json) {
  if (key.find('.') != std::string_view::npos) return false;
  const std::string path = concat(object, key);
  const auto* field = std::ranges::find(kFields, std::string_view(path), &ServingField::path);
  if (field == std::end(kFields)) return false;
  RUVLLM_TRY(set_value(*field, field->target(config), json));
  return true;
}

Status set_paged(ServingConfig& config, const Json& json) {
  constexpr std::string_view kObject = "paged_attention.";
  if (!json.is_object()) return wrong("paged_attention", json, "an object");
  for (const auto& [key, value] : *json.as_object()) {
    RUVLLM_ASSIGN(const bool known, set_field(config, kObject, key, value));
    if (!known) return unknown(concat(kObject, printable(key)), known_members(kObject));
  }
  return {};
}

Status set_device(ServingConfig& config, const Json& json) {
  const std::string name = json.is_string() ? *json.as_string() : std::string();
  const auto* device = std::ranges::find(kDevices, std::string_view(name), &DeviceName::name);
  if (device == std::end(kDevices)) return wrong("device", json, "auto, cpu, cuda or metal");
  config.device = device->kind;
  return {};
}

template <typename T>
Status set_list(std::vector<T>& list, const std::string& path, const Json& json,
                Result<T> (*read)(const std::string&, const Json&)) {
  if (!json.is_array()) return wrong(path, json, "an array");
  if (json.as_array()->size() > 1) {
    return wrong(path, json,
                 path == "isq" ? "at most one, with overrides for single tensors" : "at most one");
  }
  for (const Json& item : *json.as_array()) {
    RUVLLM_ASSIGN(list.emplace_back(), read(concat(path, "[0]"), item));
  }
  return {};
}

Status set_member(ServingConfig& config, const std::string& key, const Json& json) {
  if (key == "paged_attention") return set_paged(config, json);
  if (key == "device") return set_device(config, json);
  if (key == "isq") return set_list(config.isq, key, json, isq_from_json);
  if (key == "xlora") return set_list(config.xlora, key, json, xlora_from_json);
  RUVLLM_ASSIGN(const bool known, set_field(config, "", key, json));
  if (known) return {};
  const auto* nested = std::ranges::find(kFields, std::string_view(key), &ServingField::path);
  if (nested != std::end(kFields)) {
    return fail(ErrorCode::kInvalidArgument,
                concat("serving config: ", key, " is no key, expected {\"",
                       key.substr(0, key.find('.')), "\": {\"", nested->name(), "\": ...}}"));
  }
  return unknown(printable(key),
                 concat("paged_attention, ", known_members(""), ", isq, xlora, device"));
}

}  // namespace

std::span<const ServingField> serving_fields() {
  return kFields;
}

std::string allowed_text(const ServingField& field, const ServingTarget& target) {
  if (std::holds_alternative<bool*>(target)) return "true or false";
  if (std::holds_alternative<uint64_t*>(target)) return "a whole number of bytes, 0 or more";
  if (std::holds_alternative<float*>(target)) {
    return concat("a number above ", field.min, ", at most ", field.max);
  }
  return concat(field.min, " to ", field.max);
}

bool is_allowed(const ServingField& field, const ServingTarget& target) {
  if (const auto* const* value = std::get_if<int32_t*>(&target)) {
    return **value >= field.min && **value <= field.max;
  }
  if (const auto* const* value = std::get_if<float*>(&target)) {
    return **value > static_cast<float>(field.min) && **value <= static_cast<float>(field.max);
  }
  return true;
}

Json serving_config_json(const ServingConfig& config) {
  ServingConfig copy = config;
  Json::Object top;
  for (const ServingField& field : kFields) {
    const size_t dot = field.path.find('.');
    Json::Object* object = &top;
    if (dot != std::string_view::npos) {
      const std::string_view outer = field.path.substr(0, dot);
      if (top.empty() || top.back().key != outer) {
        top.push_back({std::string(outer), Json(Json::Object())});
      }
      object = top.back().value.as_object();
    }
    object->push_back({std::string(field.name()), value_of(field.target(copy))});
  }
  Json::Array isq;
  for (const IsqConfig& item : config.isq) isq.push_back(isq_json(item));
  Json::Array xlora;
  for (const XLoraConfig& item : config.xlora) xlora.push_back(xlora_json(item));
  const auto* device = std::ranges::find(kDevices, config.device, &DeviceName::kind);
  top.push_back({"isq", Json(std::move(isq))});
  top.push_back({"xlora", Json(std::move(xlora))});
  top.push_back({"device", text(device->name)});
  return Json(std::move(top));
}

Result<ServingConfig> serving_config_from_json(const Json& json) {
  if (!json.is_object()) {
    return fail(ErrorCode::kInvalidArgument,
                concat("serving config: found ", json.type_name(), ", expected an object"));
  }
  ServingConfig config;
  for (const auto& [key, value] : *json.as_object()) RUVLLM_TRY(set_member(config, key, value));
  return config;
}

}  // namespace ruvllm
