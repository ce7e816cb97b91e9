// ModelAdapters: what a model may be computed with, by name, and what a request chooses among it:
// LoRA adapters, sums of them, X-LoRAs. They come and go while it runs; any thread may select, add
// and remove. Failure: one line naming the adapter or its files.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "engine/model_runner.h"
#include "engine/sequence_adapter.h"
#include "engine/xlora_store.h"
#include "lora/adapter_store.h"
#include "ruvllm/options.h"
#include "ruvllm/result.h"

namespace ruvllm {

struct ModelAdapters {
  std::shared_ptr<AdapterStore> store;  // null, as is the next: none can be loaded
  std::shared_ptr<XLoraStore> xloras;
  // Held while a name is given away: it belongs to an adapter or to an X-LoRA.
  std::shared_ptr<Mutex> naming = std::make_shared<Mutex>();
  int32_t num_layers = 0;

  // "base", the name of an adapter or X-LoRA, or "a:0.5+b:0.5"; "": chosen().
  Result<SequenceAdapter> select(std::string_view selection) const;
  // What requests are computed with that name nothing.
  SequenceAdapter chosen() const {
    return xloras != nullptr ? xloras->chosen() : SequenceAdapter();
  }
  std::string chosen_name() const { return xloras != nullptr ? xloras->chosen_name() : "base"; }
  // As select(); "" is refused.
  Status choose(std::string_view selection) const;

  Status add(const std::string& name, const std::string& path, bool replace,
             AdapterStore::Source source) const;
  // With a router, `path` is its folder; additive and concatenate have none, and name adapters.
  Status add_xlora(const std::string& name, const std::string& path,
                   const std::optional<XLoraConfig>& config, bool replace,
                   AdapterStore::Source source) const;
  Status remove(const std::string& name) const;
  std::vector<AdapterInfo> list() const;  // LoRA adapters and X-LoRAs, by name
  std::vector<XLoraInfo> list_xloras() const;
  bool contains(std::string_view name) const;
  // Of the row that this X-LoRA, or with "" the chosen one, routed last.
  Result<GateTrace> last_gates(std::string_view name) const;
};

Result<ModelAdapters> load_model_adapters(const LoadOptions& options,
                                          std::shared_ptr<const Checkpoint> checkpoint,
                                          ModelRunner& runner);

}  // namespace ruvllm
