// Attention of a few query rows over one segment of the keys of their sequence, and the merging of
// segments: the pieces from which ops/cpu/attention.cc builds decode and prefill alike.
//
// The arithmetic of an output row (docs/numerics.md) depends on its own position, q, keys, values
// and window alone: keys are taken in segments of kKeySegment at absolute positions that are
// multiples of it, and segments are merged in order. All f32; keys and values are used as stored.
// Rows may be grouped in any way, also rows of several sequences, and pages may have any size.
//
// Lanes (avx512bf16::kAttention, of a bf16 cache only): q and the weights are rounded to bf16, and
// both products are chains of pairs, subnormal inputs and results counting as zeros: from sum = 0,
//   sum = fma(a of the odd one, b of the odd one, sum), then the same of the even one
// over the pairs in increasing order. A score: the elements 2 i and 2 i + 1 of q (to nearest even)
// and the key, D filled up with zeros. An element of `out`: the keys 2 i and 2 i + 1 of the
// segment, the weight and value of an unseen one of the two counting as zeros. Weights, their sum
// and all else as in Tiles.
//
// Tiles (amx::kAttention, of a bf16 cache only): q and the weights are rounded to bf16, and both
// products are sums of tiles of 32 (simd/amx_tile.h has the instruction; subnormal inputs and
// results count as zeros): from sum = 0, step after step, with even = odd = 0,
//   even = fma(a, b, even), odd = fma(a, b, odd) over the step's pairs, then sum = sum + (even +
//   odd)
// A score: steps of 32 elements of q (to nearest even) and the key, D filled up with zeros; the
// pair i is the elements 2 i and 2 i + 1. The score is the sum times `scale`, then the softcap. A
// weight: t = (sum - the largest sum) * (scale * log2 e); with a softcap
// (score - the largest score) * log2 e; 0 if t < -126; else 2^n p, n = floor(t),
// r = t - n, rounded down,
//   p = fma(r, fma(r, fma(r, 0.0780303578, 0.226084062), 0.69588558), 98305) - 98304
// which is 1.000075 * 2^r to 7.5e-5, rounded to bf16, ties to even. Their sum is that of the
// rounded ones: lane l of 16 adds, step after step of 32 keys, the sum of the weights of the step's
// keys l and 16 + l; then the tree. An element of `out`: steps of 32 keys of the segment; the pair
// i is the keys i (even) and 16 + i (odd). A key that the row does not see has weight 0, and no
// infinity or NaN of its value comes through; a zero is positive.
//
// Pure functions on the caller's memory; no alignment needed beyond the elements' own.
#pragma once

#include <stdint.h>

namespace ruvllm::kernels {

constexpr int32_t kKeySegment = 256;
constexpr int32_t kMaxAttentionRows = 256;
constexpr int32_t kKeysAhead = 128;

// Tokens of a page whose keys stand side by side, element after element: [D, kKeyGroup]. The last
// group of a page is narrower when the page's size is no multiple of it.
constexpr int32_t kKeyGroup = 16;

// kInt8: codes; value = code * scale of its token and head.
enum class KvFormat : uint8_t { kF32, kBf16, kF16, kInt8 };

// Where element d of the key in that slot of a page lies, counted in elements from the page.
constexpr int64_t key_element(int32_t page_tokens, int32_t head_dim, int64_t slot, int32_t d) {
  const int64_t group = slot / kKeyGroup * kKeyGroup;
  const int64_t width = page_tokens - group < kKeyGroup ? page_tokens - group : kKeyGroup;
  return group * head_dim + d * width + (slot - group);
}

// A softmax not yet divided: out / sum is the weighted mean of the values seen so far, whose
// weights are relative to e^max. A row that has seen nothing has max = -inf, sum = 0, out = 0.
struct AttentionState {
  float* out;  // [rows, attention_stride(D)]
  float* max;  // [rows]
  float* sum;  // [rows]
};

struct AttentionSegment {
  // Rows: `tokens` tokens times the `group` query heads that share this key head; row t * group + g
  // has its q at q[t] + g * head_dim. At most kMaxAttentionRows.
  const float* const* q;
  const int64_t* positions;  // [tokens], in their sequences; within a sequence in increasing order
  int32_t tokens;
  int32_t group;
  int32_t head_dim;  // D

  // Keys [key_begin, key_end), key_begin a multiple of kKeySegment, all of one segment. Position p
  // lies in page p / page_tokens; pages[0] is the page of key_begin. A page of values is
  // [page_tokens, D], one of keys as key_element says; with kInt8 both are followed by page_tokens
  // scales in bf16.
  const void* const* k_pages;
  const void* const* v_pages;
  int32_t page_tokens;
  KvFormat format;
  int64_t key_begin;
  int64_t key_end;
  // Or null: pages of keys like k_pages, of which kKeysAhead are what this thread will probably
  // read next. They are fetched where nothing of the segment is left to fetch.
  const void* const* next_k_pages;

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
// Scores of all rows, keys and values that had to be widened or gathered, scales of both; on tiles,
// the scores and weights of 32 rows, keys and values in pairs, and q in bf16: 256 and 32 floats for
// each of D rounded up to 32.
constexpr int64_t attention_scratch_floats(int32_t rows, int32_t head_dim) {
  return (int64_t{rows} + 48) * kKeySegment + int64_t{288} * ((head_dim + 31) / 32 * 32);
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
  // Rows of attend() above which more gain nothing: enough to use each key many times, few enough
  // that scores and sums stay in a core's caches.
  int32_t rows;
};

namespace generic {
extern const AttentionKernels kAttention;
}
namespace neon {
extern const AttentionKernels kAttention;
}
namespace avx2 {
extern const AttentionKernels kAttention;
}
namespace avx512 {
extern const AttentionKernels kAttention;
}
namespace avx512bf16 {
extern const AttentionKernels kAttention;  // attend: kBf16 only
}
namespace amx {
extern const AttentionKernels kAttention;  // attend: kBf16 only
}

}  // namespace ruvllm::kernels
