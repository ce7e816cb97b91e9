// What both forms of attention that multiply pairs of bf16 (attention.h: "Tiles", "Lanes") have in
// common: q rounded to bf16, and the weights of a row. Over L, a vector type of 16 lanes
// (simd/vec_generic.h says what its functions mean) that also has
//   weight(p, z, t)          0 where t < -126; else p * 2^n, rounded to bf16, ties up, with n from
//                            z = n + 1.5 * 2^23
//   store_pairs(to, a, b)    16 words: the upper halves of the lanes of a, the weights of 16 keys,
//                            and of b, those of the next 16, paired as the form has it
// so that a model of it runs on any machine.
#pragma once

#include "kernels/attention/attention_impl.h"

namespace ruvllm::kernels {
namespace {

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

// 2^t for t <= 0, as bf16.
template <class L>
typename L::F weight_of(typename L::F t) {
  using F = typename L::F;
  const F magic = L::set1(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const F z = L::add(t, magic);
  const F r = L::sub(t, L::sub(z, magic));
  F p = L::fma(r, L::set1(0.0550073353f), L::set1(0.242211186f));
  p = L::fma(r, p, L::set1(0.693283124f));
  p = L::fma(r, p, L::set1(1.0f));
  return L::weight(p, z, t);
}

// A row's sums of products become its weights, in their place, in pairs of bf16: of all steps of 32
// keys that `range` touches, zeros where the row sees nothing.
template <class L>
void weigh_row(const AttentionSegment& s, int r, const RowView& view, const KeyRange& range,
               float* x) {
  using F = typename L::F;
  constexpr int kStep = 32;
  auto* words = reinterpret_cast<uint32_t*>(x);
  const int first = range.begin / kStep * kStep;
  const int last = (range.end + kStep - 1) / kStep * kStep;
  if (view.begin >= view.end) {
    for (int j = first; j < last; j += 2) words[j / 2] = 0;
    return;
  }
  constexpr float kLog2E = 1.44269504f;
  float factor = s.scale * kLog2E;
  if (s.softcap != 0.0f) {
    const F scale = L::set1(s.scale);
    const F cap = L::set1(s.softcap);
    for (int j = first; j < last; j += L::kLanes) {
      const F score = L::mul(L::load(x + j), scale);
      L::store(x + j, L::mul(cap, tanh_ps<L>(L::div(score, cap))));
    }
    factor = kLog2E;
  }
  for (int j = first; j < view.begin; ++j) x[j] = -__builtin_inff();
  for (int j = view.end; j < last; ++j) x[j] = -__builtin_inff();
  F largest = L::load(x + first);
  for (int j = first + L::kLanes; j < last; j += L::kLanes) {
    largest = L::max(largest, L::load(x + j));
  }
  const float max = L::reduce_max(largest);
  s.state.max[r] = s.softcap != 0.0f ? max : max * s.scale;
  const F times = L::set1(factor);
  const F offset = L::set1(max * factor);
  F sums = L::zero();
  for (int j = first; j < last; j += kStep) {
    const F low = weight_of<L>(L::sub(L::mul(L::load(x + j), times), offset));
    const F high = weight_of<L>(L::sub(L::mul(L::load(x + j + L::kLanes), times), offset));
    sums = L::add(L::add(sums, low), high);
    L::store_pairs(words + j / 2, low, high);
  }
  s.state.sum[r] = L::reduce_add(sums);
}

}  // namespace
}  // namespace ruvllm::kernels
