#include "lora/adapter_store.h"

#include <stdlib.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <span>
#include <utility>

#include "base/mmap_file.h"
#include "base/str.h"
#include "base/yielding_thread.h"

namespace ruvllm {
namespace {

constexpr size_t kMaxNameBytes = 256;

// FNV-1a over 32-bit words: to notice a change, not to withstand an attack.
class Fingerprint {
 public:
  void add(uint32_t word) { hash_ = (hash_ ^ word) * 0x100000001b3u; }
  void add(std::span<const std::byte> bytes) {
    for (size_t i = 0; i < bytes.size(); i += sizeof(uint32_t)) {
      uint32_t word = 0;
      std::memcpy(&word, bytes.data() + i, std::min(bytes.size() - i, sizeof word));
      add(word);
    }
  }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 0xcbf29ce484222325u;
};

// The path with all links resolved, or empty (always where links cannot be resolved: nothing is
// inside a root there).
std::string resolved(const std::string& path) {
#if defined(__wasm__)
  static_cast<void>(path);
  return {};
#else
  char* real = ::realpath(path.c_str(), nullptr);
  if (real == nullptr) return {};
  std::string out = real;
  std::free(real);
  return out;
#endif
}

bool is_inside(const std::string& path, const std::string& root) {
  return path.size() > root.size() && path.starts_with(root) &&
         (root.ends_with('/') || path[root.size()] == '/');
}

}  // namespace

AdapterStore::AdapterStore(std::shared_ptr<const Checkpoint> base, AdapterStoreOptions options)
    : base_(std::move(base)),
      options_(std::move(options)),
      claimed_bytes_(std::make_shared<std::atomic<uint64_t>>(0)) {}

Result<std::string> AdapterStore::inside_root(const std::string& path) const {
  if (options_.root.empty()) return path;
  if (path.find('\0') != std::string::npos) {
    return fail(ErrorCode::kInvalidArgument, "an adapter's path with a zero byte");
  }
  const std::string root = resolved(options_.root);
  const std::string wanted = path.starts_with('/') ? path : concat(options_.root, "/", path);
  const std::string real = resolved(wanted);
  // The same words whether it exists or not: who asks learns nothing about the rest of the disk.
  const auto refuse = [&] {
    return fail(
        ErrorCode::kInvalidArgument,
        concat("'", printable(path, 200), "' is no folder inside the adapters' root folder"));
  };
  if (root.empty() || real.empty() || !is_inside(real, root)) return refuse();
  for (const char* file : {"/adapter_config.json", "/adapter_model.safetensors",
                           "/xlora_config.json", "/xlora_classifier.safetensors"}) {
    const std::string target = resolved(real + file);
    if (!target.empty() && !is_inside(target, root)) return refuse();
  }
  return real;
}

Result<AdapterStore::Loaded> AdapterStore::load(const std::string& path) const {
  RUVLLM_ASSIGN(auto adapter, load_lora_adapter(path, *base_, options_.memory_bytes));
  Loaded loaded;
  Fingerprint fingerprint;
  for (const LoraPair& pair : adapter->pairs) {
    fingerprint.add(static_cast<uint32_t>(pair.module.layer + 1));
    fingerprint.add(static_cast<uint32_t>(pair.module.site));
    fingerprint.add(static_cast<uint32_t>(pair.module.first_column));
    fingerprint.add(std::bit_cast<uint32_t>(pair.scale));
    fingerprint.add(pair.a);
    fingerprint.add(pair.b);
    yield_between();
  }
  loaded.max_rank = adapter->max_rank;
  loaded.fingerprint = fingerprint.value();
  loaded.num_bytes = adapter->num_bytes;
  loaded.mix = mix_lora_adapters({{std::move(adapter), 1.0f}}, base_->config.num_layers());
  return loaded;
}

uint64_t AdapterStore::resident_bytes_locked() const {
  uint64_t sum = claimed_bytes_->load();
  for (const auto& [name, entry] : entries_) sum += entry.mix != nullptr ? entry.num_bytes : 0;
  return sum;
}

Status AdapterStore::make_room(uint64_t bytes, bool is_claim) {
  if (bytes > options_.memory_bytes) {
    return fail(ErrorCode::kOutOfMemory, concat("the adapter needs ", bytes, " bytes, the budget ",
                                                "of adapters is ", options_.memory_bytes));
  }
  while (true) {
    size_t resident = 0;
    Entry* oldest = nullptr;
    for (auto& [name, entry] : entries_) {
      if (entry.mix == nullptr) continue;
      ++resident;
      const bool idle = entry.mix.use_count() == 1;
      if (idle && (oldest == nullptr || entry.last_use < oldest->last_use)) oldest = &entry;
    }
    const bool fits = (is_claim || resident < options_.max_resident) &&
                      resident_bytes_locked() <= options_.memory_bytes - bytes;
    if (fits) return {};
    if (oldest == nullptr) {
      return fail(ErrorCode::kUnavailable,
                  concat("all ", resident, " resident adapters are in use, and ",
                         claimed_bytes_->load(), " bytes of X-LoRAs; try again later"));
    }
    oldest->mix.reset();
  }
}

Result<uint64_t> AdapterStore::add(const std::string& name, const std::string& path, bool replace,
                                   Source source) {
  if (name.empty() || name.size() > kMaxNameBytes) {
    return fail(ErrorCode::kInvalidArgument, concat("an adapter's name has ", name.size(),
                                                    " bytes, expected 1 to ", kMaxNameBytes));
  }
  std::string folder = path;
  if (source == Source::kRequest) {
    RUVLLM_ASSIGN(folder, inside_root(path));
  }
  const MutexLock load_lock(load_mutex_);
  {
    const MutexLock lock(mutex_);
    const bool known = entries_.contains(name);
    if (known && !replace) {
      return fail(ErrorCode::kInvalidArgument,
                  concat("adapter ", printable(name), " is loaded already"));
    }
    if (!known && entries_.size() >= options_.max_known) {
      return fail(ErrorCode::kUnavailable,
                  concat("there are ", entries_.size(), " adapters, the bound"));
    }
  }
  RUVLLM_ASSIGN(Loaded loaded, load(folder));
  const MutexLock lock(mutex_);
  std::shared_ptr<const LoraMix> old;  // freed after the entry has changed
  if (const auto entry = entries_.find(name); entry != entries_.end()) {
    old = std::move(entry->second.mix);
    entry->second.mix = nullptr;
  }
  if (const Status room = make_room(loaded.num_bytes); !room) {
    if (const auto entry = entries_.find(name); entry != entries_.end()) entry->second.mix = old;
    return std::unexpected(room.error());
  }
  Entry& entry = entries_[name];
  entry.path = folder;
  entry.source = source;
  entry.generation = ++last_generation_;
  entry.fingerprint = loaded.fingerprint;
  entry.num_bytes = loaded.num_bytes;
  entry.max_rank = loaded.max_rank;
  entry.last_use = ++clock_;
  entry.mix = std::move(loaded.mix);
  return entry.generation;
}

Status AdapterStore::remove(const std::string& name) {
  std::shared_ptr<const LoraMix> old;  // freed outside the lock
  const MutexLock lock(mutex_);
  const auto entry = entries_.find(name);
  if (entry == entries_.end()) {
    return fail(ErrorCode::kNotFound, concat("no adapter ", printable(name)));
  }
  old = std::move(entry->second.mix);
  entries_.erase(entry);
  return {};
}

Result<StoredAdapter> AdapterStore::acquire(const std::string& name) {
  const auto unknown = [&] {
    return fail(ErrorCode::kNotFound, concat("no adapter ", printable(name)));
  };
  {
    const MutexLock lock(mutex_);
    const auto entry = entries_.find(name);
    if (entry == entries_.end()) return unknown();
    entry->second.last_use = ++clock_;
    if (entry->second.mix != nullptr) {
      return StoredAdapter{entry->second.mix, entry->second.generation};
    }
  }
  const MutexLock load_lock(load_mutex_);
  std::string path;
  uint64_t generation = 0;
  Source source = Source::kRequest;
  {
    const MutexLock lock(mutex_);  // somebody may have loaded, removed or replaced it meanwhile
    const auto entry = entries_.find(name);
    if (entry == entries_.end()) return unknown();
    if (entry->second.mix != nullptr) {
      return StoredAdapter{entry->second.mix, entry->second.generation};
    }
    path = entry->second.path;
    generation = entry->second.generation;
    source = entry->second.source;
  }
  if (source == Source::kRequest) {
    RUVLLM_ASSIGN(path, inside_root(path));
  }
  RUVLLM_ASSIGN(Loaded loaded, load(path));
  const MutexLock lock(mutex_);
  const auto entry = entries_.find(name);
  if (entry == entries_.end() || entry->second.generation != generation) return unknown();
  if (entry->second.fingerprint != loaded.fingerprint) {
    return fail(ErrorCode::kBadFile, concat(path, ": the adapter's files have changed since it ",
                                            "was loaded; unload and load it again"));
  }
  RUVLLM_TRY(make_room(loaded.num_bytes));
  entry->second.mix = std::move(loaded.mix);
  return StoredAdapter{entry->second.mix, generation};
}

std::vector<AdapterInfo> AdapterStore::list() const {
  std::vector<AdapterInfo> out;
  {
    const MutexLock lock(mutex_);
    for (const auto& [name, entry] : entries_) {
      out.push_back({name, entry.path, entry.generation, entry.num_bytes, entry.mix != nullptr,
                     entry.max_rank});
    }
  }
  std::ranges::sort(out, {}, &AdapterInfo::name);
  return out;
}

bool AdapterStore::contains(std::string_view name) const {
  const MutexLock lock(mutex_);
  return entries_.contains(std::string(name));
}

Result<MemoryClaim> AdapterStore::claim(uint64_t bytes) {
  const MutexLock lock(mutex_);
  RUVLLM_TRY(make_room(bytes, /*is_claim=*/true));
  claimed_bytes_->fetch_add(bytes);
  return MemoryClaim(new const uint64_t(bytes), [total = claimed_bytes_](const uint64_t* claimed) {
    total->fetch_sub(*claimed);
    delete claimed;
  });
}

uint64_t AdapterStore::resident_bytes() const {
  const MutexLock lock(mutex_);
  return resident_bytes_locked();
}

}  // namespace ruvllm
