#include "model_flags.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/str.h"
#include "engine/serving_fields.h"
#include "io.h"

namespace ruvllm::cli {
namespace {

template <typename E>
struct Choice {
  std::string_view name;
  E value;
};

// A flag whose value is one of a few words.
template <typename E, size_t N>
void add_choice(FlagSet& flags, std::string names, E& target, std::string help,
                const Choice<E> (&choices)[N]) {
  std::string words;
  std::string fallback;
  for (const Choice<E>& choice : choices) {
    words += concat(words.empty() ? "" : "|", choice.name);
    if (choice.value == target && fallback.empty()) fallback = choice.name;
  }
  flags.add_custom(std::move(names), words, fallback, std::move(help),
                   [&target, &choices, words](std::string_view text) -> Status {
                     for (const Choice<E>& choice : choices) {
                       if (choice.name == text) {
                         target = choice.value;
                         return {};
                       }
                     }
                     return fail(ErrorCode::kInvalidArgument, concat("expected ", words));
                   });
}

constexpr Choice<BackendKind> kBackends[] = {{"edge", BackendKind::kEdge},
                                             {"serving", BackendKind::kServing},
                                             {"candle", BackendKind::kEdge},
                                             {"mistral-rs", BackendKind::kServing}};
constexpr Choice<DeviceKind> kDevices[] = {{"auto", DeviceKind::kAuto},
                                           {"cpu", DeviceKind::kCpu},
                                           {"cuda", DeviceKind::kCuda},
                                           {"metal", DeviceKind::kMetal}};
constexpr Choice<ComputeType> kDtypes[] = {{"auto", ComputeType::kAuto},
                                           {"bf16", ComputeType::kBf16},
                                           {"f16", ComputeType::kF16},
                                           {"f32", ComputeType::kF32}};
constexpr Choice<bool> kDefaultsOf[] = {{"auto", true}, {"none", false}};
constexpr Choice<KvType> kKvDtypes[] = {{"auto", KvType::kAuto},
                                        {"f32", KvType::kF32},
                                        {"bf16", KvType::kBf16},
                                        {"f16", KvType::kF16},
                                        {"int8", KvType::kInt8}};

}  // namespace

void add_device_flag(FlagSet& flags, DeviceKind& device) {
  add_choice(flags, "--device", device, "where to run", kDevices);
}

void ModelFlags::add_to(FlagSet& flags, uint32_t groups) {
  flags.add("-m,--model", "MODEL", model,
            "a Hugging Face directory, a .gguf file, org/name, or demo");
  if (groups & kBackendFlag)
    add_choice(flags, "--backend", backend, "which engine loop", kBackends);
  flags.add("--threads", "N", load.threads, "CPU threads; 0: the physical cores", 0, 4096);
  if (groups & kRunFlags) add_run_flags(flags);
  if (groups & kSeedFlag) flags.add("--seed", "N", seed, "fixes the random choices");
  flags.add("--offline", load.offline, "never download");
  if (groups & kIsqFlags) add_isq_flags(flags);
  if (groups & kAdapterFlags) add_adapter_flags(flags);
}

void ModelFlags::add_run_flags(FlagSet& flags) {
  add_device_flag(flags, load.device);
  add_choice(flags, "--dtype", load.compute, "precision; f32 is the exact mode", kDtypes);
  add_choice(flags, "--kv-dtype", load.kv, "precision of the KV cache", kKvDtypes);
  flags.add("--max-seq-len,--max-model-len", "N", load.max_seq_len,
            "tokens of prompt and answer; 0: what the model was made for", 0);
}

void ModelFlags::add_isq_flags(FlagSet& flags) {
  flags.add("--isq", "METHODBITS", load.isq,
            "quantize while loading: rtn8, rtn4, awq4:g64, gptq3, smoothquant8, auto:BITS, "
            "rtn4:tuned ...");
  flags.add("--calibration", "FILE", load.calibration,
            "text or JSONL for awq, gptq, smoothquant and :tuned; default: a small built-in text");
  flags.add("--calibration-samples", "N", load.calibration_samples, "pieces of 512 tokens of it", 1,
            65536);
  flags.add("--isq-cache", "DIR", load.isq_cache,
            "keep what --isq made there; the next start with the same model and settings reads it");
}

void ModelFlags::add_adapter_flags(FlagSet& flags) {
  flags.add_custom("--adapter,--lora", "NAME=DIR", "", "a LoRA adapter (PEFT); may be repeated",
                   [this](std::string_view text) { return add_adapter(text); });
  flags.add_custom("--use-adapter", adapter_per_sequence ? "NAME,..." : "NAME", "",
                   "which adapter: a name, base, xlora, or a sum A:0.5+B:0.5",
                   [this](std::string_view text) -> Status {
                     use_adapters.clear();
                     while (true) {
                       const size_t comma = std::min(text.find(','), text.size());
                       use_adapters.emplace_back(text.substr(0, comma));
                       if (comma == text.size()) break;
                       text.remove_prefix(comma + 1);
                     }
                     if (use_adapters.size() > 1 && !adapter_per_sequence) {
                       return fail(ErrorCode::kInvalidArgument,
                                   "expected one adapter (one for each sequence: ruvllm logits)");
                     }
                     load.use_adapter = use_adapters.front();
                     return {};
                   });
  flags.add("--xlora", "DIR", load.xlora, "an X-LoRA: several adapters and their router");
  flags.add_custom("--adapter-memory", "BYTES", "1G",
                   "of adapters and X-LoRAs in memory; unused ones beyond it are read again",
                   [this](std::string_view text) -> Status {
                     RUVLLM_ASSIGN(load.adapter_memory_bytes, parse_bytes(text));
                     return {};
                   });
}

namespace {

void add_switch(FlagSet& flags, const ServingField& field, bool& target) {
  const auto set = [&target](bool value) {
    return [&target, value](std::string_view) -> Status {
      target = value;
      return {};
    };
  };
  const std::string_view bare = field.flag.substr(2);
  flags.add_custom(std::string(field.flag), "", "", concat(field.help, target ? " (default)" : ""),
                   set(true));
  flags.add_custom(concat("--no-", bare), "", "", concat("the opposite of ", field.flag),
                   set(false));
}

void add_bytes(FlagSet& flags, const ServingField& field, uint64_t& target) {
  flags.add_custom(std::string(field.flag), std::string(field.value), "", std::string(field.help),
                   [&target](std::string_view text) -> Status {
                     RUVLLM_ASSIGN(target, parse_bytes(text));
                     return {};
                   });
}

void add_fraction(FlagSet& flags, const ServingField& field, float& number, ServingTarget target) {
  flags.add_custom(
      std::string(field.flag), std::string(field.value), concat(number), std::string(field.help),
      [&field, &number, target](std::string_view text) -> Status {
        double value = 0.0;
        const float before = number;
        if (parse_number(text, value)) {
          number = static_cast<float>(value);
          if (is_allowed(field, target)) return {};
        }
        number = before;
        return fail(ErrorCode::kInvalidArgument, concat("expected ", allowed_text(field, target)));
      });
}

Status read_serving_config(const std::string& path, ServingConfig& config) {
  RUVLLM_ASSIGN(const std::string text, read_input(path));
  RUVLLM_ASSIGN(const Json json, Json::parse(text));
  RUVLLM_ASSIGN(config, serving_config_from_json(json));
  return {};
}

}  // namespace

void add_serving_flags(FlagSet& flags, ServingConfig& config) {
  flags.add_custom(
      "--serving-config", "FILE", "",
      "JSON of the serving backend's fields (ruvllm info shows it); flags after it win",
      [&config](std::string_view text) { return read_serving_config(std::string(text), config); });
  for (const ServingField& field : serving_fields()) {
    const ServingTarget target = field.target(config);
    if (auto* const* whole = std::get_if<int32_t*>(&target)) {
      flags.add(std::string(field.flag), std::string(field.value), **whole, std::string(field.help),
                field.min, field.max);
    } else if (auto* const* number = std::get_if<float*>(&target)) {
      add_fraction(flags, field, **number, target);
    } else if (auto* const* on = std::get_if<bool*>(&target)) {
      add_switch(flags, field, **on);
    } else {
      add_bytes(flags, field, **std::get_if<uint64_t*>(&target));
    }
  }
}

Status ModelFlags::add_adapter(std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == 0 || equals >= text.size() - 1) {
    return fail(ErrorCode::kInvalidArgument, "expected NAME=DIR");
  }
  load.adapters.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  return {};
}

