// What both forms of attention that multiply pairs of bf16 (attention.h: "Tiles", "Lanes") have in
// common: q rounded to bf16, and the weights of a row. Over L, a vector type of 16 lanes
// (simd/vec_generic.h says what its functions mean) that also has
//   reduce(t)                t - floor(t), rounded down; 0 of an infinity
//   scale(p, t)              p * 2^floor(t), or 0 where that is subnormal
//   store_pairs(to, a, b)    16 words: the upper halves of the lanes of a, the weights of 16 keys,
//                            and of b, those of the next 16, paired as the form has it
//   FlushSubnormals          has to live where scale() is called
// so that a model of it runs on any machine.
#pragma once

#include "kernels/attention/attention_impl.h"

namespace ruvllm::kernels {
namespace {

constexpr float kLog2E = 1.44269504f;

// q of row r as bf16, filled up with zeros to `wide` elements, whole vectors.
template <class L>
void round_q_row(const AttentionSegment& s, int r, int wide, uint16_t* to) {
  const float* row = s.q[r / s.group] + int64_t{r % s.group} * s.head_dim;
  for (int d = 0; d < wide; d += L::kLanes) {
    const int left = s.head_dim - d;
    const typename L::F x = left >= L::kLanes ? L::load(row + d)
                            : left > 0        ? L::load_first(row + d, left)
                                              : L::zero();
    L::store_bf16(to + d, x);
  }
}

// Where the scores of a row stand, vectors of 16 keys, `vector_floats` from one to the next, and
// where its weights come, 16 words for 32 keys, `step_words` to the next. They may come to where
// the scores of their own keys stand.
struct ScoreRow {
  float* scores;
  int64_t vector_floats;
  uint32_t* weights;
  int64_t step_words;
  float* vector(int key) const { return scores + key / 16 * vector_floats; }
  float& score(int key) const { return vector(key)[key % 16]; }
  uint32_t* words(int key) const { return weights + key / 32 * step_words; }
};

// The steps of 32 keys that a range touches.
inline KeyRange whole_steps(const KeyRange& range) {
  return {range.begin / 32 * 32, (range.end + 31) / 32 * 32};
}

// A row's sums of products, of the steps of `range`: with a softcap they become capped scores; -inf
// where the row sees nothing.
template <class L>
void mask_row(const AttentionSegment& s, const RowView& view, const KeyRange& range,
              const ScoreRow& x) {
  const auto [first, last] = whole_steps(range);
  if (s.softcap != 0.0f) {
    const typename L::F scale = L::set1(s.scale);
    const typename L::F cap = L::set1(s.softcap);
    for (int j = first; j < last; j += L::kLanes) {
      const typename L::F score = L::mul(L::load(x.vector(j)), scale);
      L::store(x.vector(j), L::mul(cap, tanh_ps<L>(L::div(score, cap))));
    }
  }
  for (int j = first; j < view.begin; ++j) x.score(j) = -__builtin_inff();
  for (int j = view.end; j < last; ++j) x.score(j) = -__builtin_inff();
}

template <class L>
float largest_of_row(const KeyRange& range, const ScoreRow& x) {
  const auto [first, last] = whole_steps(range);
  const float* from = x.vector(first);
  typename L::F low = L::load(from);
  typename L::F high = L::load(from + x.vector_floats);
  for (int j = first + 32; j < last; j += 32) {
    from += 2 * x.vector_floats;
    low = L::max(low, L::load(from));
    high = L::max(high, L::load(from + x.vector_floats));
  }
  return L::reduce_max(L::max(low, high));
}

// 2^t for t <= 0, rounded to bf16, times what all weights have in common. Adding 1.5 * 2^16 rounds
// to multiples of 2^-7, of which the polynomial's values in [1, 2] have bf16's bits.
template <class L>
typename L::F weight_of(typename L::F t) {
  using F = typename L::F;
  const F r = L::reduce(t);
  F p = L::fma(r, L::set1(0.0780303578f), L::set1(0.226084062f));
  p = L::fma(r, p, L::set1(0.695885580f));
  p = L::fma(r, p, L::set1(98305.0f));
  return L::scale(L::sub(p, L::set1(98304.0f)), t);
}

// Sums or scores (with `largest` among them) become weights, in pairs of bf16; times `factor` they
// are exponents of 2. Returns the weights' sum.
template <class L>
float weigh_row(const KeyRange& range, const ScoreRow& x, float largest, float factor) {
  using F = typename L::F;
  const auto [first, last] = whole_steps(range);
  const F offset = L::set1(largest);
  const F times = L::set1(factor);
  F sums = L::zero();
  const float* from = x.vector(first);
  uint32_t* to = x.words(first);
  for (int j = first; j < last; j += 32) {
    const F low = weight_of<L>(L::mul(L::sub(L::load(from), offset), times));
    const F high = weight_of<L>(L::mul(L::sub(L::load(from + x.vector_floats), offset), times));
    sums = L::add(sums, L::add(low, high));
    L::store_pairs(to, low, high);
    from += 2 * x.vector_floats;
    to += x.step_words;
  }
  return L::reduce_add(sums);
}

// The sums of products of rows [row, row + count), of the steps that `range` touches, become
// weights; those of a row that sees nothing zeros. row_at(i) says where row i of them stands; at
// most 16. First all that waits for the largest score of a row, then the exponentials, and
// between(i) after those of row i.
template <class L, class RowAt, class Between>
[[gnu::flatten]] void weigh_rows(const AttentionSegment& s, const RowView* views, int row,
                                 int count, const KeyRange& range, const RowAt& row_at,
                                 const Between& between) {
  const float scale = s.softcap != 0.0f ? 1.0f : s.scale;  // of what stands there
  const auto [first, last] = whole_steps(range);
  float largest[16];
  for (int i = 0; i < count; ++i) {
    const ScoreRow x = row_at(i);
    const RowView& view = views[row + i];
    if (view.begin >= view.end) {
      for (int j = first; j < last; j += 32) memset(x.words(j), 0, 64);
      continue;
    }
    mask_row<L>(s, view, range, x);
    largest[i] = largest_of_row<L>(range, x);
    s.state.max[row + i] = largest[i] * scale;
  }
  const typename L::FlushSubnormals flush;
  for (int i = 0; i < count; ++i) {
    const RowView& view = views[row + i];
    if (view.begin < view.end) {
      s.state.sum[row + i] = weigh_row<L>(range, row_at(i), largest[i], scale * kLog2E);
    }
    between(i);
  }
}

}  // namespace
}  // namespace ruvllm::kernels
