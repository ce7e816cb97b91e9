// BlockPool: who holds which page ("block") of the KV cache. Blocks are numbers; the bytes behind
// them are somebody else's (model/kv_storage).
//
// A block is used (reference count 1 or more) or free. Free blocks stand in one list, the one that
// was freed longest ago first; take() gives that one, so what a free block still holds stays
// reusable for as long as possible: retain() takes any free block back out of the list. Everything
// is O(1): the list is threaded through an array.
//
// One thread at a time. Nothing fails; an id or a count that cannot be is a broken invariant.
#pragma once

#include <cstdint>
#include <vector>

#include "ruvllm/result.h"

namespace ruvllm {

constexpr int32_t kNoBlock = -1;

class BlockPool {
 public:
  explicit BlockPool(int32_t num_blocks);

  int32_t num_blocks() const { return num_blocks_; }
  int32_t num_free() const { return num_free_; }
  int32_t num_used() const { return num_blocks_ - num_free_; }
  int32_t count(int32_t block) const { return counts_[index(block)]; }

  // The block free for longest, now with count 1; kNoBlock when none is free.
  int32_t take();
  // One more holder. A free block leaves the free list.
  void retain(int32_t block);
  // One holder less. The last one frees the block: to the far end of the list if its content is
  // worth keeping, else to the end that take() reads. True when the block became free.
  bool release(int32_t block, bool keep_content);

  // Free and used add up, the list is sound and holds exactly the blocks of count 0.
  Status check_integrity() const;

 private:
  struct Link {
    int32_t before;
    int32_t after;
  };
  size_t index(int32_t block) const;
  void unlink(int32_t block);
  void link_between(int32_t block, int32_t before, int32_t after);

  int32_t num_blocks_;
  int32_t num_free_;
  std::vector<int32_t> counts_;
  std::vector<Link> links_;  // [num_blocks + 1]; the last is the list's two ends
};

}  // namespace ruvllm
