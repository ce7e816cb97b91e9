// The sums of quantizer.h that run down columns: no number meets its neighbours, so that they are
// the same in vectors of any width. F: a vector of f32, D: one of f64 in as wide a register.
#pragma once

#include <stddef.h>

#include "kernels/quantizer/quantizer.h"
#include "kernels/quantizer/quantizer_lanes.h"

namespace ruvllm::kernels {
namespace {

template <class F>
inline const F& vec(const float* p) {
  return *reinterpret_cast<const F*>(p);
}
template <class F>
inline F& vec(float* p) {
  return *reinterpret_cast<F*>(p);
}
template <class F>
constexpr int kWidth = sizeof(F) / sizeof(float);
template <class F>
constexpr int kStripVectors = kStripWidth / kWidth<F>;

// kVectors vectors of y.
template <class F, int kVectors>
inline void subtract_from(float* y, const float* e, const float* rows, int64_t stride,
                          int64_t num_terms) {
  F v[kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kVectors; ++i) v[i] = vec<F>(y + i * kWidth<F>);
  for (int64_t j = 0; j < num_terms; ++j) {
    const float* const row = rows + j * stride;
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) subtract_product(vec<F>(row + i * kWidth<F>), e[j], v[i]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < kVectors; ++i) vec<F>(y + i * kWidth<F>) = v[i];
}

// As many vectors at once as hide how long a subtraction takes.
template <class F>
void subtract_rows(float* y, int64_t count, const float* e, const float* rows, int64_t stride,
                   int64_t num_terms) {
  constexpr int kMany = 8 * kWidth<F>, kFew = 2 * kWidth<F>, kLanes = sizeof(Lanes) / sizeof(float);
  int64_t k = 0;
  for (; k + kMany <= count; k += kMany) {
    subtract_from<F, 8>(y + k, e, rows + k, stride, num_terms);
  }
  for (; k + kFew <= count; k += kFew) {
    subtract_from<F, 2>(y + k, e, rows + k, stride, num_terms);
  }
  for (; k < count; k += kLanes) {
    const int64_t part = count - k < kLanes ? count - k : kLanes;
    Lanes v = {}, row = {};
    for (int64_t i = 0; i < part; ++i) v[i] = y[k + i];
    for (int64_t j = 0; j < num_terms; ++j) {
      for (int64_t i = 0; i < part; ++i) row[i] = rows[j * stride + k + i];
      subtract_product(row, e[j], v);
    }
    for (int64_t i = 0; i < part; ++i) y[k + i] = v[i];
  }
}

// As long as both rows have terms they go together: neither waits for its own last subtraction.
template <class F>
void subtract_terms(const RowTerms& first, const RowTerms& second, const float* strip) {
  constexpr int kVectors = kStripVectors<F>;
  const int64_t both = first.num_terms < second.num_terms ? first.num_terms : second.num_terms;
  F v[2][kVectors];
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) {
    v[0][i] = vec<F>(first.y + i * kWidth<F>);
    v[1][i] = vec<F>(second.y + i * kWidth<F>);
  }
  for (int64_t j = 0; j < both; ++j) {
    const float* const a = strip + first.index[j] * kStripWidth;
    const float* const b = strip + second.index[j] * kStripWidth;
    const float to_a = first.e[j], to_b = second.e[j];
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      subtract_product(vec<F>(a + i * kWidth<F>), to_a, v[0][i]);
      subtract_product(vec<F>(b + i * kWidth<F>), to_b, v[1][i]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) {
    vec<F>(first.y + i * kWidth<F>) = v[0][i];
    vec<F>(second.y + i * kWidth<F>) = v[1][i];
  }
  const RowTerms& longer = first.num_terms > both ? first : second;
  F rest[kVectors];
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) rest[i] = vec<F>(longer.y + i * kWidth<F>);
  for (int64_t j = both; j < longer.num_terms; ++j) {
    const float* const term = strip + longer.index[j] * kStripWidth;
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      subtract_product(vec<F>(term + i * kWidth<F>), longer.e[j], rest[i]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) vec<F>(longer.y + i * kWidth<F>) = rest[i];
}

// kVectors vectors of columns at a time.
template <class F, int kVectors>
void subtract_all_terms(float* y, int64_t stride, const float* e, int64_t num_terms,
                        const float* strip) {
  for (int64_t part = 0; part < kStripWidth; part += kVectors * kWidth<F>) {
    F v[kTermRows][kVectors];
#pragma GCC unroll 4
    for (int r = 0; r < kTermRows; ++r) {
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i) v[r][i] = vec<F>(y + r * stride + part + i * kWidth<F>);
    }
    for (int64_t j = 0; j < num_terms; ++j) {
      F row[kVectors];
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i) {
        row[i] = vec<F>(strip + j * kStripWidth + part + i * kWidth<F>);
      }
      const float* factors = e + j * kTermRows;
#pragma GCC unroll 4
      for (int r = 0; r < kTermRows; ++r) {
#pragma GCC unroll 4
        for (int i = 0; i < kVectors; ++i) subtract_product(row[i], factors[r], v[r][i]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kTermRows; ++r) {
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i) vec<F>(y + r * stride + part + i * kWidth<F>) = v[r][i];
    }
  }
}

// kRows rows by kVectors vectors of columns of left^T right.
template <class F, int kRows, int kVectors>
inline void add_products_tile(double* out, const float* left, const float* right,
                              int64_t num_terms) {
  F v[kRows][kVectors] = {};
  for (int64_t t = 0; t < num_terms; ++t) {
    F row[kVectors];
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) row[i] = vec<F>(right + t * kStripWidth + i * kWidth<F>);
    const float* factors = left + t * kStripWidth;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i) add_product(row[i], factors[r], v[r][i]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) add_lanes(v[r][i], out + r * kStripWidth + i * kWidth<F>);
  }
}

