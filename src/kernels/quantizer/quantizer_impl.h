// The roundings of quantizer.h, and the search for codes and ranges.
#pragma once

#include <stddef.h>

#include "kernels/quantizer/quantizer.h"
#include "kernels/quantizer/quantizer_lanes.h"

namespace ruvllm::kernels {
namespace {

// x + kShift - kShift is the nearest whole number, ties to even, of |x| < 2^22.
constexpr float kShift = 0x1.8p23f;

inline float clamp(float x, float low, float high) {
  x = x < low ? low : x;
  return high < x ? high : x;
}

// x becomes the whole number between low and high that is nearest to it.
template <class F>
inline void round_between(F& x, const F& low, const F& high) {
  x = x > low ? x : low;
  x = x < high ? x : high;
  x = x + kShift - kShift;
}

inline void exponential(Lanes& x) {
  const Lanes low = Lanes{} - 87.0f, high = Lanes{} + 88.0f;
  x = x < low ? low : x;
  x = x > high ? high : x;
  const Lanes n = x * 1.44269504088896341f + kShift - kShift;
  const Lanes r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Lanes p = Lanes{} + 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const IntLanes power = (__builtin_convertvector(n, IntLanes) + 127) << 23;
  x = ((p * r) * r + r + 1.0f) * (Lanes)power;
}

void exponentials(float* v, int64_t count) {
  int64_t k = 0;
  for (; k + 8 <= count; k += 8) {
    Lanes x = lanes(v + k);
    exponential(x);
    lanes(v + k) = x;
  }
  Lanes x = {};
  for (int64_t i = 0; k + i < count; ++i) x[i] = v[k + i];
  exponential(x);
  for (int64_t i = 0; k + i < count; ++i) v[k + i] = x[i];
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
    store_bytes(code, codes + k);
  }
  for (; k < count; ++k) {
    const float x = clamp(w[k] / scale, lowest, highest) + kShift - kShift;
    codes[k] = static_cast<uint8_t>(static_cast<int32_t>(x) + zero);
  }
}

int64_t first_better_code(const GroupCodes& group) {
  const auto lowest = static_cast<float>(-group.zero);
  const auto highest = static_cast<float>(group.max_code - group.zero);
  const Lanes low = Lanes{} + lowest, high = Lanes{} + highest;
  int64_t k = 0;
  for (; k + 8 <= group.count; k += 8) {
    const Lanes value = lanes(group.values + k), slope = lanes(group.slopes + k);
    const Lanes curvature = lanes(group.curvatures + k);
    Lanes x = (value + slope / curvature) / group.scale;
    round_between(x, low, high);
    const Lanes by = x * group.scale - value;
    const auto bytes = *reinterpret_cast<const ByteLanes*>(group.codes + k);
    const IntLanes now = __builtin_convertvector(bytes, IntLanes) - group.zero;
    const IntLanes better = (__builtin_convertvector(x, IntLanes) != now) & (curvature > 0.0f) &
                            (by * by * curvature < 2.0f * by * slope);
    uint64_t any[4];
    __builtin_memcpy(any, &better, sizeof(any));
    if ((any[0] | any[1] | any[2] | any[3]) == 0) continue;
    for (int64_t i = 0; i < 8; ++i) {
      if (better[i] != 0) return k + i;
    }
  }
  for (; k < group.count; ++k) {
    const float slope = group.slopes[k], curvature = group.curvatures[k];
    const float best = (group.values[k] + slope / curvature) / group.scale;
    const float x = clamp(best, lowest, highest) + kShift - kShift;
    const float by = x * group.scale - group.values[k];
    if (curvature > 0.0f && static_cast<int32_t>(x) != group.codes[k] - group.zero &&
        by * by * curvature < 2.0f * by * slope) {
      return k;
    }
  }
  return group.count;
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
    add_lanes(sum, total[0], total[1]);
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
  Lanes v[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) v[i] = sums[i];
  for (int64_t j = from; j < to; ++j) {
    const Lanes x = lanes(e + 8 * j);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) v[i] += x * h[i * stride + j];
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) sums[i] = v[i];
}

// e^T H e of each lane: of H the blocks of eight rows on the diagonal, and twice what is right of
// them.
inline void forms_of_lanes(const float* h, int64_t stride, const float* e, int64_t count,
                           double* errors) {
  WideLanes total[2] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    Lanes sums[8] = {};
    eight_rows(h + i * stride, stride, e, i + 8, count, sums);
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) sums[r] += sums[r];
    eight_rows(h + i * stride, stride, e, i, i + 8, sums);
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) add_lanes(sums[r] * lanes(e + 8 * (i + r)), total[0], total[1]);
  }
  for (int64_t r = i; r < count; ++r) {
    Lanes sum = {};
    for (int64_t j = i; j < count; ++j) sum += lanes(e + 8 * j) * h[r * stride + j];
    add_lanes(sum * lanes(e + 8 * r), total[0], total[1]);
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
