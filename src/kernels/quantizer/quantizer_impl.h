// The loops of quantizer.h in the compilers' own vector notation, eight lanes: one 256-bit register
// or two of 128, whichever the including file's flags allow. In an unnamed namespace: each
// instruction set's file gets its own copies. (Vectors are passed by reference: by value they have
// another ABI where registers are narrower.)
#pragma once

#include <stddef.h>

#include "kernels/quantizer/quantizer.h"

namespace ruvllm::kernels {
namespace {

using Lanes = float __attribute__((vector_size(32), aligned(4)));
using IntLanes = int32_t __attribute__((vector_size(32), aligned(4)));
using AllBytes = uint8_t __attribute__((vector_size(32)));
using ByteLanes = uint8_t __attribute__((vector_size(8), aligned(1)));
using HalfLanes = float __attribute__((vector_size(16)));
using UnalignedHalf = float __attribute__((vector_size(16), aligned(4)));
using WideLanes = double __attribute__((vector_size(32), aligned(8)));

// x + kShift - kShift is the nearest whole number, ties to even, of |x| < 2^22.
constexpr float kShift = 0x1.8p23f;

inline const Lanes& lanes(const float* p) {
  return *reinterpret_cast<const Lanes*>(p);
}
inline Lanes& lanes(float* p) {
  return *reinterpret_cast<Lanes*>(p);
}

inline float clamp(float x, float low, float high) {
  x = x < low ? low : x;
  return high < x ? high : x;
}

// x becomes the whole number between low and high that is nearest to it.
inline void round_between(Lanes& x, const Lanes& low, const Lanes& high) {
  x = x > low ? x : low;
  x = x < high ? x : high;
  x = x + kShift - kShift;
}

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

void subtract_terms(float* y, const float* e, const uint8_t* index, int64_t num_terms,
                    const float* strip) {
  Lanes v0 = lanes(y), v1 = lanes(y + 8), v2 = lanes(y + 16), v3 = lanes(y + 24);
  for (int64_t j = 0; j < num_terms; ++j) {
    const float* row = strip + index[j] * kStripWidth;
    v0 -= lanes(row) * e[j];
    v1 -= lanes(row + 8) * e[j];
    v2 -= lanes(row + 16) * e[j];
    v3 -= lanes(row + 24) * e[j];
  }
  lanes(y) = v0;
  lanes(y + 8) = v1;
  lanes(y + 16) = v2;
  lanes(y + 24) = v3;
}

void subtract_all_terms(float* const* y, const float* e, int64_t num_terms, const float* strip) {
  for (int64_t half = 0; half < kStripWidth; half += 16) {
    Lanes v[kTermRows][2];
#pragma GCC unroll 4
    for (int r = 0; r < kTermRows; ++r) {
      v[r][0] = lanes(y[r] + half);
      v[r][1] = lanes(y[r] + half + 8);
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
      lanes(y[r] + half) = v[r][0];
      lanes(y[r] + half + 8) = v[r][1];
    }
  }
}

// Four rows by sixteen columns of left^T right, both packed and filled up with zeros.
inline void products_tile(const float* left, const float* right, int64_t num_terms, float* sums) {
  Lanes v[4][2] = {};
  for (int64_t t = 0; t < num_terms; ++t) {
    const Lanes first = lanes(right + t * kStripWidth), second = lanes(right + t * kStripWidth + 8);
    const float* factors = left + t * kMostProductRows;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      v[i][0] += first * factors[i];
      v[i][1] += second * factors[i];
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    lanes(sums + i * 16) = v[i][0];
    lanes(sums + i * 16 + 8) = v[i][1];
  }
}

// Adds count <= 16 numbers.
inline void add_in_f64(double* to, const float* v, int64_t count) {
  if (count == 16) {
#pragma GCC unroll 4
    for (int j = 0; j < 16; j += 4) {
      const HalfLanes four = *reinterpret_cast<const UnalignedHalf*>(v + j);
      *reinterpret_cast<WideLanes*>(to + j) += __builtin_convertvector(four, WideLanes);
    }
    return;
  }
  for (int64_t j = 0; j < count; ++j) to[j] += double{v[j]};
}

void add_products(double* out, int64_t out_stride, int64_t num_rows, int64_t count,
                  const float* left, const float* right, int64_t stride, int64_t num_terms) {
  float packed_left[kMostProductTerms * kMostProductRows];
  float packed_right[kMostProductTerms * kStripWidth];
  const int64_t rows = (num_rows + 3) / 4 * 4;
  for (int64_t t = 0; t < num_terms; ++t) {
    float* to = packed_left + t * kMostProductRows;
    __builtin_memcpy(to, left + t * stride, (size_t)num_rows * sizeof(float));
    for (int64_t i = num_rows; i < rows; ++i) to[i] = 0.0f;
  }
  for (int64_t k = 0; k < count; k += kStripWidth) {
    const int64_t width = count - k < kStripWidth ? count - k : kStripWidth;
    for (int64_t t = 0; t < num_terms; ++t) {
      float* to = packed_right + t * kStripWidth;
      __builtin_memcpy(to, right + t * stride + k, (size_t)width * sizeof(float));
      for (int64_t i = width; i < kStripWidth; ++i) to[i] = 0.0f;
    }
    for (int64_t first = 0; first < num_rows; first += 4) {
      // Meanwhile the next columns come, from rows far from each other.
      for (int64_t t = first; t < first + 4 && t < num_terms && k + kStripWidth < count; ++t) {
        const float* next = right + t * stride + k + kStripWidth;
        __builtin_prefetch(next);
        __builtin_prefetch(next + 16);
        __builtin_prefetch(next + 31);
      }
      for (int64_t half = 0; half < width; half += 16) {
        // What the next rows' sums are added to comes from the second-level cache meanwhile.
        for (int64_t i = first + 4; i < first + 8 && i < num_rows; ++i) {
          __builtin_prefetch(out + i * out_stride + k + half, 1);
          __builtin_prefetch(out + i * out_stride + k + half + 8, 1);
        }
        float sums[64];
        products_tile(packed_left + first, packed_right + half, num_terms, sums);
        const int64_t columns = width - half < 16 ? width - half : 16;
        for (int64_t i = 0; i < 4 && first + i < num_rows; ++i) {
          add_in_f64(out + (first + i) * out_stride + k + half, sums + i * 16, columns);
        }
      }
    }
  }
}

void round_to_grid(float* v, int64_t count, float scale, float lowest, float highest) {
  const Lanes low = Lanes{} + lowest, high = Lanes{} + highest;
  int64_t k = 0;
  for (; k + 8 <= count; k += 8) {
    Lanes x = lanes(v + k) / scale;
    round_between(x, low, high);
    lanes(v + k) = x * scale;
  }
  for (; k < count; ++k) {
    v[k] = (clamp(v[k] / scale, lowest, highest) + kShift - kShift) * scale;
  }
}

void encode(const float* w, int64_t count, float scale, int32_t zero, int32_t max_code,
            uint8_t* codes) {
  const auto lowest = static_cast<float>(-zero), highest = static_cast<float>(max_code - zero);
  const Lanes low = Lanes{} + lowest, high = Lanes{} + highest;
  int64_t k = 0;
  for (; k + 8 <= count; k += 8) {
    Lanes x = lanes(w + k) / scale;
    round_between(x, low, high);
    const IntLanes code = __builtin_convertvector(x, IntLanes) + zero;
    const auto bytes = (AllBytes)code;  // little endian: the lowest byte of each lane is the code
    const ByteLanes low_bytes = __builtin_shufflevector(bytes, bytes, 0, 4, 8, 12, 16, 20, 24, 28);
    *reinterpret_cast<ByteLanes*>(codes + k) = low_bytes;
  }
  for (; k < count; ++k) {
    const float x = clamp(w[k] / scale, lowest, highest) + kShift - kShift;
    codes[k] = static_cast<uint8_t>(static_cast<int32_t>(x) + zero);
  }
}

inline void keep_less(Lanes& a, const Lanes& b) {
  a = b < a ? b : a;
}
inline void keep_greater(Lanes& a, const Lanes& b) {
  a = b > a ? b : a;
}

ValueRange range_of(const float* v, int64_t count) {
  Lanes low = {}, high = {};
  int64_t k = 0;
  for (; k + 8 <= count; k += 8) {
    keep_less(low, lanes(v + k));
    keep_greater(high, lanes(v + k));
  }
  keep_less(low, __builtin_shufflevector(low, low, 4, 5, 6, 7, 0, 1, 2, 3));
  keep_greater(high, __builtin_shufflevector(high, high, 4, 5, 6, 7, 0, 1, 2, 3));
  keep_less(low, __builtin_shufflevector(low, low, 2, 3, 0, 1, 6, 7, 4, 5));
  keep_greater(high, __builtin_shufflevector(high, high, 2, 3, 0, 1, 6, 7, 4, 5));
  keep_less(low, __builtin_shufflevector(low, low, 1, 0, 3, 2, 5, 4, 7, 6));
  keep_greater(high, __builtin_shufflevector(high, high, 1, 0, 3, 2, 5, 4, 7, 6));
  ValueRange range = {low[0], high[0]};
  for (; k < count; ++k) {
    range.lo = v[k] < range.lo ? v[k] : range.lo;
    range.hi = v[k] > range.hi ? v[k] : range.hi;
  }
  return range;
}

// 0 times a number is 0, of anything else NaN; and so is every sum of those.
bool all_finite(const float* v, int64_t count) {
  Lanes sums[4] = {};
  int64_t k = 0;
  for (; k + 32 <= count; k += 32) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sums[i] += lanes(v + k + 8 * i) * 0.0f;
  }
  Lanes sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  for (; k < count; ++k) sum[k % 8] += v[k] * 0.0f;
  bool finite = true;
  for (int i = 0; i < 8; ++i) finite = finite && sum[i] == 0.0f;
  return finite;
}

// The nearest f16 (ties to even) of numbers from 0 on, at most 65504; never below 2^-24.
inline void round_to_f16(Lanes& x) {
  const Lanes most = Lanes{} + 65504.0f, least_normal = Lanes{} + 0x1p-14f;
  const Lanes least = Lanes{} + 0x1p-24f;
  x = x < most ? x : most;
  const Lanes subnormal = x + 0.5f - 0.5f;  // whole multiples of 2^-24
  IntLanes bits = (IntLanes)x;
  bits = (bits + 0xfff + ((bits >> 13) & 1)) & ~0x1fff;
  x = x < least_normal ? subnormal : (Lanes)bits;
  x = x > least ? x : least;
}

// Of eight ranges [lo, hi].
inline void scales_of_eight(const Lanes& lo, const Lanes& hi, int32_t max_code, bool symmetric,
                            bool f16_scales, Lanes& scale, Lanes& zero) {
  const auto levels = static_cast<float>(max_code);
  const int32_t middle = (max_code + 1) / 2;
  const Lanes none = {}, one = none + 1.0f;
  if (symmetric) {
    const Lanes below = -lo;
    const Lanes most = below < hi ? hi : below;
    scale = most / static_cast<float>(middle - 1);
    if (f16_scales) round_to_f16(scale);
    scale = most == none ? one : scale;
    zero = none + static_cast<float>(middle);
  } else {
    scale = (hi - lo) / levels;
    if (f16_scales) round_to_f16(scale);
    scale = lo == hi ? one : scale;
    zero = -lo / scale;
    round_between(zero, none, none + levels);
  }
}

void scales_of_ranges(const GridRanges& ranges, float* scales, float* zeros) {
  for (int i = 0; i < ranges.count; i += 8) {
    const Lanes index = Lanes{0, 1, 2, 3, 4, 5, 6, 7} + static_cast<float>(i);
    const Lanes part = 1.0f - index * ranges.step;
    const Lanes lo = ranges.lo * part, hi = ranges.hi * part;
    scales_of_eight(lo, hi, ranges.max_code, ranges.symmetric, ranges.f16_scales, lanes(scales + i),
                    lanes(zeros + i));
  }
}

void round_row(const RowGrid& grid, const float* w, int64_t count, float* scales, int16_t* zeros,
               uint8_t* codes) {
  const int64_t size = grid.group_size;
  const int64_t groups = (count + size - 1) / size;
  const auto width = [&](int64_t g) { return g + 1 < groups ? size : count - g * size; };
  for (int64_t first = 0; first < groups; first += 8) {
    const int64_t some = groups - first < 8 ? groups - first : 8;
    float lo[8] = {}, hi[8] = {}, scale[8], zero[8];
    for (int64_t i = 0; i < some; ++i) {
      const ValueRange range = range_of(w + (first + i) * size, width(first + i));
      lo[i] = range.lo;
      hi[i] = range.hi;
    }
    scales_of_eight(lanes(lo), lanes(hi), grid.max_code, grid.symmetric, grid.f16_scales,
                    lanes(scale), lanes(zero));
    for (int64_t i = 0; i < some; ++i) {
      const int64_t g = first + i;
      const auto whole = static_cast<int32_t>(zero[i]);
      scales[g] = scale[i];
      zeros[g] = static_cast<int16_t>(whole);
      encode(w + g * size, width(g), scale[i], whole, grid.max_code, codes + g * size);
    }
  }
}

// One weight, rounded by eight scales: adds the squared errors to `sum`.
inline void add_errors(float w, float importance, bool weighted, const Lanes& scale,
                       const Lanes& low, const Lanes& high, Lanes& sum) {
  Lanes x = w / scale;
  round_between(x, low, high);
  const Lanes e = x * scale - w;
  sum += weighted ? e * (e * importance) : e * e;
}

// A lane is a scale; each of the eight lanes of dot() is one step of the outer loop.
template <bool kWeighted>
void errors_of_eight(const float* w, const float* importance, int64_t count, const float* scales,
                     const float* zeros, float max_code, double* errors) {
  const Lanes scale = lanes(scales), low = -lanes(zeros), high = max_code - lanes(zeros);
  const auto weight = [&](int64_t k) { return kWeighted ? importance[k] : 1.0f; };
  WideLanes total[2] = {};
  const int64_t whole = count / 16 * 16;
  for (int64_t j = 0; j < 8; ++j) {
    Lanes first = {}, second = {};
    for (int64_t k = j; k < whole; k += 16) {
      add_errors(w[k], weight(k), kWeighted, scale, low, high, first);
      add_errors(w[k + 8], weight(k + 8), kWeighted, scale, low, high, second);
    }
    Lanes sum = first + second;
    for (int64_t k = whole + j; k < count; k += 8) {
      add_errors(w[k], weight(k), kWeighted, scale, low, high, sum);
    }
    const HalfLanes lower = __builtin_shufflevector(sum, sum, 0, 1, 2, 3);
    const HalfLanes upper = __builtin_shufflevector(sum, sum, 4, 5, 6, 7);
    total[0] += __builtin_convertvector(lower, WideLanes);
    total[1] += __builtin_convertvector(upper, WideLanes);
  }
  for (int i = 0; i < 8; ++i) errors[i] = total[i / 4][i % 4];
}

void rounding_errors(const float* w, const float* importance, int64_t count, const float* scales,
                     const float* zeros, int32_t num_scales, int32_t max_code, double* errors) {
  const auto most = static_cast<float>(max_code);
  for (int i = 0; i < num_scales; i += 8) {
    if (importance != nullptr) {
      errors_of_eight<true>(w, importance, count, scales + i, zeros + i, most, errors + i);
    } else {
      errors_of_eight<false>(w, importance, count, scales + i, zeros + i, most, errors + i);
    }
  }
}

// e[k] of eight scales: w[k] rounded by each, minus w[k], times inverse[k].
inline void errors_in_lanes(const float* w, const float* inverse, int64_t count,
                            const float* scales, const float* zeros, float max_code, float* e) {
  const Lanes scale = lanes(scales), low = -lanes(zeros), high = max_code - lanes(zeros);
  for (int64_t k = 0; k < count; ++k) {
    Lanes x = w[k] / scale;
    round_between(x, low, high);
    lanes(e + 8 * k) = (x * scale - w[k]) * inverse[k];
  }
}

// sums[i] += H[i, from:to] e[from:to] for eight rows of H.
inline void eight_rows(const float* h, int64_t stride, const float* e, int64_t from, int64_t to,
                       Lanes (&sums)[8]) {
  for (int64_t j = from; j < to; ++j) {
    const Lanes x = lanes(e + 8 * j);
    for (int i = 0; i < 8; ++i) sums[i] += x * h[i * stride + j];
  }
}

// e^T H e of each lane: of H the blocks of eight rows on the diagonal, and twice what is right of
// them.
inline void forms_of_lanes(const float* h, int64_t stride, const float* e, int64_t count,
                           double* errors) {
  WideLanes total[2] = {};
  const auto add = [&](const Lanes& y) {
    const HalfLanes lower = __builtin_shufflevector(y, y, 0, 1, 2, 3);
    const HalfLanes upper = __builtin_shufflevector(y, y, 4, 5, 6, 7);
    total[0] += __builtin_convertvector(lower, WideLanes);
    total[1] += __builtin_convertvector(upper, WideLanes);
  };
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    Lanes sums[8] = {};
    eight_rows(h + i * stride, stride, e, i + 8, count, sums);
    for (int r = 0; r < 8; ++r) sums[r] += sums[r];
    eight_rows(h + i * stride, stride, e, i, i + 8, sums);
    for (int r = 0; r < 8; ++r) add(sums[r] * lanes(e + 8 * (i + r)));
  }
  for (int64_t r = i; r < count; ++r) {
    Lanes sum = {};
    for (int64_t j = i; j < count; ++j) sum += lanes(e + 8 * j) * h[r * stride + j];
    add(sum * lanes(e + 8 * r));
  }
  for (int lane = 0; lane < 8; ++lane) errors[lane] = total[lane / 4][lane % 4];
}

void quadratic_errors(const QuadraticErrors& args, const float* scales, const float* zeros,
                      int32_t num_scales, int32_t max_code, double* errors) {
  for (int i = 0; i < num_scales; i += 8) {
    errors_in_lanes(args.w, args.inverse, args.count, scales + i, zeros + i,
                    static_cast<float>(max_code), args.scratch);
    forms_of_lanes(args.h, args.stride, args.scratch, args.count, errors + i);
  }
}

}  // namespace
}  // namespace ruvllm::kernels
