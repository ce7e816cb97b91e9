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

// Brings a cache line from memory. The products do this a line at a time for what follows: memory
// answers about 24 misses of a core at once, so lines asked for in one go would wait for each other
// and the products for them. To the second level where V has kFetchToL2: a core's first waits for
// fewer lines at once than it takes to read at the memory's pace (Zen 4: 8-20 % of decode).
template <class V>
void fetch(const void* p) {
  if constexpr (requires { V::kFetchToL2; }) {
    __builtin_prefetch(p, 0, 2);
  } else {
    __builtin_prefetch(p, 0, 3);
  }
}

// scores[r * kKeySegment + j] = scale * (q[r] . key j) of kRows rows and kGroups groups of keys.
// With kFetch it fetches memory meanwhile: with each element d what lies at next[g] + d * step. Not
// inlined: the loops around it would take registers that its own needs.
template <class V, class Read, int kRows, int kGroups, bool kFetch>
[[gnu::noinline]] void dot_tile(const float* const* q, const typename Read::Element* const* groups,
                                const typename Read::Element* const* next, int step, int head_dim,
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
    if constexpr (kFetch) {
      RUVLLM_UNROLL for (int g = 0; g < kGroups; ++g) fetch<V>(next[g] + d * step);
    }
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

// The tile over a block of groups, kGroups at a time. Fetches the part [part, part + 1) / parts of
// the groups at `next`.
template <class V, class Read, int kRows, int kGroups>
void dot_tiles(const float* const* q, const typename Read::Element* const* groups,
               const typename Read::Element* const* next, int part, int parts, int head_dim,
               float scale, float* scores) {
  const typename Read::Element* from[V::kKeyBlock];
  if (next != nullptr) {
    for (int g = 0; g < V::kKeyBlock; ++g) from[g] = next[g] + kKeyGroup * head_dim * part / parts;
  }
  const int step = (kKeyGroup + parts - 1) / parts;
  for (int g = 0; g < V::kKeyBlock; g += kGroups) {
    float* to = scores + g * kKeyGroup;
    if (next != nullptr) {
      dot_tile<V, Read, kRows, kGroups, true>(q, groups + g, from + g, step, head_dim, scale, to);
    } else {
      dot_tile<V, Read, kRows, kGroups, false>(q, groups + g, groups + g, 0, head_dim, scale, to);
    }
  }
}

// Tiles that so many rows become, about: what is fetched is spread over them.
inline int row_tiles(int rows) {
  return (rows + 5) / 6;
}

// Scores of all rows against a block of V::kKeyBlock groups; as many at `next` (null: none) are
// fetched meanwhile.
template <class V, class Read>
void dot_block(const float* const* q, int rows, const typename Read::Element* const* groups,
               const typename Read::Element* const* next, int head_dim, float scale,
               float* scores) {
  // Groups beside each other, so that a tile of few rows has eight sums or more.
  constexpr int kOne = V::kDotGroups;
  const int parts = row_tiles(rows);
  int part = 0;
  int r = 0;
  while (r < rows) {
    const auto run = [&]<int kRows, int kGroups>() {
      dot_tiles<V, Read, kRows, kGroups>(q + r, groups, part < parts ? next : nullptr, part, parts,
                                         head_dim, scale, scores + r * kKeySegment);
      r += kRows;
      ++part;
    };
    const int left = rows - r;
    if constexpr (V::kDotRows >= 6) {
      if (left >= 9 || left == 6) {
        run.template operator()<6, kOne>();
        continue;
      }
      if (left >= 7 || left == 4) {
        run.template operator()<4, kOne>();
        continue;
      }
      if (left >= 3) {
        run.template operator()<3, 2 * kOne>();
        continue;
      }
    }
    if (left >= 2) {
      run.template operator()<2, V::kDotRows >= 6 ? 2 * kOne : kOne>();
    } else {
      run.template operator()<1, V::kDotRows >= 6 ? 4 * kOne : 2 * kOne>();
    }
  }
}

// What a tile of values fetches from memory meanwhile, for each key: where there are more rows than
// vectors, whose tiles are many, `at`, and then what lies `step` elements further; else the tile's
// own columns of rows[j].
template <class Element>
struct Ahead {
  const Element* const* rows;
  const Element* at;
  int step;
};

// out[r] += sum over j in [begin, end) of weights[r * kKeySegment + j] * values[j], kVectors
// vectors of kRows rows.
template <class V, class Read, int kRows, int kVectors, bool kFetch>
void accumulate_tile(const float* weights, const typename Read::Element* const* values,
                     int64_t offset, int begin, int end, Ahead<typename Read::Element> ahead,
                     float* out, int64_t out_stride) {
  using F = typename V::F;
  F sums[kRows][kVectors];
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
    RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) {
      sums[r][n] = V::load(out + r * out_stride + offset + n * V::kLanes);
    }
  }
  // What there is less of, rows or vectors of values, stays in registers.
  for (int j = begin; j < end; ++j) {
    const typename Read::Element* value = values[j] + offset;
    if constexpr (kFetch && kRows > kVectors) {
      fetch<V>(ahead.at);
      ahead.at += ahead.step;
    } else if constexpr (kFetch) {
      constexpr int kLine = 64 / static_cast<int>(sizeof(typename Read::Element));
      const typename Read::Element* next = ahead.rows[j] + offset;
      RUVLLM_UNROLL for (int n = 0; n < kVectors * V::kLanes; n += kLine) fetch<V>(next + n);
    }
    if constexpr (kRows > kVectors) {
      F v[kVectors];
      RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) v[n] = load_one<V, Read>(value, n);
      RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
        const F weight = V::set1(weights[r * kKeySegment + j]);
        RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) {
          sums[r][n] = V::fma(weight, v[n], sums[r][n]);
        }
      }
    } else {
      F weight[kRows];
      RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
        weight[r] = V::set1(weights[r * kKeySegment + j]);
      }
      RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) {
        const F v = load_one<V, Read>(value, n);
        RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
          sums[r][n] = V::fma(weight[r], v, sums[r][n]);
        }
        if constexpr (kRows > 1) in_order<V>(sums[kRows - 1][n], value);
      }
    }
  }
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
    RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) {
      V::store(out + r * out_stride + offset + n * V::kLanes, sums[r][n]);
    }
  }
}

