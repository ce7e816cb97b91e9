// KvCache: the pages of all sequences: block tables that grow page by page, share what is equal,
// and leave behind what may be wanted again. It joins the pool (who holds a block) with the prefix
// index (what a block holds).
//
// A block of a table is shared when its count is above 1: make_writable() gives the table a copy of
// its own before anything is written there (copy on write). seal() enters the full blocks of a
// table into the index once they are computed; if the same text is there already, the table takes
// that block and gives its own back, so equal pages are stored once even when two requests computed
// them side by side. A released table's indexed blocks stay findable until the pool needs them; the
// last block of a text goes first.
//
// Integers only, no bytes. One thread at a time. Running out of blocks is an ordinary value.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kv/block_pool.h"
#include "kv/prefix_index.h"

namespace ruvllm {

struct KvCacheOptions {
  int32_t num_blocks = 0;
  int32_t block_tokens = 16;
  bool prefix_caching = true;
  uint64_t hash_seed = 0;
};

// The blocks of one text in order. Only KvCache changes it.
struct BlockTable {
  std::vector<int32_t> blocks;
  int32_t num_sealed = 0;  // leading blocks that are in the index
  uint64_t hash = 0;       // the chain's value after them
  PrefixKey key;
};

struct BlockCopy {
  int32_t from = kNoBlock;
  int32_t to = kNoBlock;
};

struct KvCacheCounters {
  int64_t evictions = 0;     // indexed blocks whose memory was taken
  int64_t copies = 0;        // copy on write
  int64_t deduplicated = 0;  // blocks given back because the same text was there already
};

class KvCache {
 public:
  explicit KvCache(const KvCacheOptions& options);

  const BlockPool& pool() const { return pool_; }
  const PrefixIndex& index() const { return index_; }
  int32_t block_tokens() const { return options_.block_tokens; }
  bool prefix_caching() const { return options_.prefix_caching; }
  int32_t blocks_for(int64_t tokens) const;
  // Free blocks that the index still finds.
  int32_t num_cached() const { return num_cached_; }
  const KvCacheCounters& counters() const { return counters_; }

  // An empty table for a text of that key.
  void start(BlockTable& table, const PrefixKey& key) const;
  // The chain hashes of the full blocks of `tokens`, appended to hashes[hashes.size()...].
  void chain(const PrefixKey& key, std::span<const int32_t> tokens,
             std::vector<uint64_t>& hashes) const;
  // The indexed blocks that hold the beginning of `tokens`, at most hashes.size() of them. Nothing
  // is held yet.
  void match(const PrefixKey& key, std::span<const int32_t> tokens,
             std::span<const uint64_t> hashes, std::vector<int32_t>& blocks) const;
  // Makes `blocks` from match() the beginning of an empty table.
  void adopt(BlockTable& table, std::span<const int32_t> blocks, std::span<const uint64_t> hashes);

  // Adds blocks until the table has `num_blocks`; false, and nothing done, when too few are free.
  bool grow(BlockTable& table, int32_t num_blocks);
  bool is_shared(const BlockTable& table, int32_t block_index) const;
  // A shared block is replaced by one of the table's own, to which the caller copies the content;
  // nullopt when none was needed. Needs one free block.
  std::optional<BlockCopy> make_writable(BlockTable& table, int32_t block_index);
  // The first `num_tokens` of `tokens` are computed.
  void seal(BlockTable& table, std::span<const int32_t> tokens, int64_t num_tokens);
  // Another table with the same blocks.
  void fork(const BlockTable& from, BlockTable& to);
  void release(BlockTable& table);

  // Forgets all free blocks' content.
  void drop_cached();

  // Pool and index are sound; sealed blocks are indexed. `tables` are all there are: their
  // references are the counts, and free + cached + used = total.
  Status check_integrity(std::span<const BlockTable* const> tables) const;

 private:
  int32_t take();
  void release_block(int32_t block);

  KvCacheOptions options_;
  BlockPool pool_;
  PrefixIndex index_;
  int32_t num_cached_ = 0;
  KvCacheCounters counters_;
};

}  // namespace ruvllm
