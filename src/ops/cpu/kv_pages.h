// What the ops that write and read the KV cache check of their arguments.
#pragma once

#include <cstdint>

#include "base/check.h"
#include "ops/kv_layout.h"
#include "ops/ops.h"

namespace ruvllm {

inline void check_kv(const KvLayerView& kv, std::span<const SequenceSpan> sequences, int64_t rows) {
  RUVLLM_CHECK(is_kv_dtype(kv.dtype), dtype_info(kv.dtype).name);
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
