#include "kv/kv_cache.h"

#include <algorithm>

#include "base/check.h"
#include "base/str.h"

namespace ruvllm {

KvCache::KvCache(const KvCacheOptions& options)
    : options_(options),
      pool_(options.num_blocks),
      index_(options.num_blocks, options.block_tokens, options.hash_seed) {}

int32_t KvCache::blocks_for(int64_t tokens) const {
  return static_cast<int32_t>((tokens + options_.block_tokens - 1) / options_.block_tokens);
}

void KvCache::start(BlockTable& table, const PrefixKey& key) const {
  RUVLLM_CHECK(table.blocks.empty(), table.blocks.size());
  table.num_sealed = 0;
  table.key = key;
  table.hash = index_.root_hash(key);
}

void KvCache::chain(const PrefixKey& key, std::span<const int32_t> tokens,
                    std::vector<uint64_t>& hashes) const {
  const auto width = static_cast<size_t>(options_.block_tokens);
  uint64_t hash = hashes.empty() ? index_.root_hash(key) : hashes.back();
  for (size_t i = hashes.size(); (i + 1) * width <= tokens.size(); ++i) {
    hash = index_.next_hash(hash, tokens.subspan(i * width, width));
    hashes.push_back(hash);
  }
}

void KvCache::match(const PrefixKey& key, std::span<const int32_t> tokens,
                    std::span<const uint64_t> hashes, std::vector<int32_t>& blocks) const {
  blocks.clear();
  if (!options_.prefix_caching) return;
  const auto width = static_cast<size_t>(options_.block_tokens);
  int32_t parent = kNoBlock;
  for (size_t i = 0; i < hashes.size() && (i + 1) * width <= tokens.size(); ++i) {
    parent = index_.find(hashes[i], key, parent, tokens.subspan(i * width, width));
    if (parent == kNoBlock) return;
    blocks.push_back(parent);
  }
}

void KvCache::adopt(BlockTable& table, std::span<const int32_t> blocks,
                    std::span<const uint64_t> hashes) {
  RUVLLM_CHECK(table.blocks.empty(), table.blocks.size());
  if (blocks.empty()) return;
  for (const int32_t block : blocks) {
    if (pool_.count(block) == 0) --num_cached_;
    pool_.retain(block);
  }
  table.blocks.assign(blocks.begin(), blocks.end());
  table.num_sealed = static_cast<int32_t>(blocks.size());
  table.hash = hashes[blocks.size() - 1];
}

int32_t KvCache::take() {
  const int32_t block = pool_.take();
  if (block != kNoBlock && index_.contains(block)) {
    index_.erase(block);
    --num_cached_;
    ++counters_.evictions;
  }
  return block;
}

void KvCache::release_block(int32_t block) {
  const bool keep = index_.contains(block);
  if (pool_.release(block, keep) && keep) ++num_cached_;
}

bool KvCache::grow(BlockTable& table, int32_t num_blocks) {
  const auto have = static_cast<int32_t>(table.blocks.size());
  if (num_blocks - have > pool_.num_free()) return false;
  for (int32_t i = have; i < num_blocks; ++i) table.blocks.push_back(take());
  return true;
}

bool KvCache::is_shared(const BlockTable& table, int32_t block_index) const {
  return pool_.count(table.blocks[static_cast<size_t>(block_index)]) > 1;
}

std::optional<BlockCopy> KvCache::make_writable(BlockTable& table, int32_t block_index) {
  if (!is_shared(table, block_index)) return std::nullopt;
  RUVLLM_CHECK(block_index >= table.num_sealed, "a sealed block is never written");
  int32_t& block = table.blocks[static_cast<size_t>(block_index)];
  const BlockCopy copy = {block, take()};
  RUVLLM_CHECK(copy.to != kNoBlock, "no free block to copy to");
  release_block(block);
  block = copy.to;
  ++counters_.copies;
  return copy;
}

void KvCache::seal(BlockTable& table, std::span<const int32_t> tokens, int64_t num_tokens) {
  if (!options_.prefix_caching) return;
  const auto width = static_cast<size_t>(options_.block_tokens);
  const auto full = static_cast<int32_t>(num_tokens / options_.block_tokens);
  while (table.num_sealed < full) {
    const auto i = static_cast<size_t>(table.num_sealed);
    const std::span<const int32_t> text = tokens.subspan(i * width, width);
    const uint64_t hash = index_.next_hash(table.hash, text);
    const int32_t parent = i == 0 ? kNoBlock : table.blocks[i - 1];
    int32_t& block = table.blocks[i];
    const int32_t same = index_.find(hash, table.key, parent, text);
    if (same == kNoBlock) {
      index_.insert(block, hash, table.key, parent, text);
    } else if (same != block) {
      if (pool_.count(same) == 0) --num_cached_;
      pool_.retain(same);
      release_block(block);
      block = same;
      ++counters_.deduplicated;
    }
    table.hash = hash;
    ++table.num_sealed;
  }
}

void KvCache::fork(const BlockTable& from, BlockTable& to) {
  RUVLLM_CHECK(to.blocks.empty(), to.blocks.size());
  for (const int32_t block : from.blocks) pool_.retain(block);
  to.blocks.assign(from.blocks.begin(), from.blocks.end());
  to.num_sealed = from.num_sealed;
  to.hash = from.hash;
  to.key = from.key;
}

void KvCache::release(BlockTable& table) {
  for (auto it = table.blocks.rbegin(); it != table.blocks.rend(); ++it) release_block(*it);
  table.blocks.clear();
  table.num_sealed = 0;
}

void KvCache::drop_cached() {
  // Oldest first, and so the ends of texts first.
  std::vector<int32_t> taken;
  while (pool_.num_free() > 0) taken.push_back(take());
  for (const int32_t block : taken) release_block(block);
}

Status KvCache::check_integrity(std::span<const BlockTable* const> tables) const {
  RUVLLM_TRY(pool_.check_integrity());
  RUVLLM_TRY(index_.check_integrity());
  std::vector<int32_t> counts(static_cast<size_t>(options_.num_blocks));
  for (const BlockTable* table : tables) {
    for (size_t i = 0; i < table->blocks.size(); ++i) {
      ++counts[static_cast<size_t>(table->blocks[i])];
      const bool sealed = static_cast<int32_t>(i) < table->num_sealed;
      if (sealed && !index_.contains(table->blocks[i])) {
        return fail(ErrorCode::kInternal,
                    concat("sealed block ", table->blocks[i], " is not in the index"));
      }
    }
  }
  int32_t cached = 0;
  for (int32_t block = 0; block < options_.num_blocks; ++block) {
    const int32_t count = counts[static_cast<size_t>(block)];
    if (count != pool_.count(block)) {
      return fail(ErrorCode::kInternal, concat("block ", block, " is in ", count,
                                               " tables and has count ", pool_.count(block)));
    }
    cached += count == 0 && index_.contains(block) ? 1 : 0;
  }
  if (cached != num_cached_) {
    return fail(ErrorCode::kInternal, concat(cached, " cached blocks, ", num_cached_, " counted"));
  }
  return {};
}

}  // namespace ruvllm
