// How a head's keys and values lie in a block of the KV cache, for every device that keeps it in
// memory the CPU can address. A head's part of a block ("page") holds block_tokens rows:
//   values: [block_tokens, D].
//   keys: groups of 16 tokens, each [D, 16], so that one element of 16 keys is one vector; the last
//     group of a page is narrower where block_tokens is no multiple of 16.
// i8 holds codes in this order, and then block_tokens scales in bf16: value = code * scale.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/attention/attention.h"
#include "ops/ops.h"

namespace ruvllm {

inline bool is_kv_dtype(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16 ||
         dtype == DType::kI8;
}

inline int64_t kv_element_bytes(DType dtype) {
  return dtype == DType::kF32 ? 4 : dtype == DType::kI8 ? 1 : 2;
}

// Bytes of one token and head, keys or values.
inline int64_t kv_row_bytes(DType dtype, int64_t head_dim) {
  return head_dim * kv_element_bytes(dtype) + (dtype == DType::kI8 ? 2 : 0);
}

// The page of one head in the block that holds `position`.
inline std::byte* kv_head_page(const KvLayerView& kv, int64_t offset_bytes,
                               std::span<const int32_t> block_table, int64_t position,
                               int64_t head) {
  const auto slot = static_cast<size_t>(position / kv.block_tokens);
  const int64_t page_bytes = kv.block_tokens * kv_row_bytes(kv.dtype, kv.head_dim);
  return kv.blocks[block_table[slot]] + offset_bytes + head * page_bytes;
}

// Element d of a row is at page + (first + d * stride) * kv_element_bytes.
struct KvRowPlace {
  int64_t first;
  int64_t stride;
};
inline KvRowPlace kv_value_place(const KvLayerView& kv, int64_t slot) {
  return {slot * kv.head_dim, 1};
}
inline KvRowPlace kv_key_place(const KvLayerView& kv, int64_t slot) {
  const int64_t first = kernels::key_element(kv.block_tokens, kv.head_dim, slot, 0);
  return {first, kernels::key_element(kv.block_tokens, kv.head_dim, slot, 1) - first};
}
// Where the scale of a slot lies in a page of i8, in bytes.
inline int64_t kv_scale_offset(const KvLayerView& kv, int64_t slot) {
  return int64_t{kv.block_tokens} * kv.head_dim + slot * 2;
}

// A row as int8: codes[d * stride] = round(x[d] / scale), ties to even, where scale (returned, as
// the bits of a bf16) is the bf16 at or above max |x| / 127. A row with an infinity or NaN has
// scale NaN, so that it shows; one whose magnitudes are all below 2^-100 is 0.
uint16_t quantize_kv_row(const float* x, int64_t n, int8_t* codes, int64_t stride);

}  // namespace ruvllm
