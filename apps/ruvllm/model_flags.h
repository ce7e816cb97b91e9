// The flags that verbs with a model share, and what they mean to the engine. A verb takes the
// groups that it honours; a flag that the chosen backend would ignore is refused by check().
#pragma once

#include <memory>
#include <string>

#include "engine/edge_model.h"
#include "flags.h"
#include "ruvllm/backend.h"

namespace ruvllm::cli {

// Groups of ModelFlags beside -m, --threads and --offline, which every verb takes.
enum ModelFlagGroup : uint32_t {
  kBackendFlag = 1 << 0,   // --backend
  kRunFlags = 1 << 1,      // --device, --dtype, --kv-dtype, --max-seq-len
  kSeedFlag = 1 << 2,      // --seed
  kIsqFlags = 1 << 3,      // --isq, --calibration..., --isq-cache
  kAdapterFlags = 1 << 4,  // --adapter, --use-adapter, --xlora
};
// Of a verb that computes with a model, without random choices of its own.
constexpr uint32_t kComputeFlags = kBackendFlag | kRunFlags | kIsqFlags | kAdapterFlags;

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
  bool adapter_per_sequence = false;      // --use-adapter may be a list; set before add_to()
  std::vector<std::string> use_adapters;  // --use-adapter, one for all or one per sequence

  // `groups`: ModelFlagGroup, or-ed.
  void add_to(FlagSet& flags, uint32_t groups);
  // One more of load.adapters, from NAME=DIR.
  Status add_adapter(std::string_view text);
  // kExitUsage with one line when no model was named, or check_used() finds something.
  std::optional<int> check(const FlagSet& flags) const;
  // kExitUsage with one line for a flag without effect: one of the serving backend without it
  // (`serves`: whether the verb uses it), one of --isq without that.
  std::optional<int> check_used(const FlagSet& flags, bool serves) const;
  // The backend with the model loaded.
  Result<std::unique_ptr<LlmBackend>> open_backend() const;
  // The parts of the model for verbs that work below LlmBackend (edge backend only). Shows progress
  // on a terminal.
  Result<std::shared_ptr<EdgeModel>> open_model() const;

 private:
  void add_run_flags(FlagSet& flags);
  void add_isq_flags(FlagSet& flags);
  void add_adapter_flags(FlagSet& flags);
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
