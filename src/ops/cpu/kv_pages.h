// Addresses in the paged KV cache, shared by the op that writes it and the one that reads it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "ops/ops.h"

namespace ruvllm {

inline int64_t kv_element_bytes(DType dtype) {
  return dtype == DType::kF32 ? 4 : 2;
}

// The [block_tokens, D] rows of one head in the block that holds `position`.
inline std::byte* kv_head_page(const KvLayerView& kv, int64_t offset_bytes,
                               const SequenceSpan& sequence, int64_t position, int64_t head) {
  const auto slot = static_cast<size_t>(position / kv.block_tokens);
  const int64_t page_bytes = int64_t{kv.block_tokens} * kv.head_dim * kv_element_bytes(kv.dtype);
  return kv.blocks[sequence.block_table[slot]] + offset_bytes + head * page_bytes;
}

inline void check_kv(const KvLayerView& kv, std::span<const SequenceSpan> sequences, int64_t rows) {
  RUVLLM_CHECK(kv.dtype == DType::kF32 || kv.dtype == DType::kBF16 || kv.dtype == DType::kF16,
               dtype_info(kv.dtype).name);
  RUVLLM_CHECK(kv.block_tokens > 0 && kv.num_kv_heads > 0 && kv.head_dim > 0);
  for (const SequenceSpan& sequence : sequences) {
    RUVLLM_CHECK(sequence.first_row >= 0 && sequence.num_tokens >= 0 &&
                     sequence.first_row + sequence.num_tokens <= rows,
                 "rows ", sequence.first_row, " + ", sequence.num_tokens, " of ", rows);
    const int64_t end = sequence.first_position + sequence.num_tokens;
    RUVLLM_CHECK(sequence.first_position >= 0 &&
                     end <= static_cast<int64_t>(sequence.block_table.size()) * kv.block_tokens,
                 "position ", end, " of ", sequence.block_table.size(), " blocks");
  }
}

}  // namespace ruvllm
