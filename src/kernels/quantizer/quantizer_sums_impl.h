// The sums of quantizer.h.
#pragma once

#include <stddef.h>

#include "kernels/quantizer/quantizer.h"
#include "kernels/quantizer/quantizer_lanes.h"

namespace ruvllm::kernels {
namespace {

double dot(const float* a, const float* b, int64_t count) {
  Lanes first = {}, second = {};
  int64_t k = 0;
  for (; k + 16 <= count; k += 16) {
    first += lanes(a + k) * lanes(b + k);
    second += lanes(a + k + 8) * lanes(b + k + 8);
  }
  Lanes sum = first + second;
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
constexpr int64_t kDotPairs = 4;    // of rows of a
constexpr int64_t kDotCount = 384;  // terms of a piece: its rows of a, and four of b, fit a cache
// Rows of a in memory: with a power of two they would meet in a few places of a cache.
constexpr int64_t kDotStride = kDotCount + 16;

// The two vectors of sums that dot() has, of two rows of a with four of b.
struct DotSums {
  Lanes first[2][4], second[2][4];
};

// Goes on with one vector of sums: of `count` terms, a multiple of 16, the first eight of each 16.
inline void add_dots(const float* a, const float* b, int64_t b_stride, int64_t count,
                     Lanes (&sums)[2][4]) {
  Lanes v[2][4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    v[0][j] = sums[0][j];
    v[1][j] = sums[1][j];
  }
  for (int64_t k = 0; k < count; k += 16) {
    const Lanes a0 = lanes(a + k), a1 = lanes(a + kDotStride + k);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const Lanes row = lanes(b + j * b_stride + k);
      v[0][j] += a0 * row;
      v[1][j] += a1 * row;
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    sums[0][j] = v[0][j];
    sums[1][j] = v[1][j];
  }
}

// What dot() makes of the sums of a row of a with four of b, and of the terms from `whole` on.
inline void end_of_dots(const Lanes (&first)[4], const Lanes (&second)[4], const float* a,
                        const float* b, int64_t b_stride, int64_t whole, int64_t count,
                        double* out) {
  Lanes sums[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) sums[j] = first[j] + second[j];
  if (whole < count) {
    for (int j = 0; j < 4; ++j) {
      Lanes sum = sums[j];
      for (int64_t k = whole; k < count; ++k) sum[k % 8] += a[k] * b[j * b_stride + k];
      sums[j] = sum;
    }
  }
  lane_sums(sums, *reinterpret_cast<WideLanes*>(out));
}

// At most 2 kDotPairs rows of a, an even number, with at most kDotRows of b, a multiple of four.
inline void tiled_dots(const float* a, int64_t a_stride, int64_t num_a, const float* b,
                       int64_t b_stride, int64_t num_b, int64_t count, double* out,
                       int64_t out_stride) {
  DotSums sums[kDotRows / 4][kDotPairs] = {};
  alignas(64) float packed[2 * kDotPairs * kDotStride];
  const int64_t whole = count / 16 * 16;
  for (int64_t k = 0; k < whole; k += kDotCount) {
    const int64_t some = whole - k < kDotCount ? whole - k : kDotCount;
    for (int64_t i = 0; i < num_a; ++i) {
      __builtin_memcpy(packed + i * kDotStride, a + i * a_stride + k, (size_t)some * sizeof(float));
    }
    for (int64_t j = 0; j < num_b; j += 4) {
      const float* const rows = b + j * b_stride + k;
      const float* const next = j + 4 < num_b ? rows + 4 * b_stride : rows;
      for (int64_t i = 0; i < num_a; i += 2) {
        // The next rows of b come meanwhile.
        for (int64_t at = 0; at < some; at += 16) {
          __builtin_prefetch(next + i / 2 * b_stride + at, 0, 2);
        }
        DotSums& eight = sums[j / 4][i / 2];
        add_dots(packed + i * kDotStride, rows, b_stride, some, eight.first);
        add_dots(packed + i * kDotStride + 8, rows + 8, b_stride, some, eight.second);
      }
    }
  }
  for (int64_t i = 0; i < num_a; ++i) {
    for (int64_t j = 0; j < num_b; j += 4) {
      const DotSums& eight = sums[j / 4][i / 2];
      end_of_dots(eight.first[i % 2], eight.second[i % 2], a + i * a_stride, b + j * b_stride,
                  b_stride, whole, count, out + i * out_stride + j);
    }
  }
}

void dots(const float* a, int64_t a_stride, int64_t num_a, const float* b, int64_t b_stride,
          int64_t num_b, int64_t count, double* out) {
  const int64_t tiled_a = num_a / 2 * 2, tiled_b = num_b / 4 * 4;
  for (int64_t i = 0; i < tiled_a; i += 2 * kDotPairs) {
    const int64_t some_a = tiled_a - i < 2 * kDotPairs ? tiled_a - i : 2 * kDotPairs;
    for (int64_t j = 0; j < tiled_b; j += kDotRows) {
      const int64_t some_b = tiled_b - j < kDotRows ? tiled_b - j : kDotRows;
      tiled_dots(a + i * a_stride, a_stride, some_a, b + j * b_stride, b_stride, some_b, count,
                 out + i * num_b + j, num_b);
    }
  }
  for (int64_t i = 0; i < num_a; ++i) {
    for (int64_t j = i < tiled_a ? tiled_b : 0; j < num_b; ++j) {
      out[i * num_b + j] = dot(a + i * a_stride, b + j * b_stride, count);
    }
  }
}

// dot() of four rows with v.
inline void four_dots(const float* h, int64_t stride, const float* v, int64_t count,
                      WideLanes& dots) {
  Lanes first[4] = {}, second[4] = {}, sums[4];
  int64_t k = 0;
  for (; k + 16 <= count; k += 16) {
    const Lanes v0 = lanes(v + k), v1 = lanes(v + k + 8);
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      first[r] += lanes(h + r * stride + k) * v0;
      second[r] += lanes(h + r * stride + k + 8) * v1;
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) sums[r] = first[r] + second[r];
  if (k < count) {
    for (int r = 0; r < 4; ++r) {
      Lanes sum = sums[r];
      for (int64_t at = k; at < count; ++at) sum[at % 8] += h[r * stride + at] * v[at];
      sums[r] = sum;
    }
  }
  lane_sums(sums, dots);
}

double quadratic_form(const float* h, int64_t stride, const float* v, int64_t count) {
  double total = 0.0;
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    WideLanes dots;
    four_dots(h + i * stride, stride, v, count, dots);
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) total += double{v[i + r]} * dots[r];
  }
  for (; i < count; ++i) total += double{v[i]} * dot(h + i * stride, v, count);
  return total;
}

void subtract_rows(float* y, int64_t count, const float* e, const float* rows, int64_t stride,
                   int64_t num_terms) {
  int64_t k = 0;
  for (; k + 32 <= count; k += 32) {
    Lanes v0 = lanes(y + k), v1 = lanes(y + k + 8), v2 = lanes(y + k + 16), v3 = lanes(y + k + 24);
    for (int64_t j = 0; j < num_terms; ++j) {
      const float* row = rows + j * stride + k;
      v0 -= lanes(row) * e[j];
      v1 -= lanes(row + 8) * e[j];
      v2 -= lanes(row + 16) * e[j];
      v3 -= lanes(row + 24) * e[j];
    }
    lanes(y + k) = v0;
    lanes(y + k + 8) = v1;
    lanes(y + k + 16) = v2;
    lanes(y + k + 24) = v3;
  }
  for (; k < count; ++k) {
    for (int64_t j = 0; j < num_terms; ++j) y[k] -= rows[j * stride + k] * e[j];
  }
}

// The terms from `done` on.
inline void subtract_row_terms(const RowTerms& row, int64_t done, const float* strip) {
  float* const y = row.y;
  Lanes v0 = lanes(y), v1 = lanes(y + 8), v2 = lanes(y + 16), v3 = lanes(y + 24);
  for (int64_t j = done; j < row.num_terms; ++j) {
    const float* term = strip + row.index[j] * kStripWidth;
    v0 -= lanes(term) * row.e[j];
    v1 -= lanes(term + 8) * row.e[j];
    v2 -= lanes(term + 16) * row.e[j];
    v3 -= lanes(term + 24) * row.e[j];
  }
  lanes(y) = v0;
  lanes(y + 8) = v1;
  lanes(y + 16) = v2;
  lanes(y + 24) = v3;
}

// As long as both rows have terms they go together: neither waits for its own last subtraction.
void subtract_terms(const RowTerms& first, const RowTerms& second, const float* strip) {
  const int64_t both = first.num_terms < second.num_terms ? first.num_terms : second.num_terms;
  Lanes v[2][4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    v[0][i] = lanes(first.y + 8 * i);
    v[1][i] = lanes(second.y + 8 * i);
  }
  for (int64_t j = 0; j < both; ++j) {
    const float* const a = strip + first.index[j] * kStripWidth;
    const float* const b = strip + second.index[j] * kStripWidth;
    const float to_a = first.e[j], to_b = second.e[j];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      v[0][i] -= lanes(a + 8 * i) * to_a;
      v[1][i] -= lanes(b + 8 * i) * to_b;
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    lanes(first.y + 8 * i) = v[0][i];
    lanes(second.y + 8 * i) = v[1][i];
  }
  subtract_row_terms(first.num_terms > both ? first : second, both, strip);
}

void subtract_all_terms(float* y, int64_t stride, const float* e, int64_t num_terms,
                        const float* strip) {
  for (int64_t half = 0; half < kStripWidth; half += 16) {
    Lanes v[kTermRows][2];
#pragma GCC unroll 4
    for (int r = 0; r < kTermRows; ++r) {
      v[r][0] = lanes(y + r * stride + half);
      v[r][1] = lanes(y + r * stride + half + 8);
    }
    for (int64_t j = 0; j < num_terms; ++j) {
      const Lanes first = lanes(strip + j * kStripWidth + half);
      const Lanes second = lanes(strip + j * kStripWidth + half + 8);
      const float* factors = e + j * kTermRows;
#pragma GCC unroll 4
      for (int r = 0; r < kTermRows; ++r) {
        v[r][0] -= first * factors[r];
        v[r][1] -= second * factors[r];
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kTermRows; ++r) {
      lanes(y + r * stride + half) = v[r][0];
      lanes(y + r * stride + half + 8) = v[r][1];
    }
  }
}

// Four rows by sixteen columns of left^T right.
inline void add_products_tile(double* out, const float* left, const float* right,
                              int64_t num_terms) {
  Lanes v[4][2] = {};
  for (int64_t t = 0; t < num_terms; ++t) {
    const Lanes first = lanes(right + t * kStripWidth), second = lanes(right + t * kStripWidth + 8);
    const float* factors = left + t * kStripWidth;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      v[i][0] += first * factors[i];
      v[i][1] += second * factors[i];
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    auto* const to = reinterpret_cast<WideLanes*>(out + i * kStripWidth);
    add_lanes(v[i][0], to[0], to[1]);
    add_lanes(v[i][1], to[2], to[3]);
  }
}

void add_products(double* out, const float* left, const float* right, int64_t num_terms) {
  for (int64_t begin = 0; begin < num_terms; begin += kProductTerms) {
    const int64_t terms = num_terms - begin < kProductTerms ? num_terms - begin : kProductTerms;
    const float* const l = left + begin * kStripWidth;
    const float* const r = right + begin * kStripWidth;
    for (int64_t i = 0; i < kStripWidth; i += 4) {
      // A part of the next terms comes meanwhile.
      const int64_t next = (kProductTerms + 2 * i) * kStripWidth;
      if (begin + kProductTerms + 2 * i + 8 <= num_terms) {
        for (int64_t at = next; at < next + 8 * kStripWidth; at += 16) {
          __builtin_prefetch(l + at);
          __builtin_prefetch(r + at);
        }
      }
      for (int64_t k = 0; k < kStripWidth; k += 16) {
        add_products_tile(out + i * kStripWidth + k, l + i, r + k, terms);
      }
    }
  }
}

// kRows rows by kVectors vectors of columns.
template <int kRows, int kVectors>
inline void f64_products_tile(double* sums, const double* left, int64_t left_stride,
                              const double* right, int64_t num_terms) {
  WideLanes v[kRows][kVectors] = {};
  for (int64_t t = 0; t < num_terms; ++t) {
    const auto* const row = reinterpret_cast<const WideLanes*>(right + t * kF64Columns);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      const double factor = left[i * left_stride + t];
#pragma GCC unroll 4
      for (int k = 0; k < kVectors; ++k) v[i][k] += row[k] * factor;
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
    auto* const to = reinterpret_cast<WideLanes*>(sums + i * kF64Columns);
#pragma GCC unroll 4
    for (int k = 0; k < kVectors; ++k) to[k] = v[i][k];
  }
}

void f64_products(double* sums, const double* left, int64_t left_stride, int64_t num_rows,
                  const double* right, int64_t num_terms) {
  if (num_rows == 1) return f64_products_tile<1, 4>(sums, left, left_stride, right, num_terms);
  for (int k = 0; k < kF64Columns; k += 8) {
    f64_products_tile<kF64Rows, 2>(sums + k, left, left_stride, right + k, num_terms);
  }
}

}  // namespace
}  // namespace ruvllm::kernels
