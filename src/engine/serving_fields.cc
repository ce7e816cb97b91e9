#include "engine/serving_fields.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

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
     "KV pages take at most this part of the memory that is free after the weights", 0, 0,
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

// A float as it is written: 0.9, not 0.8999999762.
Json number(float value) {
  return Json(std::round(static_cast<double>(value) * 1e6) / 1e6);
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

Status set_value(const ServingField& field, const ServingTarget& target, const Json& json) {
  if (auto* const* p = std::get_if<int32_t*>(&target)) {
    const auto value = json.as_int64();
    if (!value || *value < field.min || *value > field.max) {
      return wrong(field.path, json, concat(field.min, " to ", field.max));
    }
    **p = static_cast<int32_t>(*value);
  } else if (auto* const* p = std::get_if<float*>(&target)) {
    const auto value = json.as_double();
    if (!value) return wrong(field.path, json, "a number");
    **p = static_cast<float>(*value);
  } else if (auto* const* p = std::get_if<bool*>(&target)) {
    const auto value = json.as_bool();
    if (!value) return wrong(field.path, json, "true or false");
    **p = *value;
  } else {
    const auto value = json.as_uint64();
    if (!value) return wrong(field.path, json, "a number of bytes");
    **std::get_if<uint64_t*>(&target) = *value;
  }
  return {};
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

Result<int32_t> whole(std::string_view path, const Json& json) {
  const auto value = json.as_int64();
  if (!value || *value < 0 || *value > std::numeric_limits<int32_t>::max()) {
    return wrong(path, json, "a whole number of 0 or more");
  }
  return static_cast<int32_t>(*value);
}

Result<IsqConfig> isq_from_json(const Json& json) {
  IsqConfig isq;
  const Json* scheme = json.find("scheme");
  if (scheme == nullptr || scheme->as_string() == nullptr) {
    return wrong("isq", json, "objects with a scheme such as rtn4:g32");
  }
  RUVLLM_ASSIGN(isq, parse_isq(*scheme->as_string()));
  for (const JsonMember& member : *json.as_object()) {
    if (member.key == "scheme") continue;
    if (member.key != "calibration_samples") {
      return wrong("isq", json, "scheme and calibration_samples");
    }
    RUVLLM_ASSIGN(isq.calibration_samples, whole("isq.calibration_samples", member.value));
  }
  return isq;
}

Result<XLoraConfig> xlora_from_json(const Json& json) {
  XLoraConfig xlora;
  if (!json.is_object()) return wrong("xlora", json, "objects");
  for (const auto& [key, value] : *json.as_object()) {
    if (key == "adapters" && value.is_array()) {
      for (const Json& adapter : *value.as_array()) {
        if (!adapter.is_string()) return wrong("xlora.adapters", value, "names");
        xlora.adapters.push_back(*adapter.as_string());
      }
    } else if (key == "top_k") {
      RUVLLM_ASSIGN(xlora.top_k, whole("xlora.top_k", value));
    } else if (key == "temperature" && value.is_number()) {
      xlora.temperature = static_cast<float>(*value.as_double());
    } else if (key == "mixing_mode" && value.is_string()) {
      const auto* mixing = std::ranges::find(kMixing, *value.as_string(), &MixingName::name);
      if (mixing == std::end(kMixing)) {
        return wrong("xlora.mixing_mode", value, "additive, concatenate or gated");
      }
      xlora.mixing_mode = mixing->mode;
    } else {
      return wrong(concat("xlora.", printable(key)), value,
                   "adapters (an array), top_k, temperature, mixing_mode");
    }
  }
  return xlora;
}

Status set_member(ServingConfig& config, const std::string& path, const Json& json) {
  const auto* field = std::ranges::find(kFields, std::string_view(path), &ServingField::path);
  if (field != std::end(kFields)) return set_value(*field, field->target(config), json);
  if (path == "device") {
    const std::string* name = json.as_string();
    const auto* device = name == nullptr ? std::end(kDevices)
                                         : std::ranges::find(kDevices, *name, &DeviceName::name);
    if (device == std::end(kDevices)) return wrong(path, json, "auto, cpu, cuda or metal");
    config.device = device->kind;
    return {};
  }
  if ((path == "isq" || path == "xlora") && json.is_array()) {
    for (const Json& item : *json.as_array()) {
      if (path == "isq") {
        RUVLLM_ASSIGN(config.isq.emplace_back(), isq_from_json(item));
      } else {
        RUVLLM_ASSIGN(config.xlora.emplace_back(), xlora_from_json(item));
      }
    }
    return {};
  }
  if (path == "paged_attention" && json.is_object()) {
    for (const auto& [key, value] : *json.as_object()) {
      RUVLLM_TRY(set_member(config, concat("paged_attention.", key), value));
    }
    return {};
  }
  return fail(ErrorCode::kInvalidArgument,
              concat("serving config: ", printable(path), " is not known or of the wrong type"));
}

}  // namespace

std::span<const ServingField> serving_fields() {
  return kFields;
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
