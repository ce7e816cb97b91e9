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
  Prefetcher* prefetcher;
};

// Called between the products of a block or tile that is `work_left` of some unit: fetches as much
// of `lines` as the work done is of all.
class Pace {
 public:
  Pace(Prefetcher* prefetcher, int lines, int work)
      : prefetcher_(prefetcher), lines_(lines), work_(work) {}
  void operator()(int done) {
    sum_ += done * lines_;
    const int due = sum_ / work_;
    sum_ -= due * work_;
    prefetcher_->fetch(due);
  }

 private:
  Prefetcher* prefetcher_;
  int lines_;
  int work_;
  int sum_ = 0;
};

// Turns a row's scores into weights; those of the keys [view.begin, view.end) count.
template <class V>
void softmax_row(const AttentionSegment& s, const RowView& view, float* scores, float* max,
                 float* sum) {
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

template <class V, class Read>
void score_block(const Work& work, int block, const typename Read::Element* const* groups) {
  const AttentionSegment& s = work.segment;
  float* scores = work.scores + block * kKeyGroup;
  constexpr int kKeys = V::kKeyBlock * kKeyGroup;
  Pace pace(work.prefetcher, lines_of(s, kKeys), work.rows * V::kKeyBlock);
  dot_block<V, Read>(work.q, work.rows, groups, s.head_dim, s.scale, scores,
                     [&pace](int done) { pace(done); });
  if (s.format != KvFormat::kInt8) return;
  for (int r = 0; r < work.rows; ++r) {
    for (int j = 0; j < kKeys; j += V::kLanes) {
      float* score = scores + r * kKeySegment + j;
      V::store(score, V::mul(V::load(score), V::load(work.key_scales + block * kKeyGroup + j)));
    }
  }
}

// Scores of the groups [block, block + V::kKeyBlock) that hold keys of the range.
template <class V, class Read>
void score_groups(const Work& work, bool in_place, int block) {
  const AttentionSegment& s = work.segment;
  const int first = work.range.begin / kKeyGroup;
  const int last = (work.range.end - 1) / kKeyGroup;
  // Groups outside the range repeat its ends: they are computed, and then not seen.
  const auto nearest = [&](int g) { return g < first ? first : g > last ? last : g; };
  if (in_place) {
    const typename Read::Element* groups[V::kKeyBlock];
    for (int i = 0; i < V::kKeyBlock; ++i) {
      groups[i] = static_cast<const typename Read::Element*>(key_group(s, nearest(block + i)));
    }
    score_block<V, Read>(work, block, groups);
  } else {
    const float* groups[V::kKeyBlock];
    for (int i = 0; i < V::kKeyBlock; ++i) {
      float* to = work.buffer + int64_t{i} * kKeyGroup * s.head_dim;
      gather_group<V, Read>(s, nearest(block + i), work.range, to);
      groups[i] = to;
    }
    score_block<V, ReadF32<V>>(work, block, groups);
  }
}

// Whether the kRows rows from r on see the same keys.
template <int kRows>
bool see_the_same(const RowView* views, int r, int rows) {
  if (r + kRows > rows) return false;
  for (int i = 1; i < kRows; ++i) {
    if (views[r + i].begin != views[r].begin || views[r + i].end != views[r].end) return false;
  }
  return true;
}

// Adds the values of the tile's keys [tile, tile + kValueTile); values[j] is that of key tile + j.
template <class V, class Read>
void accumulate_all(const Work& work, int tile, const typename Read::Element* const* values) {
  const int64_t stride = attention_stride(work.segment.head_dim);
  const int vectors = (work.segment.head_dim + V::kLanes - 1) / V::kLanes;
  Pace pace(work.prefetcher, lines_of(work.segment, kValueTile), work.rows * vectors);
  const auto between = [&pace](int done) { pace(done); };
  const auto accumulate = [&]<int kRows>(int& r, int begin, int end) {
    accumulate_rows<V, Read, kRows>(work.scores + r * kKeySegment + tile, values, vectors, begin,
                                    end, work.segment.state.out + r * stride, stride, between);
    r += kRows;
  };
  constexpr int kFour = V::kPvRows >= 4 ? 4 : 1;  // rows, where there are registers for them
  constexpr int kThree = V::kPvRows >= 3 ? 3 : 1;
  for (int r = 0; r < work.rows;) {
    const int begin = larger(work.views[r].begin - tile, 0);
    const int end = smaller(work.views[r].end - tile, kValueTile);
    if (begin >= end) {
      ++r;
      continue;
    }
    const int left = work.rows - r;
    if (kFour == 4 && left != 5 && see_the_same<4>(work.views, r, work.rows)) {
      accumulate.template operator()<kFour>(r, begin, end);
    } else if (kThree == 3 && left != 4 && see_the_same<3>(work.views, r, work.rows)) {
      accumulate.template operator()<kThree>(r, begin, end);
    } else if (see_the_same<2>(work.views, r, work.rows)) {
      accumulate.template operator()<2>(r, begin, end);
    } else {
      accumulate.template operator()<1>(r, begin, end);
    }
  }
}

template <class V, class Read>
void accumulate_values(const Work& work, bool in_place) {
  const AttentionSegment& s = work.segment;
  for (int tile = work.range.begin / kValueTile * kValueTile; tile < work.range.end;
       tile += kValueTile) {
    const int begin = larger(work.range.begin - tile, 0);
    const int end = smaller(work.range.end - tile, kValueTile);
    if (in_place) {
      const typename Read::Element* values[kValueTile];
      value_rows(s, tile, begin, end, values);
      accumulate_all<V, Read>(work, tile, values);
    } else {
      const float* values[kValueTile];
      widen_values<V, Read>(s, tile, begin, end, work.buffer, values);
      accumulate_all<V, ReadF32<V>>(work, tile, values);
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
  const bool whole_groups = s.page_tokens % kKeyGroup == 0;
  const int end_group = (work.range.end + kKeyGroup - 1) / kKeyGroup;
  for (int block = work.range.begin / kKeyGroup / V::kKeyBlock * V::kKeyBlock; block < end_group;
       block += V::kKeyBlock) {
    score_groups<V, Read>(work, whole_groups && !widen, block);
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
               .value_scales = nullptr,
               .prefetcher = nullptr};
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
  // A row or two compute so little that they only wait for memory, and are best left to it.
  Prefetcher prefetcher(s, work.rows > 2 ? work.range : KeyRange{0, 0});
  prefetcher.fetch(lines_of(s, V::kKeyBlock * kKeyGroup));
  work.prefetcher = &prefetcher;
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
