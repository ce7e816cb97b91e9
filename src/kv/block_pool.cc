#include "kv/block_pool.h"

#include "base/check.h"
#include "base/str.h"

namespace ruvllm {

BlockPool::BlockPool(int32_t num_blocks)
    : num_blocks_(num_blocks),
      num_free_(num_blocks),
      counts_(static_cast<size_t>(num_blocks)),
      links_(static_cast<size_t>(num_blocks) + 1) {
  RUVLLM_CHECK(num_blocks > 0, num_blocks);
  for (int32_t i = 0; i <= num_blocks; ++i) {
    links_[static_cast<size_t>(i)] = {i == 0 ? num_blocks : i - 1, i == num_blocks ? 0 : i + 1};
  }
}

size_t BlockPool::index(int32_t block) const {
  RUVLLM_CHECK(block >= 0 && block < num_blocks_, block, " of ", num_blocks_);
  return static_cast<size_t>(block);
}

void BlockPool::unlink(int32_t block) {
  const Link link = links_[static_cast<size_t>(block)];
  links_[static_cast<size_t>(link.before)].after = link.after;
  links_[static_cast<size_t>(link.after)].before = link.before;
  --num_free_;
}

void BlockPool::link_between(int32_t block, int32_t before, int32_t after) {
  links_[static_cast<size_t>(block)] = {before, after};
  links_[static_cast<size_t>(before)].after = block;
  links_[static_cast<size_t>(after)].before = block;
  ++num_free_;
}

int32_t BlockPool::take() {
  if (num_free_ == 0) return kNoBlock;
  const int32_t block = links_[static_cast<size_t>(num_blocks_)].after;
  unlink(block);
  counts_[static_cast<size_t>(block)] = 1;
  return block;
}

void BlockPool::retain(int32_t block) {
  int32_t& count = counts_[index(block)];
  if (count == 0) unlink(block);
  ++count;
}

bool BlockPool::release(int32_t block, bool keep_content) {
  int32_t& count = counts_[index(block)];
  RUVLLM_CHECK(count > 0, "block ", block);
  if (--count > 0) return false;
  const Link ends = links_[static_cast<size_t>(num_blocks_)];
  if (keep_content) {
    link_between(block, ends.before, num_blocks_);
  } else {
    link_between(block, num_blocks_, ends.after);
  }
  return true;
}

Status BlockPool::check_integrity() const {
  int32_t listed = 0;
  int32_t before = num_blocks_;
  for (int32_t at = links_[static_cast<size_t>(num_blocks_)].after; at != num_blocks_;
       at = links_[static_cast<size_t>(at)].after) {
    if (at < 0 || at > num_blocks_ || links_[static_cast<size_t>(at)].before != before) {
      return fail(ErrorCode::kInternal, concat("the free list breaks at block ", at));
    }
    if (counts_[static_cast<size_t>(at)] != 0) {
      return fail(ErrorCode::kInternal, concat("block ", at, " is free and has holders"));
    }
    if (++listed > num_blocks_) return fail(ErrorCode::kInternal, "the free list is a circle");
    before = at;
  }
  int32_t used = 0;
  for (const int32_t count : counts_) {
    if (count < 0) return fail(ErrorCode::kInternal, "a block has a negative count");
    used += count > 0 ? 1 : 0;
  }
  if (listed != num_free_ || used + listed != num_blocks_) {
    return fail(ErrorCode::kInternal, concat(listed, " listed and ", used, " used blocks of ",
                                             num_blocks_, ", ", num_free_, " counted free"));
  }
  return {};
}

}  // namespace ruvllm
