// The two register-tiled products of attention over any vector type V: scores = q k^T, whose lanes
// are keys, and out += p v, whose lanes are elements of the values. What a tile's shape may change
// is speed only: a score is one chain of multiply-adds over the elements, an output element one
// over the keys.
//
// See simd/vec_generic.h for the unnamed namespace.
#pragma once

#include "kernels/attention/attention.h"
#include "kernels/simd/unroll.h"

namespace ruvllm::kernels {
namespace {

// How keys and values of a format are read: a vector of them as f32, or two at once, kMixed: with
// the even elements in the first and the odd ones in the second.
template <class V>
struct ReadF32 {
  using Element = float;
  static constexpr bool kMixed = false;
  static typename V::F load(const float* p) { return V::load(p); }
};
template <class V>
struct ReadBf16 {
  using Element = uint16_t;
  static constexpr bool kMixed = false;
  static typename V::F load(const uint16_t* p) { return V::load_bf16(p); }
};
template <class V>
struct ReadMixedBf16 {
  using Element = uint16_t;
  static constexpr bool kMixed = true;
  static typename V::F load(const uint16_t* p) { return V::load_bf16(p); }
};
template <class V>
struct ReadF16 {
  using Element = uint16_t;
  static constexpr bool kMixed = false;
  static typename V::F load(const uint16_t* p) { return V::load_f16(p); }
};
template <class V>
struct ReadInt8 {
  using Element = int8_t;
  static constexpr bool kMixed = false;
  static typename V::F load(const int8_t* p) { return V::load_i8(p); }
};

template <class V, class Read>
void load_two(const typename Read::Element* p, typename V::F& first, typename V::F& second) {
  if constexpr (Read::kMixed) {
    V::load_mixed_bf16(p, first, second);
  } else {
    first = Read::load(p);
    second = Read::load(p + V::kLanes);
  }
  V::keep(first);
  V::keep(second);
}

// Vector n from p on.
template <class V, class Read>
typename V::F load_one(const typename Read::Element* p, int n) {
  typename V::F v;
  if constexpr (Read::kMixed) {
    p += n / 2 * 2 * V::kLanes;
    v = n % 2 == 0 ? V::load_even_bf16(p) : V::load_odd_bf16(p);
  } else {
    v = Read::load(p + n * V::kLanes);
  }
  V::keep(v);
  return v;
}

// Reads what follows from `p` after `done` is known. Where sums and factors fill the registers, one
// read too early costs a sum its place, and then every turn of the loop waits for memory.
template <class V, class Element>
void in_order(typename V::F& done, const Element*& p) {
#if defined(__x86_64__)  // elsewhere no set of lanes has so few
  if constexpr (requires { V::kFewRegisters; }) {
    typename V::F last = done;
    __asm__("" : "+x"(last), "+r"(p));
    done = last;
  }
#else
  static_cast<void>(done);
  static_cast<void>(p);
#endif
}

template <class V>
constexpr int kGroupVectors = kKeyGroup / V::kLanes;

// Vectors n and n + 1 of the element d of the groups' keys.
template <class V, class Read>
void load_keys(const typename Read::Element* const* groups, int d, int n, typename V::F* keys) {
  if constexpr (kGroupVectors<V> == 1) {
    keys[0] = Read::load(groups[n] + d * kKeyGroup);
    keys[1] = Read::load(groups[n + 1] + d * kKeyGroup);
  } else {
    const typename Read::Element* group = groups[n / kGroupVectors<V>] + d * kKeyGroup;
    load_two<V, Read>(group + n % kGroupVectors<V> * V::kLanes, keys[0], keys[1]);
  }
}

// scores[r * kKeySegment + j] = scale * (q[r] . key j) of kRows rows and kGroups groups of keys.
template <class V, class Read, int kRows, int kGroups>
void dot_tile(const float* const* q, const typename Read::Element* const* groups, int head_dim,
              float scale, float* scores) {
  using F = typename V::F;
  constexpr int kVectors = kGroups * kGroupVectors<V>;
  F sums[kRows][kVectors];
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
    RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) sums[r][n] = V::zero();
  }
  const float* rows[kRows];
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) rows[r] = q[r];
  // What there is less of, rows or vectors of keys, stays in registers.
  for (int d = 0; d < head_dim; ++d) {
    if constexpr (kRows < kVectors) {
      F x[kRows];
      RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) x[r] = V::set1(rows[r][d]);
      RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) {
        const typename Read::Element* group = groups[n / kGroupVectors<V>] + d * kKeyGroup;
        const F keys = load_one<V, Read>(group, n % kGroupVectors<V>);
        RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
          sums[r][n] = V::fma(x[r], keys, sums[r][n]);
        }
        if constexpr (kRows > 1) in_order<V>(sums[kRows - 1][n], group);
      }
    } else {
      F keys[kVectors];
      RUVLLM_UNROLL for (int n = 0; n < kVectors; n += 2)
          load_keys<V, Read>(groups, d, n, keys + n);
      RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
        const F x = V::set1(rows[r][d]);
        RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) sums[r][n] =
            V::fma(x, keys[n], sums[r][n]);
      }
    }
  }
  const F factor = V::set1(scale);
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
    RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) sums[r][n] = V::mul(sums[r][n], factor);
    if constexpr (Read::kMixed) {
      RUVLLM_UNROLL for (int n = 0; n < kVectors; n += 2) V::unmix(sums[r][n], sums[r][n + 1]);
    }
    RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) {
      V::store(scores + r * kKeySegment + n * V::kLanes, sums[r][n]);
    }
  }
}

