// Attention of a few query rows over one segment of the keys of their sequence, and the merging of
// segments: the pieces from which ops/cpu/attention.cc builds decode and prefill alike.
//
// The arithmetic of an output row (docs/numerics.md) depends on its own position, q, keys, values
// and window alone: keys are taken in tiles of kKeyTile at absolute positions that are multiples of
// it, tiles are gathered in segments of kKeySegment, and segments are merged in order. All f32;
// keys and values are used as stored. Rows may be grouped in any way, pages may have any size.
//
// Pure functions on the caller's memory; no alignment needed beyond the elements' own.
#pragma once

#include <stdint.h>

namespace ruvllm::kernels {

constexpr int32_t kKeyTile = 64;
constexpr int32_t kKeySegment = 512;
constexpr int32_t kMaxAttentionRows = 64;

enum class KvFormat : uint8_t { kF32, kBf16, kF16 };

// A softmax not yet divided: out / sum is the weighted mean of the values seen so far, whose
// weights are relative to e^max. A row that has seen nothing has max = -inf, sum = 0, out = 0.
struct AttentionState {
  float* out;  // [rows, attention_stride(D)]
  float* max;  // [rows]
  float* sum;  // [rows]
};

struct AttentionSegment {
  // Rows: `tokens` consecutive tokens times the `group` query heads that share this key head;
  // row t * group + g. At most kMaxAttentionRows.
  const float* q;  // q[t * q_token_stride + g * head_dim + d]
  int64_t q_token_stride;
  int32_t tokens;
  int32_t group;
  int32_t head_dim;        // D
  int64_t first_position;  // of token 0 in its sequence

  // Keys [key_begin, key_end), key_begin a multiple of kKeyTile, all of one segment. Position p
  // lies in page p / page_tokens; pages[0] is the page of key_begin. A page is [page_tokens, D].
  const void* const* k_pages;
  const void* const* v_pages;
  int32_t page_tokens;
  KvFormat format;
  int64_t key_begin;
  int64_t key_end;

  int32_t window;  // a row sees itself and window - 1 keys before it; 0: all before it
  float scale;     // > 0
  float softcap;   // 0: none

  AttentionState state;  // written
  float* scratch;        // attention_scratch_floats(rows, D)
};

// Floats between the rows of AttentionState::out.
constexpr int64_t attention_stride(int32_t head_dim) {
  return (head_dim + 15) / 16 * 16;
}
constexpr int64_t attention_state_floats(int32_t rows, int32_t head_dim) {
  return rows * (attention_stride(head_dim) + 2);
}
constexpr int64_t attention_scratch_floats(int32_t rows, int32_t head_dim) {
  return (rows + 2 * kKeyTile) * attention_stride(head_dim) + int64_t{rows} * kKeyTile;
}

struct AttentionKernels {
  // state = the softmax over the segment's keys.
  void (*attend)(const AttentionSegment& segment);
  // state = state and then `next`, whose keys follow.
  void (*merge)(const AttentionState& state, const AttentionState& next, int32_t rows,
                int32_t head_dim);
  // out[t * out_token_stride + g * head_dim + d] = the state's mean.
  void (*finish)(const AttentionState& state, int32_t tokens, int32_t group, int32_t head_dim,
                 float* out, int64_t out_token_stride);
};

namespace generic {
extern const AttentionKernels kAttention;
}
namespace avx2 {
extern const AttentionKernels kAttention;
}
namespace avx512 {
extern const AttentionKernels kAttention;
}

}  // namespace ruvllm::kernels
