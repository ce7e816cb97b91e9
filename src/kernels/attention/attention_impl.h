// One segment of attention over any vector type V: the scores of all its keys, one softmax, and the
// weighted sum of values. See simd/vec_generic.h for the unnamed namespace.
#pragma once

#include <string.h>

#include "kernels/attention/attention.h"
#include "kernels/attention/attention_pages.h"
#include "kernels/attention/attention_tiles.h"
#include "kernels/simd/math_impl.h"

namespace ruvllm::kernels {
namespace {

// What one row sees of the segment, in keys from its begin.
struct RowView {
  int begin;
  int end;
};

// What each row sees, and all of them together (begin >= end: nothing); the states of rows that
// have seen nothing.
inline KeyRange begin_rows(const AttentionSegment& s, RowView* views) {
  const int rows = s.tokens * s.group;
  KeyRange range = {kKeySegment, 0};
  const auto num_keys = static_cast<int>(s.key_end - s.key_begin);
  for (int r = 0; r < rows; ++r) {
    const int64_t position = s.positions[r / s.group] - s.key_begin;
    RowView& view = views[r];
    view.begin = s.window > 0 ? clamped(position - s.window + 1, num_keys) : 0;
    view.end = clamped(position + 1, num_keys);
    if (view.begin < view.end) {
      range.begin = smaller(range.begin, view.begin);
      range.end = larger(range.end, view.end);
    }
    s.state.max[r] = -__builtin_inff();
    s.state.sum[r] = 0.0f;
  }
  memset(s.state.out, 0, static_cast<size_t>(rows * attention_stride(s.head_dim)) * sizeof(float));
  return range;
}

// Everything `attend` works with.
struct Work {
  const AttentionSegment& segment;
  int rows;
  KeyRange range;  // that any row sees
  const float* q[kMaxAttentionRows];
  RowView views[kMaxAttentionRows];
  float* scores;      // [rows, kKeySegment]
  float* buffer;      // keys or values as f32
  float* key_scales;  // [kKeySegment], of int8 only
  float* value_scales;
};

// Turns a row's scores into weights; those of the keys [view.begin, view.end) count. The
// exponential is inlined (flatten), so that its constants stay in registers: 5 % of all of decode.
template <class V>
[[gnu::flatten]] void softmax_row(const AttentionSegment& s, const RowView& view, float* scores,
                                  float* max, float* sum) {
  using F = typename V::F;
  const int first = view.begin / V::kLanes * V::kLanes;
  const int last = (view.end + V::kLanes - 1) / V::kLanes * V::kLanes;
  if (s.softcap != 0.0f) {
    const F cap = V::set1(s.softcap);
    for (int j = first; j < last; j += V::kLanes) {
      V::store(scores + j, V::mul(cap, tanh_ps<V>(V::div(V::load(scores + j), cap))));
    }
  }
  for (int j = first; j < view.begin; ++j) scores[j] = -__builtin_inff();
  for (int j = view.end; j < last; ++j) scores[j] = -__builtin_inff();
  F largest = V::load(scores + first);
  for (int j = first + V::kLanes; j < last; j += V::kLanes) {
    largest = V::max(largest, V::load(scores + j));
  }
  *max = V::reduce_max(largest);
  const F offset = V::set1(*max);
  F sums = V::zero();
  for (int j = first; j < last; j += V::kLanes) {
    const F weight = exp_ps<V, true>(V::sub(V::load(scores + j), offset));
    sums = V::add(sums, weight);
    V::store(scores + j, weight);
  }
  *sum = V::reduce_add(sums);
}

template <class V>
void softmax_rows(const Work& work) {
  const AttentionSegment& s = work.segment;
  for (int r = 0; r < work.rows; ++r) {
    const RowView& view = work.views[r];
    if (view.begin >= view.end) continue;
    float* scores = work.scores + r * kKeySegment;
    softmax_row<V>(s, view, scores, s.state.max + r, s.state.sum + r);
    if (s.format != KvFormat::kInt8) continue;
    const int first = view.begin / V::kLanes * V::kLanes;
    for (int j = first; j < view.end; j += V::kLanes) {
      V::store(scores + j, V::mul(V::load(scores + j), V::load(work.value_scales + j)));
    }
  }
}

// `next` is fetched meanwhile (null: nothing).
template <class V, class Read>
void score_block(const Work& work, int block, const typename Read::Element* const* groups,
                 const typename Read::Element* const* next) {
  const AttentionSegment& s = work.segment;
  float* scores = work.scores + block * kKeyGroup;
  constexpr int kKeys = V::kKeyBlock * kKeyGroup;
  dot_block<V, Read>(work.q, work.rows, groups, next, s.head_dim, s.scale, scores);
  if (s.format != KvFormat::kInt8) return;
  for (int r = 0; r < work.rows; ++r) {
    for (int j = 0; j < kKeys; j += V::kLanes) {
      float* score = scores + r * kKeySegment + j;
      V::store(score, V::mul(V::load(score), V::load(work.key_scales + block * kKeyGroup + j)));
    }
  }
}

// The groups [block, block + V::kKeyBlock) of keys or values. Those outside the range repeat its
// ends: they are computed, and then not seen.
template <class V, class Element>
void groups_at(const Work& work, const void* const* pages, int block, const Element** groups) {
  const int first = work.range.begin / kKeyGroup;
  const int last = (work.range.end - 1) / kKeyGroup;
  for (int i = 0; i < V::kKeyBlock; ++i) {
    const int g = first + clamped(block + i - first, last - first);
    groups[i] = static_cast<const Element*>(group_of(work.segment, pages, g));
  }
}

// All scores, of keys that lie in whole groups. While one block is multiplied the next is fetched,
// and at last the first values.
template <class V, class Read>
void score_in_place(const Work& work) {
  using Element = typename Read::Element;
  const int last = (work.range.end - 1) / kKeyGroup;
  const Element* blocks[2][V::kKeyBlock];
  const int first_block = work.range.begin / kKeyGroup / V::kKeyBlock * V::kKeyBlock;
  groups_at<V>(work, work.segment.k_pages, first_block, blocks[0]);
  int block = first_block;
  for (int n = 0; block <= last; block += V::kKeyBlock, ++n) {
    const Element** next = blocks[(n + 1) % 2];
    if (block + V::kKeyBlock <= last) {
      groups_at<V>(work, work.segment.k_pages, block + V::kKeyBlock, next);
    } else {
      groups_at<V>(work, work.segment.v_pages, first_block, next);
    }
    score_block<V, Read>(work, block, blocks[n % 2], next);
  }
}

// All scores, of keys that are gathered (and widened) first.
template <class V, class Read>
void score_gathered(const Work& work) {
  const AttentionSegment& s = work.segment;
  const int first = work.range.begin / kKeyGroup;
  const int last = (work.range.end - 1) / kKeyGroup;
  for (int block = first / V::kKeyBlock * V::kKeyBlock; block <= last; block += V::kKeyBlock) {
    const float* groups[V::kKeyBlock];
    for (int i = 0; i < V::kKeyBlock; ++i) {
      const int g = first + clamped(block + i - first, last - first);  // as groups_at()
      float* to = work.buffer + int64_t{i} * kKeyGroup * s.head_dim;
      gather_group<V, Read>(s, g, work.range, to);
      groups[i] = to;
    }
    score_block<V, ReadF32<V>>(work, block, groups, nullptr);
  }
}

// What a row sees of the keys [tile, tile + keys).
inline KeyRange seen_of_tile(const RowView& view, int tile, int keys) {
  const int begin = larger(view.begin, tile);
  const int end = smaller(view.end, tile + keys);
  return begin < end ? KeyRange{begin, end} : KeyRange{0, 0};
}
// Rows from r on that see the same of the tile as that one: of a tile that no row's end lies in all
// that see it.
inline int rows_alike(const RowView* views, int rows, int r, int tile, int keys) {
  const KeyRange first = seen_of_tile(views[r], tile, keys);
  int n = 1;
  for (; r + n < rows; ++n) {
    const KeyRange seen = seen_of_tile(views[r + n], tile, keys);
    if (seen.begin != first.begin || seen.end != first.end) break;
  }
  return n;
}

// Adds the values of the keys [tile, tile + kValueTile); fetches `next` meanwhile.
template <class V, class Read>
void accumulate_all(const Work& work, int tile, const typename Read::Element* const* values,
                    const typename Read::Element* const* next) {
  const int64_t stride = attention_stride(work.segment.head_dim);
  const int vectors = (work.segment.head_dim + V::kLanes - 1) / V::kLanes;
  for (int r = 0; r < work.rows;) {
    const KeyRange seen = seen_of_tile(work.views[r], tile, kValueTile);
    const int alike = rows_alike(work.views, work.rows, r, tile, kValueTile);
    if (seen.begin < seen.end) {
      accumulate_rows<V, Read>(work.scores + r * kKeySegment, alike, values, next, vectors,
                               seen.begin, seen.end, work.segment.state.out + r * stride, stride);
      next = nullptr;
    }
    r += alike;
  }
}

template <class V, class Read>
void accumulate_values(const Work& work, bool in_place) {
  const AttentionSegment& s = work.segment;
  using Element = typename Read::Element;
  const Element* rows[kKeySegment + kValueTile];
  const KeyRange& range = work.range;
  value_rows(s, 0, range.begin, range.end, rows);
  const bool more = rows_ahead(s, range.end, kValueTile, rows);
  for (int tile = range.begin / kValueTile * kValueTile; tile < range.end; tile += kValueTile) {
    if (in_place) {
      const bool fetch_next = in_groups(s) && (tile + kValueTile < range.end || more);
      accumulate_all<V, Read>(work, tile, rows, fetch_next ? rows + kValueTile : nullptr);
    } else {
      const float* values[kKeySegment];
      widen_values<V, Read>(s.head_dim, larger(range.begin, tile),
                            smaller(range.end, tile + kValueTile), rows, work.buffer, values);
      accumulate_all<V, ReadF32<V>>(work, tile, values, nullptr);
    }
  }
}

// The order of the elements of `out` after a mixed reader of values.
template <class V>
void unmix_out(const Work& work) {
  const int64_t stride = attention_stride(work.segment.head_dim);
  float* out = work.segment.state.out;
  for (int64_t i = 0; i < work.rows * stride; i += int64_t{2} * V::kLanes) {
    typename V::F even = V::load(out + i);
    typename V::F odd = V::load(out + i + V::kLanes);
    V::unmix(even, odd);
    V::store(out + i, even);
    V::store(out + i + V::kLanes, odd);
  }
}

template <class V, class Read>
void attend_as(const Work& work) {
  const AttentionSegment& s = work.segment;
  // Formats that are dear to widen are widened once where many rows use them.
  const bool dear = s.format == KvFormat::kF16 || s.format == KvFormat::kInt8;
  const bool widen = dear && work.rows > 12;
  if (in_groups(s) && !widen) {
    score_in_place<V, Read>(work);
  } else {
    score_gathered<V, Read>(work);
  }
  softmax_rows<V>(work);
  if constexpr (Read::kMixed) {
    if (s.head_dim % (2 * V::kLanes) == 0) {
      accumulate_values<V, Read>(work, true);
      unmix_out<V>(work);
    } else {
      accumulate_values<V, ReadBf16<V>>(work, s.head_dim % V::kLanes == 0);
    }
  } else {
    accumulate_values<V, Read>(work, s.head_dim % V::kLanes == 0 && !widen);
  }
}

template <class V>
void attend(const AttentionSegment& s) {
  Work work = {.segment = s,
               .rows = s.tokens * s.group,
               .range = {},
               .q = {},
               .views = {},
               .scores = s.scratch,
               .buffer = nullptr,
               .key_scales = nullptr,
               .value_scales = nullptr};
  work.key_scales = work.scores + int64_t{work.rows} * kKeySegment;
  work.value_scales = work.key_scales + kKeySegment;
  work.buffer = work.value_scales + kKeySegment;
  work.range = begin_rows(s, work.views);
  for (int r = 0; r < work.rows; ++r) {
    work.q[r] = s.q[r / s.group] + int64_t{r % s.group} * s.head_dim;
  }
  if (work.range.begin >= work.range.end) return;
  if (s.format == KvFormat::kInt8) {
    gather_scales(s, s.k_pages, work.range, work.key_scales);
    gather_scales(s, s.v_pages, work.range, work.value_scales);
  }
  switch (s.format) {
    case KvFormat::kF32:
      return attend_as<V, ReadF32<V>>(work);
    case KvFormat::kBf16:
      if constexpr (V::kMixesBf16) return attend_as<V, ReadMixedBf16<V>>(work);
      return attend_as<V, ReadBf16<V>>(work);
    case KvFormat::kF16:
      return attend_as<V, ReadF16<V>>(work);
    case KvFormat::kInt8:
      return attend_as<V, ReadInt8<V>>(work);
  }
}

// By how much each of two softmaxes shrinks when their larger maximum becomes that of both.
template <class V>
void merge_factors(const float* max, const float* next_max, int rows, float* keep, float* take) {
  using F = typename V::F;
  for (int r = 0; r < rows; r += V::kLanes) {
    const int n = smaller(rows - r, V::kLanes);
    float a[V::kLanes] = {};
    float b[V::kLanes] = {};
    memcpy(a, max + r, static_cast<size_t>(n) * sizeof(float));
    memcpy(b, next_max + r, static_cast<size_t>(n) * sizeof(float));
    const F ours = V::load(a);
    const F theirs = V::load(b);
    const F both = V::max(theirs, ours);
    V::store(keep + r, exp_ps<V, true>(V::sub(ours, both)));
    V::store(take + r, exp_ps<V, true>(V::sub(theirs, both)));
  }
}

template <class V>
void merge(const AttentionState& state, const AttentionState& next, int32_t rows,
           int32_t head_dim) {
  using F = typename V::F;
  float keep[kMaxAttentionRows + V::kLanes];
  float take[kMaxAttentionRows + V::kLanes];
  merge_factors<V>(state.max, next.max, rows, keep, take);
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
    const F ours = V::set1(keep[r]);
    const F theirs = V::set1(take[r]);
    for (int64_t d = 0; d < stride; d += V::kLanes) {
      V::store(out + d, V::fma(V::load(other + d), theirs, V::mul(V::load(out + d), ours)));
    }
    state.sum[r] = state.sum[r] * keep[r] + next.sum[r] * take[r];
    state.max[r] = next.max[r] > state.max[r] ? next.max[r] : state.max[r];
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
