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
  for (const auto& [name, adapter] : adapters.loras) names += concat(", ", printable(name));
  return names;
}

}  // namespace

Result<SequenceAdapter> ModelAdapters::select(std::string_view selection) const {
  if (selection == kBase) return SequenceAdapter{};
  if (selection == kXLora && xlora != nullptr) return SequenceAdapter{nullptr, xlora};
  std::vector<LoraMix::Part> parts;
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
    const auto found = std::ranges::find(loras, name, [](const auto& l) { return l.first; });
    if (found == loras.end()) {
      return fail(ErrorCode::kNotFound, concat("no adapter ", printable(name),
                                               " was loaded (--adapter NAME=DIR); there "
                                               "are ",
                                               names_of(*this)));
    }
    parts.push_back({found->second, static_cast<float>(weight)});
    if (plus == rest.size()) break;
    rest.remove_prefix(plus + 1);
  }
  return SequenceAdapter{mix_lora_adapters(std::move(parts), num_layers), nullptr};
}

Result<ModelAdapters> load_model_adapters(const LoadOptions& options, const Checkpoint& checkpoint,
                                          ModelRunner& runner) {
  ModelAdapters out;
  out.num_layers = checkpoint.config.num_layers();
  for (const auto& [name, path] : options.adapters) {
    const bool taken =
        std::ranges::any_of(out.loras, [&](const auto& lora) { return lora.first == name; });
    if (name.empty() || name == kBase || name == kXLora || taken ||
        name.find_first_of("+:,") != std::string::npos) {
      return fail(ErrorCode::kInvalidArgument, concat("adapter ", printable(name),
                                                      ": expected a new name without + : , that is "
                                                      "not base or xlora"));
    }
    auto adapter = load_lora_adapter(path, checkpoint);
    if (!adapter) {
      return fail(adapter.error().code,
                  concat("adapter ", printable(name), ": ", adapter.error().message));
    }
    out.loras.emplace_back(name, *std::move(adapter));
  }
  if (!options.xlora.empty()) {
    if (runner.ops() == nullptr) {
      return fail(ErrorCode::kUnsupported, "xlora: this model's device cannot run a classifier");
    }
    RUVLLM_ASSIGN(auto xlora, load_xlora(options.xlora, checkpoint));
    RUVLLM_ASSIGN(out.xlora,
                  XLoraGate::make(std::move(xlora), *runner.ops(), runner.max_step_rows()));
  }
  if (!options.use_adapter.empty()) {
    RUVLLM_ASSIGN(out.chosen, out.select(options.use_adapter));
  } else if (out.xlora != nullptr) {
    out.chosen = {nullptr, out.xlora};
  } else if (out.loras.size() == 1) {
    RUVLLM_ASSIGN(out.chosen, out.select(out.loras.front().first));
  }
  return out;
}

}  // namespace ruvllm
