// ModelAdapters: the adapters that a model may be computed with, by name, and what a request may
// choose among them. Adapters come and go while it runs; any thread may select, add and remove. The
// X-LoRA is constant but for its scratch, which belongs to who holds the model's turn. Failure: one
// line naming the adapter or its files.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model_runner.h"
#include "engine/sequence_adapter.h"
#include "lora/adapter_store.h"
#include "ruvllm/options.h"
#include "ruvllm/result.h"

namespace ruvllm {

struct ModelAdapters {
  std::shared_ptr<AdapterStore> store;  // null: none can be loaded
  std::shared_ptr<XLoraGate> xlora;
  SequenceAdapter chosen;  // by LoadOptions::use_adapter
  int32_t num_layers = 0;

  // "base", "xlora", "name", or "a:0.5+b:0.5".
  Result<SequenceAdapter> select(std::string_view selection) const;
  Status add(const std::string& name, const std::string& path, bool replace,
             AdapterStore::Source source) const;
  Status remove(const std::string& name) const;
  std::vector<AdapterInfo> list() const;
  bool contains(std::string_view name) const { return store != nullptr && store->contains(name); }
  const XLora* xlora_model() const { return xlora != nullptr ? &xlora->xlora() : nullptr; }
};

Result<ModelAdapters> load_model_adapters(const LoadOptions& options,
                                          std::shared_ptr<const Checkpoint> checkpoint,
                                          ModelRunner& runner);

}  // namespace ruvllm
