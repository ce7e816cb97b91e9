#include "engine/model_adapters.h"

#include <algorithm>
#include <cmath>

#include "base/str.h"

namespace ruvllm {
namespace {

constexpr std::string_view kBase = "base";
constexpr std::string_view kXLora = "xlora";

std::string names_of(const ModelAdapters& adapters) {
  std::string names(kBase);
  if (adapters.xlora != nullptr) names += concat(", ", kXLora);
  for (const AdapterInfo& adapter : adapters.list()) names += concat(", ", printable(adapter.name));
  return names;
}

}  // namespace

Result<SequenceAdapter> ModelAdapters::select(std::string_view selection) const {
  if (selection == kBase) return SequenceAdapter{};
  if (selection == kXLora && xlora != nullptr) {
    return SequenceAdapter{nullptr, xlora, std::string(kXLora)};
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
    if (!contains(name)) {
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

Status ModelAdapters::add(const std::string& name, const std::string& path, bool replace,
                          AdapterStore::Source source) const {
  if (name.empty() || name == kBase || name == kXLora ||
      name.find_first_of("+:,") != std::string::npos) {
    return fail(ErrorCode::kInvalidArgument, concat("adapter ", printable(name),
                                                    ": expected a new name without + : , that is "
                                                    "not base or xlora"));
  }
  if (store == nullptr) return fail(ErrorCode::kUnsupported, "this model takes no adapters");
  if (const auto added = store->add(name, path, replace, source); !added) {
    return fail(added.error().code,
                concat("adapter ", printable(name), ": ", added.error().message));
  }
  return {};
}

Status ModelAdapters::remove(const std::string& name) const {
  if (store != nullptr) return store->remove(name);
  return fail(ErrorCode::kNotFound, concat("no adapter ", printable(name)));
}

std::vector<AdapterInfo> ModelAdapters::list() const {
  return store != nullptr ? store->list() : std::vector<AdapterInfo>();
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
  for (const auto& [name, path] : options.adapters) {
    RUVLLM_TRY(out.add(name, path, /*replace=*/false, AdapterStore::Source::kOperator));
  }
  if (!options.xlora.empty()) {
    if (runner.ops() == nullptr) {
      return fail(ErrorCode::kUnsupported, "xlora: this model's device cannot run a classifier");
    }
    RUVLLM_ASSIGN(auto xlora, load_xlora(options.xlora, *checkpoint));
    RUVLLM_ASSIGN(out.xlora,
                  XLoraGate::make(std::move(xlora), *runner.ops(), runner.max_step_rows()));
  }
  if (!options.use_adapter.empty()) {
    RUVLLM_ASSIGN(out.chosen, out.select(options.use_adapter));
  } else if (out.xlora != nullptr) {
    RUVLLM_ASSIGN(out.chosen, out.select(kXLora));
  } else if (options.adapters.size() == 1) {
    RUVLLM_ASSIGN(out.chosen, out.select(options.adapters.front().first));
  }
  return out;
}

}  // namespace ruvllm