// The tile over a block of groups, kGroups at a time; `between` is called after each.
template <class V, class Read, int kRows, int kGroups, class Between>
void dot_tiles(const float* const* q, const typename Read::Element* const* groups, int head_dim,
               float scale, float* scores, Between between) {
  for (int g = 0; g < V::kKeyBlock; g += kGroups) {
    dot_tile<V, Read, kRows, kGroups>(q, groups + g, head_dim, scale, scores + g * kKeyGroup);
    between(kRows * kGroups);
  }
}

// Scores of all rows against a block of V::kKeyBlock groups; between(n) is called after every n
// rows times groups.
template <class V, class Read, class Between>
void dot_block(const float* const* q, int rows, const typename Read::Element* const* groups,
               int head_dim, float scale, float* scores, Between between) {
  // Groups beside each other, so that a tile of few rows has eight sums or more.
  constexpr int kOne = V::kDotGroups;
  for (int r = 0; r < rows;) {
    const int left = rows - r;
    const float* const* tile = q + r;
    float* to = scores + r * kKeySegment;
    if constexpr (V::kDotRows >= 6) {
      if (left >= 9 || left == 6) {
        dot_tiles<V, Read, 6, kOne>(tile, groups, head_dim, scale, to, between);
        r += 6;
        continue;
      }
      if (left >= 7 || left == 4) {
        dot_tiles<V, Read, 4, kOne>(tile, groups, head_dim, scale, to, between);
        r += 4;
        continue;
      }
      if (left >= 3) {
        dot_tiles<V, Read, 3, 2 * kOne>(tile, groups, head_dim, scale, to, between);
        r += 3;
        continue;
      }
    }
    if (left >= 2) {
      dot_tiles<V, Read, 2, V::kDotRows >= 6 ? 2 * kOne : kOne>(tile, groups, head_dim, scale, to,
                                                                between);
      r += 2;
    } else {
      dot_tiles<V, Read, 1, V::kDotRows >= 6 ? 4 * kOne : 2 * kOne>(tile, groups, head_dim, scale,
                                                                    to, between);
      r += 1;
    }
  }
}

// out[r] += sum over j in [begin, end) of weights[r * kKeySegment + j] * values[j], kVectors
// vectors of kRows rows.
template <class V, class Read, int kRows, int kVectors>
void accumulate_tile(const float* weights, const typename Read::Element* const* values,
                     int64_t offset, int begin, int end, float* out, int64_t out_stride) {
  using F = typename V::F;
  F sums[kRows][kVectors];
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
    RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) {
      sums[r][n] = V::load(out + r * out_stride + offset + n * V::kLanes);
    }
  }
  for (int j = begin; j < end; ++j) {
    const typename Read::Element* value = values[j] + offset;
    F weight[kRows];
    RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) weight[r] = V::set1(weights[r * kKeySegment + j]);
    RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) {
      const F v = load_one<V, Read>(value, n);
      RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) sums[r][n] = V::fma(weight[r], v, sums[r][n]);
      if constexpr (kRows > 1) in_order<V>(sums[kRows - 1][n], value);
    }
  }
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
    RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) {
      V::store(out + r * out_stride + offset + n * V::kLanes, sums[r][n]);
    }
  }
}

// All vectors of kRows rows; between(n) is called after every n rows times vectors.
template <class V, class Read, int kRows, class Between>
void accumulate_rows(const float* weights, const typename Read::Element* const* values, int vectors,
                     int begin, int end, float* out, int64_t out_stride, Between between) {
  int n = 0;
  const auto run = [&]<int kVectors>() {
    for (; n + kVectors <= vectors; n += kVectors) {
      accumulate_tile<V, Read, kRows, kVectors>(weights, values, int64_t{n} * V::kLanes, begin, end,
                                                out, out_stride);
      between(kRows * kVectors);
    }
  };
  if constexpr (kRows == 1) run.template operator()<8>();
  run.template operator()<4>();
  run.template operator()<2>();
  run.template operator()<1>();
}

}  // namespace
}  // namespace ruvllm::kernels
