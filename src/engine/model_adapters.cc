#include "engine/model_adapters.h"

#include <algorithm>
#include <cmath>

#include "base/str.h"
#include "base/yielding_thread.h"
#include "engine/gate_recorder.h"

namespace ruvllm {
namespace {

constexpr std::string_view kBase = "base";
constexpr std::string_view kXLora = "xlora";

std::string names_of(const ModelAdapters& adapters) {
  std::string names(kBase);
  for (const AdapterInfo& adapter : adapters.list()) names += concat(", ", printable(adapter.name));
  return names;
}

Status check_new_name(const std::string& name, std::string_view kind) {
  const auto bad = [&](std::string_view found) {
    return fail(ErrorCode::kInvalidArgument, concat(kind, " \"", printable(name), "\": ", found));
  };
  if (name.empty()) return bad("a name is expected");
  if (name == kBase) return bad("base is the model without adapters; expected another name");
  if (name.find_first_of("+:,") != std::string::npos) {
    return bad("+ : and , join adapters and weights; expected a name without them");
  }
  return {};
}

// A request's load happens beside others that are being computed, and leaves them the processor.
void aside(AdapterStore::Source source, FunctionRef<void()> load) {
  source == AdapterStore::Source::kRequest ? run_yielding(load) : load();
}

}  // namespace

Result<SequenceAdapter> ModelAdapters::select(std::string_view selection) const {
  if (selection.empty()) return chosen();
  if (selection == kBase) return SequenceAdapter{};
  std::string sum;
  if (xloras != nullptr) {
    if (std::optional<SequenceAdapter> xlora = xloras->find(selection)) return *std::move(xlora);
    sum = xloras->sum_of(selection);
    if (!sum.empty()) selection = sum;
  }
  std::vector<LoraMix::Part> parts;
  std::string cache_key;
  std::string_view rest = selection;
  while (true) {
    const size_t plus = std::min(rest.find('+'), rest.size());
    const std::string_view item = rest.substr(0, plus);
    const size_t colon = item.rfind(':');
    const std::string_view name = item.substr(0, std::min(colon, item.size()));
    double weight = 1.0;
    if (colon != std::string_view::npos &&
        (!parse_number(item.substr(colon + 1), weight) || !std::isfinite(weight))) {
      return fail(
          ErrorCode::kInvalidArgument,
          concat("adapter ", printable(selection), ": expected NAME or NAME:WEIGHT, joined by +"));
    }
    if (xloras != nullptr && xloras->contains(name)) {
      return fail(ErrorCode::kInvalidArgument,
                  concat(printable(name), " is an X-LoRA and cannot be part of a sum; found ",
                         printable(selection)));
    }
    if (store == nullptr || !store->contains(name)) {
      return fail(ErrorCode::kNotFound, concat("no adapter ", printable(name),
                                               " was loaded (--adapter NAME=DIR); there "
                                               "are ",
                                               names_of(*this)));
    }
    RUVLLM_ASSIGN(StoredAdapter stored, store->acquire(std::string(name)));
    cache_key += concat(cache_key.empty() ? "" : "+", stored.generation, ":", weight);
    if (selection == name) return SequenceAdapter{std::move(stored.mix), nullptr, cache_key};
    parts.push_back({stored.mix->parts.front().adapter, static_cast<float>(weight)});
    if (plus == rest.size()) break;
    rest.remove_prefix(plus + 1);
  }
  return SequenceAdapter{mix_lora_adapters(std::move(parts), num_layers), nullptr, cache_key};
}

Status ModelAdapters::choose(std::string_view selection) const {
  if (selection.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                concat("expected the name of what to choose; there are ", names_of(*this)));
  }
  RUVLLM_ASSIGN(SequenceAdapter adapter, select(selection));
  if (xloras != nullptr) xloras->choose(std::string(selection), std::move(adapter));
  return {};
}

Status ModelAdapters::add(const std::string& name, const std::string& path, bool replace,
                          AdapterStore::Source source) const {
  RUVLLM_TRY(check_new_name(name, "adapter"));
  if (name == kXLora) {
    return fail(ErrorCode::kInvalidArgument,
                "adapter \"xlora\": this names the X-LoRA; expected another name");
  }
  if (store == nullptr) return fail(ErrorCode::kUnsupported, "this model takes no adapters");
  const MutexLock lock(*naming);
  if (xloras->contains(name)) {
    return fail(ErrorCode::kInvalidArgument,
                concat("adapter ", printable(name), ": an X-LoRA has this name"));
  }
  Result<uint64_t> added = uint64_t{0};
  aside(source, [&] { added = store->add(name, path, replace, source); });
  if (!added) {
    return fail(added.error().code,
                concat("adapter ", printable(name), ": ", added.error().message));
  }
  return {};
}

