// The flags that every verb with a model shares, and what they mean to the engine.
#pragma once

#include <memory>
#include <string>

#include "engine/edge_model.h"
#include "flags.h"
#include "ruvllm/backend.h"

namespace ruvllm::cli {

struct ModelFlags {
  std::string model;
#if defined(RUVLLM_HAS_EDGE)
  BackendKind backend = BackendKind::kEdge;
#else
  BackendKind backend = BackendKind::kServing;
#endif
  ServingConfig serving;  // how --backend serving runs
  LoadOptions load;
  std::optional<uint64_t> seed;
  std::vector<std::string> use_adapters;  // --use-adapter, one for all or one per sequence

  void add_to(FlagSet& flags);
  // One more of load.adapters, from NAME=DIR.
  Status add_adapter(std::string_view text);
  // kExitUsage with one line when no model was named.
  std::optional<int> check(const FlagSet& flags) const;
  // The backend with the model loaded.
  Result<std::unique_ptr<LlmBackend>> open_backend() const;
  // The parts of the model for verbs that work below LlmBackend (edge backend only). Shows progress
  // on a terminal.
  Result<std::shared_ptr<EdgeModel>> open_model() const;
};

// Flags of the serving backend, named as in vLLM where vLLM has them.
void add_serving_flags(FlagSet& flags, ServingConfig& config);
void add_device_flag(FlagSet& flags, DeviceKind& device);

struct SamplingFlags {
  GenerateParams params;
  bool use_model_defaults = true;

  void add_to(FlagSet& flags);
  // --generation-config: whether take_defaults() does anything.
  void add_defaults_flag(FlagSet& flags);
  // What the model recommends, for every parameter that no flag of `flags` set.
  void take_defaults(const FlagSet& flags, const GenerationDefaults& model);
};

}  // namespace ruvllm::cli
