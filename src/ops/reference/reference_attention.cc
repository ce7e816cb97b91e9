// Keys and values in pages, and attention over them.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/float_types.h"
#include "ops/kv_layout.h"
#include "ops/reference/reference_math.h"
#include "ops/reference/reference_ops.h"

namespace ruvllm::reference {
namespace {

// Where the row of one head at one position lies.
struct Place {
  std::byte* page;
  int64_t slot;
};
Place place_of(const KvLayerView& kv, int64_t offset_bytes, std::span<const int32_t> block_table,
               int64_t position, int64_t head) {
  RUVLLM_CHECK(position / kv.block_tokens < static_cast<int64_t>(block_table.size()), "position ",
               position, " past ", block_table.size(), " blocks");
  return {kv_head_page(kv, offset_bytes, block_table, position, head), position % kv.block_tokens};
}

void store(const KvLayerView& kv, const float* from, const Place& to, const KvRowPlace& row) {
  if (kv.dtype == DType::kI8) {
    int8_t* codes = reinterpret_cast<int8_t*>(to.page) + row.first;
    const uint16_t scale = quantize_kv_row(from, kv.head_dim, codes, row.stride);
    std::memcpy(to.page + kv_scale_offset(kv, to.slot), &scale, sizeof scale);
    return;
  }
  for (int64_t d = 0; d < kv.head_dim; ++d) {
    std::byte* element = to.page + (row.first + d * row.stride) * kv_element_bytes(kv.dtype);
    if (kv.dtype == DType::kF32) {
      std::memcpy(element, from + d, sizeof(float));
    } else {
      const uint16_t bits = kv.dtype == DType::kBF16 ? f32_to_bf16(from[d]) : f32_to_f16(from[d]);
      std::memcpy(element, &bits, sizeof bits);
    }
  }
}

void read(const KvLayerView& kv, const Place& from, const KvRowPlace& row, float* to) {
  uint16_t scale = 0;
  if (kv.dtype == DType::kI8) {
    std::memcpy(&scale, from.page + kv_scale_offset(kv, from.slot), sizeof scale);
  }
  for (int64_t d = 0; d < kv.head_dim; ++d) {
    const std::byte* element =
        from.page + (row.first + d * row.stride) * kv_element_bytes(kv.dtype);
    if (kv.dtype == DType::kF32) {
      std::memcpy(to + d, element, sizeof(float));
    } else if (kv.dtype == DType::kI8) {
      to[d] = static_cast<float>(static_cast<int8_t>(*element)) * bf16_to_f32(scale);
    } else {
      uint16_t bits = 0;
      std::memcpy(&bits, element, sizeof bits);
      to[d] = kv.dtype == DType::kBF16 ? bf16_to_f32(bits) : f16_to_f32(bits);
    }
  }
}

void check_kv(const KvLayerView& kv) {
  RUVLLM_CHECK(is_kv_dtype(kv.dtype), dtype_info(kv.dtype).name);
  RUVLLM_CHECK(kv.block_tokens > 0 && kv.num_kv_heads > 0 && kv.head_dim > 0);
}

// The first position a query at `position` sees.
int64_t first_visible(int64_t position, int32_t window) {
  return window > 0 ? std::max<int64_t>(0, position - window + 1) : 0;
}

// One query head against keys and values [begin, position] (rows of k, v; row 0 is `begin`).
void attend(const AttentionArgs& args, const float* q, const float* k, const float* v,
            int64_t num_keys, float* scores, float* out) {
  const int64_t dim = args.kv.head_dim;
  float highest = -std::numeric_limits<float>::infinity();
  for (int64_t j = 0; j < num_keys; ++j) {
    float score = dot(q, k + j * dim, dim) * args.scale;
    if (args.softcap != 0.0f) score = args.softcap * std::tanh(score / args.softcap);
    scores[j] = score;
    highest = std::max(highest, score);
  }
  for (int64_t j = 0; j < num_keys; ++j) scores[j] = std::exp(scores[j] - highest);
  const float total = sum_of(num_keys, [scores](int64_t j) { return scores[j]; });
  for (int64_t d = 0; d < dim; ++d) {
    out[d] = sum_of(num_keys, [=](int64_t j) { return scores[j] * v[j * dim + d]; }) / total;
  }
}

}  // namespace

void ReferenceOps::kv_write(const KvWriteArgs& args) {
  check_kv(args.kv);
  const int64_t dim = args.kv.head_dim;
  RUVLLM_CHECK(args.k.cols == args.kv.num_kv_heads * dim && args.v.cols == args.k.cols);
  for (const SequenceSpan& sequence : args.sequences) {
    for (int64_t i = 0; i < sequence.num_tokens; ++i) {
      const int64_t row = sequence.first_row + i;
      const int64_t position = sequence.first_position + i;
      for (int64_t head = 0; head < args.kv.num_kv_heads; ++head) {
        const Place k =
            place_of(args.kv, args.kv.k_offset_bytes, sequence.block_table, position, head);
        const Place v =
            place_of(args.kv, args.kv.v_offset_bytes, sequence.block_table, position, head);
        store(args.kv, args.k.row(row) + head * dim, k, kv_key_place(args.kv, k.slot));
        store(args.kv, args.v.row(row) + head * dim, v, kv_value_place(args.kv, v.slot));
      }
    }
  }
}

void ReferenceOps::attention(const AttentionArgs& args) {
  check_kv(args.kv);
  const int64_t dim = args.kv.head_dim;
  const int64_t kv_heads = args.kv.num_kv_heads;
  RUVLLM_CHECK(args.num_heads % kv_heads == 0 && args.q.cols == args.num_heads * dim);
  RUVLLM_CHECK(args.out.rows == args.q.rows && args.out.cols == args.q.cols);
  const int64_t group = args.num_heads / kv_heads;
  for (const SequenceSpan& sequence : args.sequences) {
    const int64_t begin = first_visible(sequence.first_position, args.window);
    const int64_t end = sequence.first_position + sequence.num_tokens;
    float* keys = scratch(1, (end - begin) * dim);
    float* values = scratch(2, (end - begin) * dim);
    float* scores = scratch(3, end - begin);
    for (int64_t kv_head = 0; kv_head < kv_heads; ++kv_head) {
      for (int64_t p = begin; p < end; ++p) {
        const Place k = place_of(args.kv, args.kv.k_offset_bytes, sequence.block_table, p, kv_head);
        const Place v = place_of(args.kv, args.kv.v_offset_bytes, sequence.block_table, p, kv_head);
        read(args.kv, k, kv_key_place(args.kv, k.slot), keys + (p - begin) * dim);
        read(args.kv, v, kv_value_place(args.kv, v.slot), values + (p - begin) * dim);
      }
      for (int64_t i = 0; i < sequence.num_tokens; ++i) {
        const int64_t position = sequence.first_position + i;
        const int64_t first = first_visible(position, args.window);
        for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
          attend(args, args.q.row(sequence.first_row + i) + head * dim,
                 keys + (first - begin) * dim, values + (first - begin) * dim, position + 1 - first,
                 scores, args.out.row(sequence.first_row + i) + head * dim);
        }
      }
    }
  }
}

}  // namespace ruvllm::reference