Status ModelAdapters::add_xlora(const std::string& name, const std::string& path,
                                const std::optional<XLoraConfig>& config, bool replace,
                                AdapterStore::Source source) const {
  RUVLLM_TRY(check_new_name(name, "X-LoRA"));
  if (xloras == nullptr) return fail(ErrorCode::kUnsupported, "this model takes no adapters");
  const MutexLock lock(*naming);
  if (store->contains(name)) {
    return fail(ErrorCode::kInvalidArgument,
                concat("X-LoRA ", printable(name), ": an adapter has this name"));
  }
  if (!config || config->mixing_mode == XLoraMixingMode::kGated) {
    if (path.empty()) {
      return fail(ErrorCode::kInvalidArgument,
                  concat("X-LoRA ", printable(name), ": mixing mode gated has a router; expected ",
                         "its folder (--xlora DIR)"));
    }
    Status added;
    aside(source, [&] { added = xloras->add(name, path, config, replace, *store, source); });
    return added;
  }
  if (!path.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                concat("X-LoRA ", printable(name), ": additive and concatenate have no router; ",
                       "found the folder ", printable(path, 200)));
  }
  RUVLLM_ASSIGN(const std::string sum, sum_of_config(*config));
  RUVLLM_TRY(select(sum));
  return xloras->add_sum(name, sum, *config, replace);
}

Status ModelAdapters::remove(const std::string& name) const {
  if (xloras != nullptr && xloras->remove(name)) return {};
  if (store != nullptr) return store->remove(name);
  return fail(ErrorCode::kNotFound, concat("no adapter ", printable(name)));
}

std::vector<XLoraInfo> ModelAdapters::list_xloras() const {
  return xloras != nullptr ? xloras->list() : std::vector<XLoraInfo>();
}

std::vector<AdapterInfo> ModelAdapters::list() const {
  if (store == nullptr) return {};
  std::vector<AdapterInfo> out = store->list();
  for (const XLoraInfo& xlora : list_xloras()) {
    AdapterInfo info;
    info.name = xlora.name;
    info.path = xlora.path;
    info.num_bytes = xlora.num_bytes;
    info.max_rank = xlora.max_rank;
    info.resident = true;
    out.push_back(std::move(info));
  }
  std::ranges::sort(out, {}, &AdapterInfo::name);
  return out;
}

bool ModelAdapters::contains(std::string_view name) const {
  return store != nullptr && (store->contains(name) || xloras->contains(name));
}

Result<GateTrace> ModelAdapters::last_gates(std::string_view name) const {
  RUVLLM_ASSIGN(const SequenceAdapter adapter, select(name));
  if (adapter.xlora == nullptr) {
    return fail(ErrorCode::kNotFound, concat(name.empty() ? chosen_name() : printable(name),
                                             " is no X-LoRA, and has no gates"));
  }
  const XLora& xlora = adapter.xlora->xlora();
  const std::vector<float> gates = adapter.xlora->last_gates();
  GateTrace trace;
  trace.experts = xlora.expert_names;
  trace.modules = xlora.module_names;
  if (gates.empty()) return trace;
  trace.num_rows = 1;
  GateRecorder::append_gates(xlora, GateDetail::kModules, gates.data(), trace.values);
  return trace;
}

Result<ModelAdapters> load_model_adapters(const LoadOptions& options,
                                          std::shared_ptr<const Checkpoint> checkpoint,
                                          ModelRunner& runner) {
  ModelAdapters out;
  out.num_layers = checkpoint->config.num_layers();
  out.store = std::make_shared<AdapterStore>(
      checkpoint,
      AdapterStoreOptions{options.adapter_root, options.adapter_memory_bytes,
                          static_cast<size_t>(std::max(options.max_resident_adapters, 1))});
  out.xloras = std::make_shared<XLoraStore>(checkpoint, runner.ops(), runner.max_step_rows());
  constexpr auto kOperator = AdapterStore::Source::kOperator;
  for (const auto& [name, path] : options.adapters) {
    RUVLLM_TRY(out.add(name, path, /*replace=*/false, kOperator));
  }
  const bool has_xlora = !options.xlora.empty() || options.xlora_config;
  if (has_xlora) {
    RUVLLM_TRY(out.add_xlora(std::string(kXLora), options.xlora, options.xlora_config,
                             /*replace=*/false, kOperator));
  }
  if (!options.use_adapter.empty()) {
    RUVLLM_TRY(out.choose(options.use_adapter));
  } else if (has_xlora) {
    RUVLLM_TRY(out.choose(kXLora));
  } else if (options.adapters.size() == 1) {
    RUVLLM_TRY(out.choose(options.adapters.front().first));
  }
  return out;
}

}  // namespace ruvllm