// What the keys [begin, end) add to all rows that see them all: `rows` rows, `vectors` vectors.
// next[j], 16 of which lie side by side, are fetched meanwhile (null: nothing).
template <class V, class Read>
void accumulate_rows(const float* weights, int rows, const typename Read::Element* const* values,
                     const typename Read::Element* const* next, int vectors, int begin, int end,
                     float* out, int64_t out_stride) {
  int r = 0;
  int tile = 0;
  // kRows rows, kVectors vectors at a time from vector n on.
  const auto run = [&]<int kRows, int kVectors>(int& n) {
    const int tiles = row_tiles(rows) * (vectors / kVectors);
    for (; n + kVectors <= vectors; n += kVectors, ++tile) {
      const float* w = weights + r * kKeySegment;
      float* o = out + r * out_stride;
      const int64_t offset = int64_t{n} * V::kLanes;
      constexpr bool kInLine = kRows > kVectors;
      if (next != nullptr && (kInLine ? tiles >= 4 && tile < tiles : r == 0)) {
        const Ahead<typename Read::Element> ahead = {
            next, next[begin + (end - begin) * (kInLine ? tile : 0) / tiles],
            (vectors * V::kLanes + tiles - 1) / tiles};
        accumulate_tile<V, Read, kRows, kVectors, true>(w, values, offset, begin, end, ahead, o,
                                                        out_stride);
      } else {
        accumulate_tile<V, Read, kRows, kVectors, false>(w, values, offset, begin, end, {}, o,
                                                         out_stride);
      }
    }
  };
  const auto run_rows = [&]<int kRows, int kMost>() {
    int n = 0;
    if constexpr (kMost >= 8) run.template operator()<kRows, 8>(n);
    if constexpr (kMost >= 4) run.template operator()<kRows, 4>(n);
    run.template operator()<kRows, 2>(n);
    run.template operator()<kRows, 1>(n);
    r += kRows;
  };
  while (r < rows) {
    const int left = rows - r;
    if constexpr (V::kPvRows == 6) {
      if (left >= 9 || left == 6) {
        run_rows.template operator()<6, 2>();
        continue;
      }
      if (left >= 7 || left == 4) {
        run_rows.template operator()<4, 2>();
        continue;
      }
    }
    if constexpr (V::kPvRows == 4) {
      if (left >= 4 && left != 5) {
        run_rows.template operator()<4, 4>();
        continue;
      }
    }
    if constexpr (V::kPvRows >= 3) {
      if (left >= 3 && left != 4) {
        run_rows.template operator()<3, 4>();
        continue;
      }
    }
    if (left >= 2) {
      run_rows.template operator()<2, 4>();
    } else {
      run_rows.template operator()<1, 8>();
    }
  }
}

}  // namespace
}  // namespace ruvllm::kernels
