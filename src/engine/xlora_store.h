// XLoraStore: the X-LoRAs that a model knows by name, the sums of adapters that have a name of
// their own, and what requests are computed with that name nothing. All of them come, go and change
// while requests run; a request keeps what it began with.
//
// Threads: any method from any; files are read outside the lock. Ownership: keeps the checkpoint
// alive; the device must outlive it and every gate it gave out. Failure: one line naming the
// X-LoRA.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "engine/sequence_adapter.h"
#include "formats/checkpoint.h"
#include "lora/adapter_store.h"
#include "ruvllm/backend.h"
#include "ruvllm/options.h"
#include "ruvllm/result.h"

namespace ruvllm {

class XLoraStore {
 public:
  // `ops`: the model's device; null: it cannot run a classifier, and only sums can be added. It may
  // be computing while a classifier's weights are made (Ops::make_weight of f32 does not mind).
  XLoraStore(std::shared_ptr<const Checkpoint> base, Ops* ops, int64_t max_step_rows)
      : base_(std::move(base)), ops_(ops), max_step_rows_(max_step_rows) {}

  // Reads the X-LoRA in `path`. `config` (mode kGated) replaces what its own says: top_k (0: all)
  // and temperature; its `adapters` are empty or the experts' names in order. Its bytes count in
  // the budget of `store`; kRequest: the folder and its experts' must lie in the store's root.
  Status add(const std::string& name, const std::string& path,
             const std::optional<XLoraConfig>& config, bool replace, AdapterStore& store,
             AdapterStore::Source source);
  // A name for a sum of adapters, "a:0.5+b:0.5"; whether there are such is the caller's to check.
  Status add_sum(const std::string& name, const std::string& sum, const XLoraConfig& config,
                 bool replace);
  // False: there is none of this name.
  bool remove(std::string_view name);

  std::optional<SequenceAdapter> find(std::string_view name) const;
  // The sum that the name stands for, or empty.
  std::string sum_of(std::string_view name) const;
  bool contains(std::string_view name) const;
  std::vector<XLoraInfo> list() const;  // by name

  // What is chosen where nothing is named.
  SequenceAdapter chosen() const;
  std::string chosen_name() const;
  void choose(std::string name, SequenceAdapter adapter);

 private:
  struct Entry {
    std::shared_ptr<XLoraGate> gate;  // null: a sum
    std::string cache_key;
    XLoraInfo info;
  };
  Status check_name(const std::string& name, bool replace) const;
  Status put(const std::string& name, Entry entry, bool replace);

  const std::shared_ptr<const Checkpoint> base_;
  Ops* const ops_;
  const int64_t max_step_rows_;
  mutable Mutex mutex_;
  std::map<std::string, Entry, std::less<>> entries_;
  uint64_t last_generation_ = 0;
  SequenceAdapter chosen_;
  std::string chosen_name_ = "base";
};

// The sum that a configuration without a router stands for: its adapters, joined.
Result<std::string> sum_of_config(const XLoraConfig& config);

}  // namespace ruvllm