std::optional<int> ModelFlags::check(const FlagSet& flags) const {
  if (model.empty()) return flags.usage_error("which model? give -m MODEL (demo is built in)");
  return check_used(flags, backend == BackendKind::kServing);
}

std::optional<int> ModelFlags::check_used(const FlagSet& flags, bool serves) const {
  const auto without_effect = [&](std::string_view flag, std::string_view needed) {
    return flags.usage_error(concat(flag, " needs ", needed, ", without it nothing reads it"));
  };
  if (!serves) {
    std::vector<std::string> names = {"--serving-config"};
    for (const ServingField& field : serving_fields()) {
      names.emplace_back(field.flag);
      names.push_back(concat("--no-", field.flag.substr(2)));
    }
    for (const std::string& name : names) {
      if (flags.given(name)) return without_effect(name, "--backend serving");
    }
  }
  if (load.isq.empty()) {
    for (const char* name : {"--calibration", "--calibration-samples", "--isq-cache"}) {
      if (flags.given(name)) return without_effect(name, "--isq");
    }
  }
  return std::nullopt;
}

Result<std::unique_ptr<LlmBackend>> ModelFlags::open_backend() const {
  RUVLLM_ASSIGN(std::unique_ptr<LlmBackend> engine, create_backend(backend, serving));
  RUVLLM_TRY(engine->load_model(model, load));
  return engine;
}