template <class F, int kRows, int kVectors>
void add_products(double* out, const float* left, const float* right, int64_t num_terms) {
  for (int64_t begin = 0; begin < num_terms; begin += kProductTerms) {
    const int64_t terms = num_terms - begin < kProductTerms ? num_terms - begin : kProductTerms;
    const float* const l = left + begin * kStripWidth;
    const float* const r = right + begin * kStripWidth;
    for (int64_t i = 0; i < kStripWidth; i += kRows) {
      // A part of the next terms comes meanwhile.
      const int64_t next = kProductTerms + 2 * i;
      if (begin + next + 2 * kRows <= num_terms) {
        for (int64_t at = next * kStripWidth; at < (next + 2 * kRows) * kStripWidth; at += 16) {
          __builtin_prefetch(l + at);
          __builtin_prefetch(r + at);
        }
      }
      for (int64_t k = 0; k < kStripWidth; k += kVectors * kWidth<F>) {
        add_products_tile<F, kRows, kVectors>(out + i * kStripWidth + k, l + i, r + k, terms);
      }
    }
  }
}

// kRows rows by kVectors vectors of columns.
template <class D, int kRows, int kVectors>
inline void f64_products_tile(double* sums, const double* left, int64_t left_stride,
                              const double* right, int64_t num_terms) {
  constexpr int kColumns = sizeof(D) / sizeof(double);
  D v[kRows][kVectors] = {};
  for (int64_t t = 0; t < num_terms; ++t) {
    const double* const row = right + t * kF64Columns;
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      const double factor = left[i * left_stride + t];
#pragma GCC unroll 8
      for (int k = 0; k < kVectors; ++k) {
        fuse(*reinterpret_cast<const D*>(row + k * kColumns), factor, v[i][k]);
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int k = 0; k < kVectors; ++k) {
      *reinterpret_cast<D*>(sums + i * kF64Columns + k * kColumns) = v[i][k];
    }
  }
}

// Of several rows kVectors vectors of columns at a time. (Of one row every vector is read for one
// product: the second-level cache is what limits.)
template <class D, int kVectors>
void f64_products(double* sums, const double* left, int64_t left_stride, int64_t num_rows,
                  const double* right, int64_t num_terms) {
  constexpr int kColumns = sizeof(D) / sizeof(double);
  if (num_rows == 1) {
    return f64_products_tile<D, 1, kF64Columns / kColumns>(sums, left, left_stride, right,
                                                           num_terms);
  }
  for (int k = 0; k < kF64Columns; k += kColumns * kVectors) {
    f64_products_tile<D, kF64Rows, kVectors>(sums + k, left, left_stride, right + k, num_terms);
  }
}

}  // namespace
}  // namespace ruvllm::kernels
