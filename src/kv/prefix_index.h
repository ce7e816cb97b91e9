// PrefixIndex: finds the block that holds given tokens after a given beginning.
//
// Every full block whose keys and values are computed can be entered under a chain hash of
// everything that determined them: the key of its text (adapter set, its generation, salt, rotary
// variant), the blocks before it, and its own tokens. The hash (SipHash-1-3 with a seed of the
// process, so that nobody can prepare collisions) only finds candidates: a hit is confirmed by
// comparing the block's own tokens and the identity of the block before it, which was confirmed in
// the same way. A collision can therefore cost time, never mix two texts.
//
// A block may leave only after all that were entered behind it (they lie on top of it); the LRU
// order of tail-first frees brings this about by itself, and a breach of it aborts.
//
// Memory is fixed at construction. One thread at a time. Nothing fails.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv/block_pool.h"
#include "ruvllm/result.h"

namespace ruvllm {

// What must be equal, besides the tokens, for keys and values to be shared. All zero: the plain
// model, shared by everybody.
struct PrefixKey {
  uint64_t adapter_set = 0;
  uint64_t adapter_generation = 0;
  uint64_t variant = 0;   // rotary regime; gate policy of a second KV set
  uint64_t salt_low = 0;  // 128-bit hash of the request's cache salt (kv/salt.h)
  uint64_t salt_high = 0;

  bool operator==(const PrefixKey&) const = default;
};

class PrefixIndex {
 public:
  PrefixIndex(int32_t num_blocks, int32_t block_tokens, uint64_t seed);

  int32_t block_tokens() const { return block_tokens_; }
  int32_t num_entries() const { return num_entries_; }

  // The chain: the hash of a text's key, then of each full block.
  uint64_t root_hash(const PrefixKey& key) const;
  uint64_t next_hash(uint64_t before, std::span<const int32_t> tokens) const;

  // The block of these tokens behind block `parent` (kNoBlock: they begin the text), or kNoBlock.
  // `hash` is the chain's value including `tokens`.
  int32_t find(uint64_t hash, const PrefixKey& key, int32_t parent,
               std::span<const int32_t> tokens) const;
  bool contains(int32_t block) const { return entries_[static_cast<size_t>(block)].present; }

  // Enters a block that is not in it; find() must have failed.
  void insert(int32_t block, uint64_t hash, const PrefixKey& key, int32_t parent,
              std::span<const int32_t> tokens);
  // Takes a block out; it must have nothing behind it.
  void erase(int32_t block);

  Status check_integrity() const;

 private:
  struct Entry {
    uint64_t hash = 0;
    PrefixKey key;
    int32_t parent = kNoBlock;
    int32_t next = kNoBlock;  // in the same bucket
    int32_t num_children = 0;
    bool present = false;
  };
  size_t bucket(uint64_t hash) const { return static_cast<size_t>(hash) & (heads_.size() - 1); }
  std::span<const int32_t> tokens_of(int32_t block) const;

  int32_t block_tokens_;
  uint64_t seed_;
  int32_t num_entries_ = 0;
  std::vector<int32_t> heads_;   // a power of two of buckets
  std::vector<Entry> entries_;   // [num_blocks]
  std::vector<int32_t> tokens_;  // [num_blocks, block_tokens]
};

}  // namespace ruvllm