Result<std::shared_ptr<EdgeModel>> ModelFlags::open_model() const {
  // Says what is wrong with the backend or the flags exactly as open_backend() would.
  RUVLLM_ASSIGN(const std::unique_ptr<LlmBackend> probe, create_backend(backend));
#if defined(RUVLLM_HAS_EDGE)
  if (backend != BackendKind::kEdge) {
    return fail(ErrorCode::kUnsupported,
                "--backend serving: this verb computes one sequence at a time, which is edge "
                "(generate and serve run the serving backend)");
  }
#endif
  LoaderSettings settings;
  if (stderr_is_terminal()) {
    settings.progress = [](int64_t done, int64_t total) {
      if (total <= 0) return;
      std::fprintf(stderr, "\rloading %3d %%%s", static_cast<int>(100 * done / total),
                   done == total ? "\r\033[K" : "");
    };
  }
  RUVLLM_ASSIGN(ModelParts parts, load_model_parts(model, load, settings));
  return std::make_shared<EdgeModel>(std::move(parts));
}

void SamplingFlags::add_to(FlagSet& flags) {
  flags.add("-n,--max-tokens", "N", params.max_tokens, "longest answer", 0);
  flags.add("--temperature", "T", params.temperature, "0: always the most likely token");
  flags.add("--top-k", "K", params.top_k, "keep the K best; 0: off", -1);
  flags.add("--top-p", "P", params.top_p, "keep the best of mass P; 1: off");
  flags.add("--min-p", "P", params.min_p, "keep those of at least P times the best; 0: off");
  flags.add("--typical-p", "P", params.typical_p, "keep the typical of mass P; 1: off");
  flags.add("--repetition-penalty", "X", params.repetition_penalty, "1: off");
  flags.add("--frequency-penalty", "X", params.frequency_penalty, "0: off");
  flags.add("--presence-penalty", "X", params.presence_penalty, "0: off");
  flags.add("--stop", "TEXT", params.stop, "end before this text; may be repeated");
  flags.add_custom(
      "--stop-token-ids", "ID,...", "", "end at any of these tokens",
      [this](std::string_view text) -> Status {
        RUVLLM_ASSIGN(const std::vector<int64_t> ids, parse_int_list(text, 0));
        for (const int64_t id : ids) {
          params.stop_token_ids.push_back(static_cast<int32_t>(std::min<int64_t>(id, INT32_MAX)));
        }
        return {};
      });
  flags.add_custom("--logit-bias", "ID:X", "", "add X to the logit of token ID; may be repeated",
                   [this](std::string_view text) -> Status {
                     const size_t colon = text.find(':');
                     int32_t id = 0;
                     double bias = 0.0;
                     if (colon == std::string_view::npos ||
                         !parse_number(text.substr(0, colon), id) ||
                         !parse_number(text.substr(colon + 1), bias)) {
                       return fail(ErrorCode::kInvalidArgument, "expected ID:X, such as 13:-100");
                     }
                     params.logit_bias.emplace_back(id, static_cast<float>(bias));
                     return {};
                   });
  flags.add("--ignore-eos", params.ignore_eos, "do not end at the end-of-text token");
}

void SamplingFlags::add_defaults_flag(FlagSet& flags) {
  add_choice(
      flags, "--generation-config", use_model_defaults,
      "auto: defaults are what the model recommends (generation_config.json, GGUF); none: those "
      "shown",
      kDefaultsOf);
}

void SamplingFlags::take_defaults(const FlagSet& flags, const GenerationDefaults& model) {
  if (!use_model_defaults) return;
  const GenerateParams ours = params;
  model.apply_to(params);
  const auto flag_wins = [&](std::string_view name, auto GenerateParams::* field) {
    if (flags.given(name)) params.*field = ours.*field;
  };
  flag_wins("--temperature", &GenerateParams::temperature);
  flag_wins("--top-k", &GenerateParams::top_k);
  flag_wins("--top-p", &GenerateParams::top_p);
  flag_wins("--min-p", &GenerateParams::min_p);
  flag_wins("--repetition-penalty", &GenerateParams::repetition_penalty);
}

}  // namespace ruvllm::cli
