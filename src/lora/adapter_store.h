// AdapterStore: the adapters a server knows by name. At any time they are loaded and unloaded while
// requests run.
//
// A name is known from add() to remove(). Its numbers are resident from add() on until the memory
// budget (or the bound of resident ones) needs the place: then the least recently used that no
// request holds goes, and comes back from its files at the next acquire(). What acquire() returns
// stays whole as long as somebody holds it, whatever happens to the name meanwhile: a request keeps
// the adapter it began with.
//
// A generation belongs to one add(): no two different adapters ever have the same, so caches of
// what was computed with an adapter are keyed by it. Files that changed since add() are noticed
// (their fingerprint) and refused until the adapter is added again.
//
// With a root, only folders inside it are read, links resolved. Threads: any method from any; files
// are read outside the lock, one adapter at a time, so lookups of resident ones never wait for a
// disk. Failure: kNotFound, kInvalidArgument (jail, bounds), kUnavailable (the budget is held by
// running requests), kOutOfMemory (one adapter exceeds the budget), and what the reader says.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "lora/lora_adapter.h"
#include "ruvllm/backend.h"
#include "ruvllm/result.h"

namespace ruvllm {

struct AdapterStoreOptions {
  std::string root;  // empty: no jail
  uint64_t memory_bytes = uint64_t{1} << 30;
  size_t max_resident = 64;
  size_t max_known = 4096;
};

struct StoredAdapter {
  std::shared_ptr<const LoraMix> mix;  // of this adapter alone
  uint64_t generation = 0;
};

// Bytes of a store's budget that somebody else uses (an X-LoRA's experts): given back when the last
// copy goes, which may be after the store did.
using MemoryClaim = std::shared_ptr<const uint64_t>;

class AdapterStore {
 public:
  AdapterStore(std::shared_ptr<const Checkpoint> base, AdapterStoreOptions options);

  // Reads and checks the adapter and makes the name known. A name that is known already: refused
  // unless `replace`; then the old one goes when the new one has been read. kOperator: the path
  // comes from who runs the program, and may be outside of the root.
  enum class Source : uint8_t { kRequest, kOperator };
  Result<uint64_t> add(const std::string& name, const std::string& path, bool replace = false,
                       Source source = Source::kRequest);
  Status remove(const std::string& name);
  Result<StoredAdapter> acquire(const std::string& name);
  std::vector<AdapterInfo> list() const;  // by name
  bool contains(std::string_view name) const;
  uint64_t resident_bytes() const;  // with those claimed
  // Makes room as for an adapter of so many bytes, which are the claimant's from then on.
  Result<MemoryClaim> claim(uint64_t bytes);
  uint64_t budget_bytes() const { return options_.memory_bytes; }
  bool has_root() const { return !options_.root.empty(); }
  // The folder as it is to be read, links resolved: `path`, or with a root kInvalidArgument unless
  // it and its files lie inside.
  Result<std::string> inside_root(const std::string& path) const;

 private:
  struct Entry {
    std::string path;
    Source source = Source::kRequest;
    uint64_t generation = 0;
    uint64_t fingerprint = 0;
    uint64_t num_bytes = 0;
    int32_t max_rank = 0;
    uint64_t last_use = 0;               // of clock_
    std::shared_ptr<const LoraMix> mix;  // null: not resident
  };
  struct Loaded {
    std::shared_ptr<const LoraMix> mix;
    uint64_t fingerprint = 0;
    uint64_t num_bytes = 0;
    int32_t max_rank = 0;
  };

  Result<Loaded> load(const std::string& path) const;
  // Room for so many bytes more, and for an adapter more unless it is a claim. Caller holds mutex_.
  Status make_room(uint64_t bytes, bool is_claim = false);
  uint64_t resident_bytes_locked() const;

  const std::shared_ptr<const Checkpoint> base_;
  const AdapterStoreOptions options_;
  Mutex load_mutex_;  // taken before mutex_: one load at a time
  mutable Mutex mutex_;
  const std::shared_ptr<std::atomic<uint64_t>> claimed_bytes_;
  std::unordered_map<std::string, Entry> entries_;
  uint64_t clock_ = 0;
  uint64_t last_generation_ = 0;
};

}  // namespace ruvllm
