#include "kv/prefix_index.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "base/str.h"
#include "kv/siphash.h"

namespace ruvllm {

PrefixIndex::PrefixIndex(int32_t num_blocks, int32_t block_tokens, uint64_t seed)
    : block_tokens_(block_tokens),
      seed_(seed),
      heads_(std::bit_ceil(static_cast<size_t>(num_blocks) * 2), kNoBlock),
      entries_(static_cast<size_t>(num_blocks)),
      tokens_(static_cast<size_t>(num_blocks) * static_cast<size_t>(block_tokens)) {
  RUVLLM_CHECK(block_tokens > 0, block_tokens);
}

uint64_t PrefixIndex::root_hash(const PrefixKey& key) const {
  SipHash hash(seed_, 0x726f6f74);
  for (const uint64_t word :
       {key.adapter_set, key.adapter_generation, key.variant, key.salt_low, key.salt_high}) {
    hash.add(word);
  }
  return hash.finish();
}

uint64_t PrefixIndex::next_hash(uint64_t before, std::span<const int32_t> tokens) const {
  SipHash hash(seed_, before);
  size_t i = 0;
  for (; i + 1 < tokens.size(); i += 2) {
    hash.add((uint64_t{static_cast<uint32_t>(tokens[i + 1])} << 32) |
             static_cast<uint32_t>(tokens[i]));
  }
  if (i < tokens.size()) hash.add(static_cast<uint32_t>(tokens[i]));
  return hash.finish();
}

std::span<const int32_t> PrefixIndex::tokens_of(int32_t block) const {
  const auto width = static_cast<size_t>(block_tokens_);
  return std::span(tokens_).subspan(static_cast<size_t>(block) * width, width);
}

int32_t PrefixIndex::find(uint64_t hash, const PrefixKey& key, int32_t parent,
                          std::span<const int32_t> tokens) const {
  for (int32_t at = heads_[bucket(hash)]; at != kNoBlock;
       at = entries_[static_cast<size_t>(at)].next) {
    const Entry& entry = entries_[static_cast<size_t>(at)];
    if (entry.hash == hash && entry.parent == parent && entry.key == key &&
        std::ranges::equal(tokens_of(at), tokens)) {
      return at;
    }
  }
  return kNoBlock;
}

void PrefixIndex::insert(int32_t block, uint64_t hash, const PrefixKey& key, int32_t parent,
                         std::span<const int32_t> tokens) {
  Entry& entry = entries_[static_cast<size_t>(block)];
  RUVLLM_CHECK(!entry.present, "block ", block);
  RUVLLM_CHECK(static_cast<int32_t>(tokens.size()) == block_tokens_, tokens.size());
  if (parent != kNoBlock) {
    Entry& before = entries_[static_cast<size_t>(parent)];
    RUVLLM_CHECK(before.present && before.key == key, "block ", block, " behind ", parent);
    ++before.num_children;
  }
  int32_t& head = heads_[bucket(hash)];
  entry = {hash, key, parent, head, 0, true};
  head = block;
  std::ranges::copy(tokens, tokens_.begin() + static_cast<int64_t>(block) * block_tokens_);
  ++num_entries_;
}

void PrefixIndex::erase(int32_t block) {
  Entry& entry = entries_[static_cast<size_t>(block)];
  RUVLLM_CHECK(entry.present && entry.num_children == 0, "block ", block, " with ",
               entry.num_children, " behind it");
  if (entry.parent != kNoBlock) --entries_[static_cast<size_t>(entry.parent)].num_children;
  int32_t* at = &heads_[bucket(entry.hash)];
  while (*at != block) at = &entries_[static_cast<size_t>(*at)].next;
  *at = entry.next;
  entry = Entry();
  --num_entries_;
}

Status PrefixIndex::check_integrity() const {
  std::vector<int32_t> children(entries_.size());
  int32_t present = 0;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    if (!entry.present) continue;
    ++present;
    const uint64_t before = entry.parent == kNoBlock
                                ? root_hash(entry.key)
                                : entries_[static_cast<size_t>(entry.parent)].hash;
    if (entry.parent != kNoBlock) {
      if (!entries_[static_cast<size_t>(entry.parent)].present) {
        return fail(ErrorCode::kInternal, concat("block ", i, " lies behind block ", entry.parent,
                                                 ", which is not in the index"));
      }
      ++children[static_cast<size_t>(entry.parent)];
    }
    const auto block = static_cast<int32_t>(i);
    if (next_hash(before, tokens_of(block)) != entry.hash) {
      return fail(ErrorCode::kInternal, concat("block ", i, " has another hash than its tokens"));
    }
    if (find(entry.hash, entry.key, entry.parent, tokens_of(block)) != block) {
      return fail(ErrorCode::kInternal, concat("block ", i, " is not found, or is there twice"));
    }
  }
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (children[i] != entries_[i].num_children) {
      return fail(ErrorCode::kInternal, concat("block ", i, " has ", children[i],
                                               " behind it, not ", entries_[i].num_children));
    }
  }
  if (present != num_entries_) {
    return fail(ErrorCode::kInternal, concat(present, " entries, ", num_entries_, " counted"));
  }
  return {};
}

}  // namespace ruvllm
