// The sums along rows of quantizer.h.
#pragma once

#include <stddef.h>

#include "kernels/quantizer/quantizer.h"
#include "kernels/quantizer/quantizer_columns_impl.h"
#include "kernels/quantizer/quantizer_lanes.h"

namespace ruvllm::kernels {
namespace {

// dot() keeps two vectors of eight sums: one of the first eight terms of each 16, one of the
// others. F: Lanes, and there are two of them, or a vector of 16 that is both.
template <class F>
constexpr int kDotVectors = 16 / kWidth<F>;

// The sum of both.
inline void both_sums(const Lanes (&v)[2], Lanes& sum) {
  sum = v[0] + v[1];
}
#ifdef __AVX512F__
inline void both_sums(const Lanes16 (&v)[1], Lanes& sum) {
  Lanes lower, upper;
  halves(v[0], lower, upper);
  sum = lower + upper;
}
#endif

template <class F>
double dot(const float* a, const float* b, int64_t count) {
  constexpr int kVectors = kDotVectors<F>;
  F v[kVectors] = {};
  int64_t k = 0;
  for (; k + 16 <= count; k += 16) {
#pragma GCC unroll 2
    for (int i = 0; i < kVectors; ++i) {
      v[i] += vec<F>(a + k + i * kWidth<F>) * vec<F>(b + k + i * kWidth<F>);
    }
  }
  Lanes sum;
  both_sums(v, sum);
  for (; k < count; ++k) sum[k % 8] += a[k] * b[k];
  double total = 0.0;
  for (int i = 0; i < 8; ++i) total += double{sum[i]};
  return total;
}

// Of four rows the sums of their lanes, lane after lane.
inline void lane_sums(const Lanes (&rows)[4], WideLanes& sums) {
  const Lanes a = __builtin_shufflevector(rows[0], rows[1], 0, 8, 1, 9, 4, 12, 5, 13);
  const Lanes b = __builtin_shufflevector(rows[2], rows[3], 0, 8, 1, 9, 4, 12, 5, 13);
  const Lanes c = __builtin_shufflevector(rows[0], rows[1], 2, 10, 3, 11, 6, 14, 7, 15);
  const Lanes d = __builtin_shufflevector(rows[2], rows[3], 2, 10, 3, 11, 6, 14, 7, 15);
  // Each: one lane of the four rows, and the lane four after it.
  const Lanes turned[4] = {__builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13),
                           __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15),
                           __builtin_shufflevector(c, d, 0, 1, 8, 9, 4, 5, 12, 13),
                           __builtin_shufflevector(c, d, 2, 3, 10, 11, 6, 7, 14, 15)};
  WideLanes wide;
  sums = WideLanes{};
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    widen(__builtin_shufflevector(turned[i], turned[i], 0, 1, 2, 3), wide);
    sums += wide;
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    widen(__builtin_shufflevector(turned[i], turned[i], 4, 5, 6, 7), wide);
    sums += wide;
  }
}

constexpr int64_t kDotRows = 64;    // of b, so that the sums of them all fit a cache
constexpr int64_t kDotGroup = 8;    // rows of a
constexpr int64_t kDotCount = 384;  // terms of a piece: its rows of a, and four of b, fit a cache
// Rows of a in memory: with a power of two they would meet in a few places of a cache.
constexpr int64_t kDotStride = kDotCount + 16;
// Rows of a, with four of b, whose sums fit the registers.
template <class F>
constexpr int kDotTile = kWidth<F> == 16 ? 4 : 2;

template <class F>
struct DotSums {
  F v[kDotVectors<F>][kDotTile<F>][4];
};

// Goes on with one vector of sums, of `count` terms, a multiple of 16.
template <class F>
inline void add_dots(const float* a, const float* b, int64_t b_stride, int64_t count,
                     F (&sums)[kDotTile<F>][4]) {
  constexpr int kTile = kDotTile<F>;
  F v[kTile][4];
#pragma GCC unroll 4
  for (int i = 0; i < kTile; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) v[i][j] = sums[i][j];
  }
  for (int64_t k = 0; k < count; k += 16) {
    F left[kTile];
#pragma GCC unroll 4
    for (int i = 0; i < kTile; ++i) left[i] = vec<F>(a + i * kDotStride + k);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const F row = vec<F>(b + j * b_stride + k);
#pragma GCC unroll 4
      for (int i = 0; i < kTile; ++i) v[i][j] += left[i] * row;
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kTile; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) sums[i][j] = v[i][j];
  }
}

// What dot() makes of the sums of row i of a tile with four rows of b, and of the terms from
// `whole` on.
template <class F>
inline void end_of_dots(const DotSums<F>& tile, int64_t i, const float* a, const float* b,
                        int64_t b_stride, int64_t whole, int64_t count, double* out) {
  Lanes sums[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    F v[kDotVectors<F>];
    for (int part = 0; part < kDotVectors<F>; ++part) v[part] = tile.v[part][i][j];
    both_sums(v, sums[j]);
  }
  if (whole < count) {
    for (int j = 0; j < 4; ++j) {
      Lanes sum = sums[j];
      for (int64_t k = whole; k < count; ++k) sum[k % 8] += a[k] * b[j * b_stride + k];
      sums[j] = sum;
    }
  }
  lane_sums(sums, *reinterpret_cast<WideLanes*>(out));
}

