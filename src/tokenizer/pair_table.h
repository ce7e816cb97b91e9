// Adjacent symbols that may merge: (left, right) -> rank and merged symbol. A flat hash table with
// linear probing, at most half full; filled once, then constant.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ruvllm {

struct MergePair {
  uint64_t key = ~0ull;  // left << 32 | right
  uint32_t rank = 0;     // lower merges first
  int32_t merged = -1;
};

class PairTable {
 public:
  // Room for `num_pairs` insertions.
  void reserve(size_t num_pairs) {
    const size_t num_slots = std::bit_ceil(num_pairs * 2 + 2);
    slots_.assign(num_slots, MergePair{});
    shift_ = 64 - std::countr_zero(num_slots);
  }

  // Of equal pairs the last one inserted counts.
  void insert(int32_t left, int32_t right, uint32_t rank, int32_t merged) {
    const uint64_t key = key_of(left, right);
    MergePair& slot = slots_[index_of(key)];
    slot = {key, rank, merged};
    if (rank >= num_ranks_) num_ranks_ = rank + 1;
  }

  // nullptr when the two do not merge.
  const MergePair* find(int32_t left, int32_t right) const {
    const uint64_t key = key_of(left, right);
    const MergePair& slot = slots_[index_of(key)];
    return slot.merged >= 0 && slot.key == key ? &slot : nullptr;
  }

  template <typename Visit>  // visit(left, right), in no order
  void for_each(Visit&& visit) const {
    for (const MergePair& slot : slots_) {
      if (slot.merged < 0) continue;
      visit(static_cast<int32_t>(slot.key >> 32), static_cast<int32_t>(slot.key & 0xffffffffu));
    }
  }

  uint32_t num_ranks() const { return num_ranks_; }  // every rank is below this

 private:
  static uint64_t key_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t index_of(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    size_t i = static_cast<size_t>(key * 0x9e3779b97f4a7c15u >> shift_) & mask;
    while (slots_[i].key != key && slots_[i].merged >= 0) i = (i + 1) & mask;
    return i;
  }

  std::vector<MergePair> slots_ = std::vector<MergePair>(2);
  int shift_ = 63;
  uint32_t num_ranks_ = 0;
};

}  // namespace ruvllm
