#include "engine/xlora_store.h"

#include <utility>

#include "base/str.h"

namespace ruvllm {
namespace {

constexpr size_t kMaxEntries = 1024;

// The experts' names, the policy's numbers: what a configuration may replace.
Result<std::shared_ptr<const XLora>> apply(std::shared_ptr<const XLora> xlora,
                                           const XLoraConfig& config) {
  const int32_t n = xlora->num_experts();
  if (config.top_k < 0 || config.top_k > n) {
    return fail(ErrorCode::kInvalidArgument,
                concat(xlora->path, ": top_k is ", config.top_k, ", expected 0 (all) to ", n));
  }
  if (!(config.temperature >= 1e-6f && config.temperature <= 1e6f)) {
    return fail(ErrorCode::kInvalidArgument,
                concat(xlora->path, ": temperature is ", config.temperature, ", expected above 0"));
  }
  if (!config.adapters.empty() && config.adapters != xlora->expert_names) {
    std::string names;
    for (const std::string& name : xlora->expert_names) names += concat(" ", printable(name));
    return fail(ErrorCode::kInvalidArgument,
                concat(xlora->path, ": adapters are not its experts:", names, ", in this order"));
  }
  auto changed = std::make_shared<XLora>(*xlora);  // the table's numbers are the experts'
  changed->policy.top_k = config.top_k == n ? 0 : config.top_k;
  changed->policy.temperature = double{config.temperature};
  return changed;
}

XLoraInfo describe(const std::string& name, const XLora& xlora) {
  XLoraInfo info;
  info.name = name;
  info.path = xlora.path;
  info.experts = xlora.expert_names;
  info.num_modules = xlora.num_modules();
  info.layerwise = xlora.layerwise;
  info.top_k = xlora.policy.top_k;
  info.temperature = static_cast<float>(xlora.policy.temperature);
  info.mixing_mode = XLoraMixingMode::kGated;
  info.num_bytes = xlora.num_bytes;
  for (const auto& expert : xlora.experts)
    info.max_rank = std::max(info.max_rank, expert->max_rank);
  return info;
}

// A gate and its share of the memory budget: requests keep both as long as they use it.
struct ClaimedGate {
  MemoryClaim claim;
  std::unique_ptr<XLoraGate> gate;
};

}  // namespace

Result<std::string> sum_of_config(const XLoraConfig& config) {
  if (config.adapters.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "xlora: additive and concatenate need the names of adapters");
  }
  std::string sum;
  for (const std::string& adapter : config.adapters) {
    sum += concat(sum.empty() ? "" : "+", adapter);
    if (adapter.find(':') == std::string::npos) sum += ":1";
  }
  return sum;
}

Status XLoraStore::check_name(const std::string& name, bool replace) const {
  if (!replace && entries_.contains(name)) {
    return fail(ErrorCode::kInvalidArgument,
                concat("X-LoRA ", printable(name), " is loaded already"));
  }
  if (entries_.size() >= kMaxEntries && !entries_.contains(name)) {
    return fail(ErrorCode::kUnavailable, concat("there are ", kMaxEntries, " X-LoRAs, the bound"));
  }
  return {};
}

Status XLoraStore::add(const std::string& name, const std::string& path,
                       const std::optional<XLoraConfig>& config, bool replace, AdapterStore& store,
                       AdapterStore::Source source) {
  {
    const MutexLock lock(mutex_);
    RUVLLM_TRY(check_name(name, replace));
  }
  if (ops_ == nullptr) {
    return fail(ErrorCode::kUnsupported, "xlora: this model's device cannot run a classifier");
  }
  const auto allowed = [&](const std::string& folder) {
    return source == AdapterStore::Source::kRequest ? store.inside_root(folder)
                                                    : kAnyFolder(folder);
  };
  RUVLLM_ASSIGN(const std::string folder, allowed(path));
  RUVLLM_ASSIGN(std::shared_ptr<const XLora> xlora,
                load_xlora(folder, *base_, {allowed, store.budget_bytes()}));
  ClaimedGate claimed;
  RUVLLM_ASSIGN(claimed.claim, store.claim(xlora->num_bytes));
  if (config) {
    RUVLLM_ASSIGN(xlora, apply(std::move(xlora), *config));
  }
  XLoraInfo info = describe(name, *xlora);
  RUVLLM_ASSIGN(claimed.gate, XLoraGate::make(std::move(xlora), *ops_, max_step_rows_));
  const auto shared = std::make_shared<ClaimedGate>(std::move(claimed));
  return put(name, {{shared, shared->gate.get()}, {}, std::move(info)}, replace);
}

Status XLoraStore::put(const std::string& name, Entry entry, bool replace) {
  const MutexLock lock(mutex_);
  RUVLLM_TRY(check_name(name, replace));
  if (entry.gate != nullptr) entry.cache_key = concat("x", ++last_generation_);
  std::swap(entries_[name], entry);  // what was there is freed when the lock is not held
  return {};
}

Status XLoraStore::add_sum(const std::string& name, const std::string& sum,
                           const XLoraConfig& config, bool replace) {
  XLoraInfo info;
  info.name = name;
  info.experts = config.adapters;
  info.mixing_mode = config.mixing_mode;
  info.sum = sum;
  return put(name, {nullptr, {}, std::move(info)}, replace);
}

bool XLoraStore::remove(std::string_view name) {
  Entry old;  // freed when the lock is not held
  const MutexLock lock(mutex_);
  const auto entry = entries_.find(name);
  if (entry == entries_.end()) return false;
  old = std::move(entry->second);
  entries_.erase(entry);
  return true;
}

std::optional<SequenceAdapter> XLoraStore::find(std::string_view name) const {
  const MutexLock lock(mutex_);
  const auto entry = entries_.find(name);
  if (entry == entries_.end() || entry->second.gate == nullptr) return std::nullopt;
  return SequenceAdapter{nullptr, entry->second.gate, entry->second.cache_key};
}

std::string XLoraStore::sum_of(std::string_view name) const {
  const MutexLock lock(mutex_);
  const auto entry = entries_.find(name);
  return entry != entries_.end() ? entry->second.info.sum : std::string();
}

bool XLoraStore::contains(std::string_view name) const {
  const MutexLock lock(mutex_);
  return entries_.contains(name);
}

std::vector<XLoraInfo> XLoraStore::list() const {
  const MutexLock lock(mutex_);
  std::vector<XLoraInfo> out;
  for (const auto& [name, entry] : entries_) out.push_back(entry.info);
  return out;
}

SequenceAdapter XLoraStore::chosen() const {
  const MutexLock lock(mutex_);
  return chosen_;
}

std::string XLoraStore::chosen_name() const {
  const MutexLock lock(mutex_);
  return chosen_name_;
}

void XLoraStore::choose(std::string name, SequenceAdapter adapter) {
  const MutexLock lock(mutex_);
  chosen_ = std::move(adapter);
  chosen_name_ = std::move(name);
}

}  // namespace ruvllm