// At most kDotGroup rows of a, whole tiles, with at most kDotRows of b, a multiple of four.
template <class F>
inline void tiled_dots(const float* a, int64_t a_stride, int64_t num_a, const float* b,
                       int64_t b_stride, int64_t num_b, int64_t count, double* out,
                       int64_t out_stride) {
  constexpr int kTile = kDotTile<F>;
  constexpr int64_t kAhead = 4 * kTile / kDotGroup;  // of the next rows of b, with each tile
  DotSums<F> sums[kDotRows / 4][kDotGroup / kTile] = {};
  alignas(64) float packed[kDotGroup * kDotStride];
  const int64_t whole = count / 16 * 16;
  for (int64_t k = 0; k < whole; k += kDotCount) {
    const int64_t some = whole - k < kDotCount ? whole - k : kDotCount;
    for (int64_t i = 0; i < num_a; ++i) {
      __builtin_memcpy(packed + i * kDotStride, a + i * a_stride + k, (size_t)some * sizeof(float));
    }
    for (int64_t j = 0; j < num_b; j += 4) {
      const float* const rows = b + j * b_stride + k;
      const float* const next = j + 4 < num_b ? rows + 4 * b_stride : rows;
      for (int64_t i = 0; i < num_a; i += kTile) {
        for (int64_t row = 0; row < kAhead; ++row) {
          const float* const ahead = next + (i / kTile * kAhead + row) * b_stride;
          for (int64_t at = 0; at < some; at += 16) __builtin_prefetch(ahead + at, 0, 2);
        }
        DotSums<F>& tile = sums[j / 4][i / kTile];
#pragma GCC unroll 2
        for (int part = 0; part < kDotVectors<F>; ++part) {
          const int64_t at = part * kWidth<F>;
          add_dots<F>(packed + i * kDotStride + at, rows + at, b_stride, some, tile.v[part]);
        }
      }
    }
  }
  for (int64_t i = 0; i < num_a; ++i) {
    for (int64_t j = 0; j < num_b; j += 4) {
      end_of_dots(sums[j / 4][i / kTile], i % kTile, a + i * a_stride, b + j * b_stride, b_stride,
                  whole, count, out + i * out_stride + j);
    }
  }
}

template <class F>
void dots(const float* a, int64_t a_stride, int64_t num_a, const float* b, int64_t b_stride,
          int64_t num_b, int64_t count, double* out) {
  const int64_t tiled_a = num_a / kDotTile<F> * kDotTile<F>, tiled_b = num_b / 4 * 4;
  for (int64_t i = 0; i < tiled_a; i += kDotGroup) {
    const int64_t some_a = tiled_a - i < kDotGroup ? tiled_a - i : kDotGroup;
    for (int64_t j = 0; j < tiled_b; j += kDotRows) {
      const int64_t some_b = tiled_b - j < kDotRows ? tiled_b - j : kDotRows;
      tiled_dots<F>(a + i * a_stride, a_stride, some_a, b + j * b_stride, b_stride, some_b, count,
                    out + i * num_b + j, num_b);
    }
  }
  for (int64_t i = 0; i < num_a; ++i) {
    for (int64_t j = i < tiled_a ? tiled_b : 0; j < num_b; ++j) {
      out[i * num_b + j] = dot<F>(a + i * a_stride, b + j * b_stride, count);
    }
  }
}

// dot() of four rows with v.
template <class F>
inline void four_dots(const float* h, int64_t stride, const float* v, int64_t count,
                      WideLanes& dots) {
  constexpr int kVectors = kDotVectors<F>;
  F parts[4][kVectors] = {};
  Lanes sums[4];
  int64_t k = 0;
  for (; k + 16 <= count; k += 16) {
    F of_v[kVectors];
#pragma GCC unroll 2
    for (int i = 0; i < kVectors; ++i) of_v[i] = vec<F>(v + k + i * kWidth<F>);
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const float* const row = h + r * stride + k;
#pragma GCC unroll 2
      for (int i = 0; i < kVectors; ++i) parts[r][i] += vec<F>(row + i * kWidth<F>) * of_v[i];
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) both_sums(parts[r], sums[r]);
  if (k < count) {
    for (int r = 0; r < 4; ++r) {
      Lanes sum = sums[r];
      for (int64_t at = k; at < count; ++at) sum[at % 8] += h[r * stride + at] * v[at];
      sums[r] = sum;
    }
  }
  lane_sums(sums, dots);
}

template <class F>
double quadratic_form(const float* h, int64_t stride, const float* v, int64_t count) {
  double total = 0.0;
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    WideLanes dots;
    four_dots<F>(h + i * stride, stride, v, count, dots);
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) total += double{v[i + r]} * dots[r];
  }
  for (; i < count; ++i) total += double{v[i]} * dot<F>(h + i * stride, v, count);
  return total;
}

}  // namespace
}  // namespace ruvllm::kernels
