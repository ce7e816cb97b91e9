// One segment of attention over any vector type V: per tile of 64 keys the scores, an online
// softmax, and the weighted sum of values. See simd/vec_generic.h for the unnamed namespace.
#pragma once

#include <string.h>

#include "kernels/attention/attention.h"
#include "kernels/attention/attention_tiles.h"
#include "kernels/simd/math_impl.h"

namespace ruvllm::kernels {
namespace {

inline int64_t larger(int64_t a, int64_t b) {
  return a > b ? a : b;
}
inline int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

template <class V>
int vectors_of(int32_t head_dim) {
  return (head_dim + V::kLanes - 1) / V::kLanes;
}

// One row of D elements as f32, its last vector filled up with zeros.
template <class V>
void pad_row(const float* src, int32_t head_dim, float* dst) {
  int32_t i = 0;
  for (; i + V::kLanes <= head_dim; i += V::kLanes) V::store(dst + i, V::load(src + i));
  if (i < head_dim) V::store(dst + i, V::load_first(src + i, head_dim - i));
}

template <class V, class Widen>
void widen_row(const uint16_t* src, int32_t head_dim, float* dst, Widen widen) {
  int32_t i = 0;
  for (; i + V::kLanes <= head_dim; i += V::kLanes) V::store(dst + i, widen(src + i));
  if (i < head_dim) {
    uint16_t rest[V::kLanes] = {};
    memcpy(rest, src + i, static_cast<size_t>(head_dim - i) * sizeof(uint16_t));
    V::store(dst + i, widen(rest));
  }
}

template <class V>
void row_to_f32(const void* src, KvFormat format, int32_t head_dim, float* dst) {
  switch (format) {
    case KvFormat::kF32:
      return pad_row<V>(static_cast<const float*>(src), head_dim, dst);
    case KvFormat::kBf16:
      return widen_row<V>(static_cast<const uint16_t*>(src), head_dim, dst,
                          [](const uint16_t* p) { return V::load_bf16(p); });
    case KvFormat::kF16:
      return widen_row<V>(static_cast<const uint16_t*>(src), head_dim, dst,
                          [](const uint16_t* p) { return V::load_f16(p); });
  }
}

// rows[j] for the keys [begin, end) of the tile at `tile`: in place where the page's own row will
// do, else widened into `buffer`. The pointers outside the range repeat its ends, so that register
// tiles may read them.
template <class V>
void tile_rows(const AttentionSegment& s, const void* const* pages, int64_t tile, int begin,
               int end, float* buffer, const float** rows) {
  const int64_t first_page = s.key_begin / s.page_tokens;
  const size_t element = s.format == KvFormat::kF32 ? sizeof(float) : sizeof(uint16_t);
  const size_t row_bytes = static_cast<size_t>(s.head_dim) * element;
  const int64_t stride = int64_t{vectors_of<V>(s.head_dim)} * V::kLanes;
  const bool in_place = s.format == KvFormat::kF32 && s.head_dim % V::kLanes == 0;
  int64_t page = (tile + begin) / s.page_tokens;
  int64_t slot = (tile + begin) % s.page_tokens;
  for (int j = begin; j < end; ++j) {
    const char* base = static_cast<const char*>(pages[page - first_page]);
    const void* row = base + static_cast<size_t>(slot) * row_bytes;
    if (in_place) {
      rows[j] = static_cast<const float*>(row);
    } else {
      row_to_f32<V>(row, s.format, s.head_dim, buffer + j * stride);
      rows[j] = buffer + j * stride;
    }
    if (++slot == s.page_tokens) {
      slot = 0;
      ++page;
    }
  }
  for (int j = 0; j < begin; ++j) rows[j] = rows[begin];
  for (int j = end; j < kKeyTile; ++j) rows[j] = rows[end - 1];
}

// Turns a row's scores of the tile into weights; [begin, end) are the keys it sees. Updates max and
// sum, returns by how much what was summed before shrinks.
template <class V>
float softmax_tile(const AttentionSegment& s, float* scores, int begin, int end, float* max,
                   float* sum) {
  using F = typename V::F;
  const F scale = V::set1(s.scale);
  const F cap = V::set1(s.softcap);
  for (int j = begin / V::kLanes * V::kLanes; j < end; j += V::kLanes) {
    F score = V::mul(V::load(scores + j), scale);
    if (s.softcap != 0.0f) score = V::mul(cap, tanh_ps<V>(V::div(score, cap)));
    V::store(scores + j, score);
  }
  for (int j = 0; j < begin; ++j) scores[j] = -__builtin_inff();
  for (int j = end; j < kKeyTile; ++j) scores[j] = -__builtin_inff();
  F largest = V::load(scores);
  for (int j = V::kLanes; j < kKeyTile; j += V::kLanes)
    largest = V::max(largest, V::load(scores + j));
  const float tile_max = V::reduce_max(largest);
  const float new_max = tile_max > *max ? tile_max : *max;
  const F offset = V::set1(new_max);
  F sums = V::zero();
  for (int j = 0; j < kKeyTile; j += V::kLanes) {
    const F weight = exp_ps<V>(V::sub(V::load(scores + j), offset));
    sums = V::add(sums, weight);
    V::store(scores + j, weight);
  }
  float first[V::kLanes];
  V::store(first, exp_ps<V>(V::set1(*max - new_max)));
  *sum = *sum * first[0] + V::reduce_add(sums);
  *max = new_max;
  return first[0];
}

// What one row sees of one tile.
struct RowView {
  int begin;
  int end;
};

// Whether the kRows rows from r on see the same keys of the tile.
template <int kRows>
bool see_the_same(const RowView* views, int r, int rows) {
  if (r + kRows > rows) return false;
  for (int i = 1; i < kRows; ++i) {
    if (views[r + i].begin != views[r].begin || views[r + i].end != views[r].end) return false;
  }
  return true;
}

template <class V>
void accumulate_all(const float* scores, const float* decay, const RowView* views,
                    const float* const* values, int rows, int vectors, float* out, int64_t stride) {
  const auto accumulate = [&](int r, auto kernel) {
    kernel(scores + r * kKeyTile, decay + r, values, vectors, views[r].begin, views[r].end,
           out + r * stride, stride);
  };
  for (int r = 0; r < rows;) {
    if (views[r].begin >= views[r].end) {
      ++r;
    } else if (see_the_same<V::kPvRows>(views, r, rows)) {
      accumulate(r, accumulate_rows<V, V::kPvRows>);
      r += V::kPvRows;
    } else if (see_the_same<2>(views, r, rows)) {
      accumulate(r, accumulate_rows<V, 2>);
      r += 2;
    } else {
      accumulate(r, accumulate_rows<V, 1>);
      ++r;
    }
  }
}

template <class V>
void attend(const AttentionSegment& s) {
  const int rows = s.tokens * s.group;
  const int vectors = vectors_of<V>(s.head_dim);
  const int64_t q_stride = int64_t{vectors} * V::kLanes;
  const int64_t stride = attention_stride(s.head_dim);
  float* q = s.scratch;                        // [rows, q_stride]
  float* k_tile = q + rows * stride;           // [kKeyTile, q_stride]
  float* v_tile = k_tile + kKeyTile * stride;  // [kKeyTile, q_stride]
  float* scores = v_tile + kKeyTile * stride;  // [rows, kKeyTile]
  for (int r = 0; r < rows; ++r) {
    const float* row = s.q + (r / s.group) * s.q_token_stride + int64_t{r % s.group} * s.head_dim;
    pad_row<V>(row, s.head_dim, q + r * q_stride);
    s.state.max[r] = -__builtin_inff();
    s.state.sum[r] = 0.0f;
  }
  memset(s.state.out, 0, static_cast<size_t>(rows * stride) * sizeof(float));

  const int64_t oldest = s.window > 0 ? larger(s.first_position - s.window + 1, 0) : 0;
  const int64_t newest = s.first_position + s.tokens;
  for (int64_t tile = s.key_begin; tile < s.key_end; tile += kKeyTile) {
    const int begin = static_cast<int>(larger(oldest - tile, 0));
    const int end = static_cast<int>(smaller(smaller(s.key_end, newest) - tile, kKeyTile));
    if (begin >= end) continue;
    const float* keys[kKeyTile];
    const float* values[kKeyTile];
    tile_rows<V>(s, s.k_pages, tile, begin, end, k_tile, keys);
    dot_rows<V>(q, rows, keys, begin, end, vectors, scores);
    tile_rows<V>(s, s.v_pages, tile, begin, end, v_tile, values);

    RowView views[kMaxAttentionRows];
    float decay[kMaxAttentionRows];
    for (int r = 0; r < rows; ++r) {
      const int64_t position = s.first_position + r / s.group;
      const int64_t first = s.window > 0 ? larger(position - s.window + 1 - tile, 0) : 0;
      views[r].begin = static_cast<int>(smaller(first, kKeyTile));
      views[r].end = static_cast<int>(smaller(larger(position + 1 - tile, 0), end));
      if (views[r].begin < views[r].end) {
        decay[r] = softmax_tile<V>(s, scores + r * kKeyTile, views[r].begin, views[r].end,
                                   s.state.max + r, s.state.sum + r);
      }
    }
    accumulate_all<V>(scores, decay, views, values, rows, vectors, s.state.out, stride);
  }
}

template <class V>
void merge(const AttentionState& state, const AttentionState& next, int32_t rows,
           int32_t head_dim) {
  using F = typename V::F;
  const int64_t stride = attention_stride(head_dim);
  for (int32_t r = 0; r < rows; ++r) {
    float* out = state.out + r * stride;
    const float* other = next.out + r * stride;
    if (next.sum[r] == 0.0f && next.max[r] == -__builtin_inff()) continue;
    if (state.sum[r] == 0.0f && state.max[r] == -__builtin_inff()) {
      memcpy(out, other, static_cast<size_t>(stride) * sizeof(float));
      state.max[r] = next.max[r];
      state.sum[r] = next.sum[r];
      continue;
    }
    const float max = next.max[r] > state.max[r] ? next.max[r] : state.max[r];
    const F keep = exp_ps<V>(V::set1(state.max[r] - max));
    const F take = exp_ps<V>(V::set1(next.max[r] - max));
    for (int64_t d = 0; d < stride; d += V::kLanes) {
      V::store(out + d, V::fma(V::load(other + d), take, V::mul(V::load(out + d), keep)));
    }
    float factors[2][V::kLanes];
    V::store(factors[0], keep);
    V::store(factors[1], take);
    state.sum[r] = state.sum[r] * factors[0][0] + next.sum[r] * factors[1][0];
    state.max[r] = max;
  }
}

template <class V>
void finish(const AttentionState& state, int32_t tokens, int32_t group, int32_t head_dim,
            float* out, int64_t out_token_stride) {
  using F = typename V::F;
  const int64_t stride = attention_stride(head_dim);
  for (int32_t r = 0; r < tokens * group; ++r) {
    const float* row = state.out + r * stride;
    float* dst = out + (r / group) * out_token_stride + int64_t{r % group} * head_dim;
    const F inverse = V::set1(1.0f / state.sum[r]);
    int32_t d = 0;
    for (; d + V::kLanes <= head_dim; d += V::kLanes) {
      V::store(dst + d, V::mul(V::load(row + d), inverse));
    }
    if (d < head_dim) V::store_first(dst + d, V::mul(V::load(row + d), inverse), head_dim - d);
  }
}

}  // namespace
}  // namespace ruvllm::kernels
