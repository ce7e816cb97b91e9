// KvStorage: the memory of the KV cache. A block holds block_tokens positions of every layer's keys
// and values; blocks are numbered from 0, and which sequence uses which is somebody else's business
// (block tables). Layout within a block: ops/kv_layout.h.
//
// Grows by whole blocks on reserve(), never moves or shrinks them. What one reserve() adds is one
// piece of memory, which asks for huge pages if it is large: attention jumps from block to block,
// and would else spend its time in the page tables. One thread at a time. Failure: only reserve(),
// when the machine has no memory left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "ops/ops.h"
#include "ruvllm/result.h"
#include "spec/model_config.h"

namespace ruvllm {

class KvStorage {
 public:
  // dtype: f32, bf16, f16 or i8. kOutOfMemory when a block's size does not fit the machine's words.
  static Result<KvStorage> make(const ModelConfig& config, DType dtype, int32_t block_tokens);

  // Makes blocks 0 .. num_blocks-1 usable; fewer than there are already: nothing happens.
  Status reserve(int64_t num_blocks);

  // Makes block `to` hold what block `from` holds, in all layers.
  void copy(int32_t from, int32_t to);

  int64_t num_blocks() const { return static_cast<int64_t>(addresses_.size()); }
  uint64_t block_bytes() const { return block_bytes_; }
  int32_t block_tokens() const { return layer_.block_tokens; }
  // Valid until the next reserve().
  KvLayerView layer(int32_t index) const;

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };

  KvLayerView layer_;         // of layer 0, without blocks
  int64_t part_bytes_ = 0;    // keys, or values, of one layer in a block
  uint64_t block_bytes_ = 0;  // all layers, keys and values
  std::vector<std::unique_ptr<std::byte, Free>> pieces_;
  std::vector<std::byte*> addresses_;  // of the blocks
};

}  // namespace ruvllm
