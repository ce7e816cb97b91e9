// The kernels of float_dot.h, once, over a vector type V (simd/vec_*.h). TX x TW: the register
// tile; TX * TW sums, TW weights and one value of x should fit the registers.
//
// Why a tile of dot products and not of outer products: rows of w stay as the file has them, so
// bf16 weights are used in place, and one row of x runs the same additions as a tile does.
#pragma once

#include "kernels/matmul/float_dot.h"

namespace ruvllm::kernels {
namespace {

// How a stored weight becomes f32: vectors, and single elements at a row's end.
template <class V>
struct StoredF32 {
  using Element = float;
  static typename V::F load(const void* p) { return V::load((const float*)p); }
};
template <class V>
struct StoredBf16 {
  using Element = uint16_t;
  static typename V::F load(const void* p) { return V::load_bf16((const uint16_t*)p); }
};
template <class V>
struct StoredF16 {
  using Element = uint16_t;
  static typename V::F load(const void* p) { return V::load_f16((const uint16_t*)p); }
};

// The last n < lanes elements of a row, then zeros; does not read beyond them.
template <class V, class S>
inline typename V::F load_last(const void* p, int64_t n) {
  typename S::Element padded[V::kLanes] = {};
  __builtin_memcpy(padded, p, (size_t)n * sizeof padded[0]);
  return S::load(padded);
}

using Four = float __attribute__((vector_size(16), aligned(4)));

template <class V, int TX, int TW>
inline void tile_product(const FloatTileArgs* args) {
  using F = typename V::F;
  constexpr int kLanes = V::kLanes;
  // Steps without a branch between them, where tiles are large enough to matter.
  constexpr int kStepsAtOnce = TX * TW >= 8 ? 4 : 1;
  F sum[TX][TW];
#pragma GCC unroll 8
  for (int t = 0; t < TX; ++t) {
#pragma GCC unroll 8
    for (int n = 0; n < TW; ++n) sum[t][n] = V::zero();
  }
  const float* x = args->x;
  const float* w = args->w;
  const auto add_step = [&](int i) __attribute__((always_inline)) {
    F wv[TW];
#pragma GCC unroll 8
    for (int n = 0; n < TW; ++n) wv[n] = V::load(w + (i * TW + n) * kLanes);
#pragma GCC unroll 8
    for (int t = 0; t < TX; ++t) {
      const F xv = V::load(x + (i * TX + t) * kLanes);
#pragma GCC unroll 8
      for (int n = 0; n < TW; ++n) sum[t][n] = V::fma(xv, wv[n], sum[t][n]);
    }
  };
  int64_t step = args->num_steps;
  for (; step >= kStepsAtOnce; step -= kStepsAtOnce) {
#pragma GCC unroll 8
    for (int i = 0; i < kStepsAtOnce; ++i) {
      add_step(i);
    }
    x += kStepsAtOnce * TX * kLanes;
    w += kStepsAtOnce * TW * kLanes;
  }
  for (; kStepsAtOnce > 1 && step > 0; --step) {
    add_step(0);
    x += TX * kLanes;
    w += TW * kLanes;
  }
  const auto out = [args](int t, int n) { return args->sums + n * args->sums_stride + t; };
  constexpr int kFours = TX / 4 * 4;
#pragma GCC unroll 8
  for (int n = 0; n < TW; ++n) {
#pragma GCC unroll 2
    for (int t = 0; t < kFours; t += 4) {
      Four sums;
      V::reduce_add_4(sum[t][n], sum[t + 1][n], sum[t + 2][n], sum[t + 3][n], (float*)&sums);
      Four& to = *(Four*)out(t, n);
      to = args->accumulate ? to + sums : sums;
    }
  }
  // What is left of the rows of x: two with two rows of w, if they are two.
  constexpr int kLeft = TX - kFours;
  constexpr int kPairs = kLeft == 2 ? TW / 2 * 2 : 0;
  const auto put = [args](float v, float* to) { *to = args->accumulate ? *to + v : v; };
  constexpr int kFirst = kLeft == 2 ? kFours : 0;  // of the two
  constexpr int kNext = kLeft == 2 ? kFours + 1 : 0;
#pragma GCC unroll 8
  for (int n = 0; n < kPairs; n += 2) {
    float sums[4];
    V::reduce_add_4(sum[kFirst][n], sum[kNext][n], sum[kFirst][n + 1], sum[kNext][n + 1], sums);
    for (int i = 0; i < 4; ++i) put(sums[i], out(kFirst + i % 2, n + i / 2));
  }
  if constexpr (kLeft > 0) {
#pragma GCC unroll 8
    for (int n = kPairs; n < TW; ++n) {
      const F none = V::zero();
      float sums[4];
      V::reduce_add_4(sum[TX - kLeft][n], kLeft > 1 ? sum[TX - kLeft + 1][n] : none,
                      kLeft > 2 ? sum[TX - 1][n] : none, none, sums);
      for (int i = 0; i < kLeft; ++i) put(sums[i], out(kFours + i, n));
    }
  }
}

template <class V, int TX, int TW>
void tile_up_to(const FloatTileArgs* args) {
  if constexpr (TX > 1) {
    if (args->num_x < TX) return tile_up_to<V, TX - 1, TW>(args);
  }
  tile_product<V, TX, TW>(args);
}

template <class V>
void pack_x(const float* const* rows, int64_t num_rows, int64_t cols, float* out) {
  const int64_t whole = cols / V::kLanes;
  for (int64_t r = 0; r < num_rows; ++r) {
    float* to = out + r * V::kLanes;
    for (int64_t i = 0; i < whole; ++i) {
      V::store(to + i * num_rows * V::kLanes, V::load(rows[r] + i * V::kLanes));
    }
    const int64_t rest = cols - whole * V::kLanes;
    if (rest > 0) {
      V::store(to + whole * num_rows * V::kLanes,
               load_last<V, StoredF32<V>>(rows[r] + whole * V::kLanes, rest));
    }
  }
}

template <class V, class S, int TW>
void pack_w(const void* const* rows, int64_t num_rows, int64_t columns, float* out) {
  using Element = typename S::Element;
  const int64_t whole = columns / V::kLanes;
  const int64_t rest = columns - whole * V::kLanes;
  const int64_t steps = whole + (rest > 0 ? 1 : 0);
  for (int64_t r = 0; r < TW; ++r) {
    float* to = out + r * V::kLanes;
    if (r >= num_rows) {
      for (int64_t i = 0; i < steps; ++i) V::store(to + i * TW * V::kLanes, V::zero());
      continue;
    }
    const auto* row = (const Element*)rows[r];
    for (int64_t i = 0; i < whole; ++i) {
      V::store(to + i * TW * V::kLanes, S::load(row + i * V::kLanes));
    }
    if (rest > 0) {
      V::store(to + whole * TW * V::kLanes, load_last<V, S>(row + whole * V::kLanes, rest));
    }
  }
}

// R rows at once: R independent chains hide the latency of the multiply-add. Rows are about a page
// long, where the hardware's prefetchers stop, so the rows after these are fetched meanwhile
// (measured with rows of 4 KB, four at once: 100% of the read bandwidth; 87% without; a distance of
// 1 KB within the row gives 68%).
template <class V, class S, int R>
inline void stream_rows(const void* const* rows, const void* const* next, const float* x,
                        int64_t cols, float* y) {
  using F = typename V::F;
  using Element = typename S::Element;
  for (int64_t begin = 0; begin < cols; begin += kFloatBlock) {
    const int64_t end = begin + kFloatBlock < cols ? begin + kFloatBlock : cols;
    const Element* w[R];
    const Element* ahead[R];
    F sum[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      w[r] = (const Element*)rows[r];
      ahead[r] = (const Element*)next[r];
      sum[r] = V::zero();
    }
    int64_t k = begin;
    for (; k + 2 * V::kLanes <= end; k += 2 * V::kLanes) {
      const F x0 = V::load(x + k);
      const F x1 = V::load(x + k + V::kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        __builtin_prefetch(ahead[r] + k, 0, 2);
        sum[r] = V::fma(x0, S::load(w[r] + k), sum[r]);
        sum[r] = V::fma(x1, S::load(w[r] + k + V::kLanes), sum[r]);
      }
    }
    if (k + V::kLanes <= end) {
      const F x0 = V::load(x + k);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sum[r] = V::fma(x0, S::load(w[r] + k), sum[r]);
      k += V::kLanes;
    }
    if (k < end) {
      const F x0 = V::load(x + k);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        sum[r] = V::fma(x0, load_last<V, S>(w[r] + k, end - k), sum[r]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const float block = V::reduce_add(sum[r]);
      y[r] = begin == 0 ? block : y[r] + block;
    }
  }
}

template <class V, class S>
void rows_product(const FloatRowsArgs* args) {
  int64_t i = 0;
  for (; i + 4 <= args->num_rows; i += 4) {
    const void* const* rows = args->rows + i;
    const void* const* next = i + 8 <= args->num_rows ? rows + 4 : rows;
    stream_rows<V, S, 4>(rows, next, args->x, args->cols, args->y + i);
  }
  for (; i < args->num_rows; ++i) {
    stream_rows<V, S, 1>(args->rows + i, args->rows + i, args->x, args->cols, args->y + i);
  }
}

// Kernels of kVectors vectors of y, which stay in registers while the rows of b pass.
template <class V, class S, int kVectors>
inline void add_rows_to(const FloatAddRowsArgs* args, int64_t n) {
  typename V::F sum[kVectors];
  const auto* b = (const typename S::Element*)args->b + n;
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) sum[i] = V::load(args->y + n + i * V::kLanes);
  for (int64_t j = 0; j < args->num_rows; ++j, b += args->stride) {
    const auto scale = V::set1(args->scales[j]);
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) sum[i] = V::fma(S::load(b + i * V::kLanes), scale, sum[i]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) V::store(args->y + n + i * V::kLanes, sum[i]);
}

template <class V, class S>
void add_rows(const FloatAddRowsArgs* args) {
  int64_t n = 0;
  for (; n + 4 * V::kLanes <= args->cols; n += 4 * V::kLanes) add_rows_to<V, S, 4>(args, n);
  for (; n + V::kLanes <= args->cols; n += V::kLanes) add_rows_to<V, S, 1>(args, n);
  const int rest = (int)(args->cols - n);
  if (rest == 0) return;
  auto sum = V::load_first(args->y + n, rest);
  const auto* b = (const typename S::Element*)args->b + n;
  for (int64_t j = 0; j < args->num_rows; ++j, b += args->stride) {
    sum = V::fma(load_last<V, S>(b, rest), V::set1(args->scales[j]), sum);
  }
  V::store_first(args->y + n, sum, rest);
}

template <class V, int TX, int TW>
constexpr FloatDotKernel make_float_dot() {
  static_assert(TX <= kMaxTileX && TW <= kMaxTileW && kFloatBlock % V::kLanes == 0);
  return {V::kLanes,
          TX,
          TW,
          tile_up_to<V, TX, TW>,
          pack_x<V>,
          pack_w<V, StoredF32<V>, TW>,
          pack_w<V, StoredBf16<V>, TW>,
          pack_w<V, StoredF16<V>, TW>,
          rows_product<V, StoredF32<V>>,
          rows_product<V, StoredBf16<V>>,
          rows_product<V, StoredF16<V>>,
          add_rows<V, StoredF32<V>>,
          add_rows<V, StoredBf16<V>>};
}

}  // namespace
}  // namespace ruvllm::kernels
