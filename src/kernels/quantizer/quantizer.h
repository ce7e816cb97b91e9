// The innermost loops of src/quantize: sums in eight f32 lanes, rounding to a grid, and the search
// for a group's range. Every instruction set gives the same bits: no fused multiply-add, and the
// order of every sum is part of its description. Pure; any count >= 0; no alignment needed.
#pragma once

#include <stdint.h>

namespace ruvllm::kernels {

// Ranges [lo * part, hi * part] of a group of weights, part = 1 - step * i for i < count.
struct GridRanges {
  float lo;  // <= 0
  float hi;  // >= 0
  float step;
  int32_t count;     // at most kMostGridRanges
  int32_t max_code;  // 2^bits - 1
  // scale = max(-lo, hi) / (2^(bits-1) - 1), zero 2^(bits-1). Else scale = (hi - lo) / max_code,
  // zero = round(-lo / scale), a code. A range of nothing: scale 1, the latter's zero 0.
  bool symmetric;
  bool f16_scales;  // rounded to f16, at most 65504, at least 2^-24
};
constexpr int kMostGridRanges = 32;
// Columns of a strip: a part of a matrix whose rows lie one behind the other.
constexpr int64_t kStripWidth = 32;
constexpr int64_t kTermRows = 4;
constexpr int64_t kMostProductRows = 64;
constexpr int64_t kMostProductTerms = 64;

// A group of weights whose rounding errors, times `inverse`, weigh as the symmetric h says.
struct QuadraticErrors {
  const float* w;        // [count]
  const float* inverse;  // [count]
  int64_t count;
  const float* h;  // [count, count], rows `stride` apart
  int64_t stride;
  float* scratch;  // [8 * count]
};

struct ValueRange {
  float lo;  // <= 0
  float hi;  // >= 0
};

// How the groups of a row are rounded, each by its own range (GridRanges with one range).
struct RowGrid {
  int64_t group_size;  // columns; the last group of a row may be shorter
  int32_t max_code;
  bool symmetric;
  bool f16_scales;
};

struct QuantizerKernels {
  // sum a[k] b[k]: lane k % 8 in f32 (of each 16 the second 8 in a sum of their own), lanes in f64.
  double (*dot)(const float* a, const float* b, int64_t count);

  // y[k] -= sum over j < num_terms of e[j] * rows[j * stride + k], j in order.
  void (*subtract_rows)(float* y, int64_t count, const float* e, const float* rows, int64_t stride,
                        int64_t num_terms);

  // y[k] -= sum over j < num_terms of e[j] * strip[index[j] * kStripWidth + k], k < kStripWidth, j
  // in order: subtract_rows for the rows of a strip that count.
  void (*subtract_terms)(float* y, const float* e, const uint8_t* index, int64_t num_terms,
                         const float* strip);

  // subtract_terms for kTermRows rows at once, of all terms: y[r][k] -= sum over j < num_terms of
  // e[j * kTermRows + r] * strip[j * kStripWidth + k], j in order.
  void (*subtract_all_terms)(float* const* y, const float* e, int64_t num_terms,
                             const float* strip);

  // out[i * out_stride + k] += sum over t < num_terms of left[t * stride + i] * right[t * stride +
  // k], i < num_rows, k < count: t in order in f32, the sum added in f64. num_rows is at most
  // kMostProductRows, num_terms kMostProductTerms.
  void (*add_products)(double* out, int64_t out_stride, int64_t num_rows, int64_t count,
                       const float* left, const float* right, int64_t stride, int64_t num_terms);

  // v[k] = the whole number between `lowest` and `highest` that is nearest to v[k] / scale (ties to
  // even), times scale. Those bounds are below 2^22.
  void (*round_to_grid)(float* v, int64_t count, float scale, float lowest, float highest);

  // The code of that number, `zero` + the number between -zero and max_code - zero.
  void (*encode)(const float* w, int64_t count, float scale, int32_t zero, int32_t max_code,
                 uint8_t* codes);

  // The least and the greatest of v, and 0. Values that are not numbers count as 0.
  ValueRange (*range_of)(const float* v, int64_t count);

  // Whether all of v are finite numbers.
  bool (*all_finite)(const float* v, int64_t count);

  // What each range gives. Both arrays have kMostGridRanges elements, of which those up to the next
  // multiple of 8 are written.
  void (*scales_of_ranges)(const GridRanges& ranges, float* scales, float* zeros);

  // A row of finite weights, group by group: range_of, the scale and zero of that range, encode().
  void (*round_row)(const RowGrid& grid, const float* w, int64_t count, float* scales,
                    int16_t* zeros, uint8_t* codes);

  // errors[i] = sum over k of e e importance[k], e = w[k] rounded by scales[i] and zeros[i] - w[k],
  // as dot(e, e * importance) adds it; importance null: dot(e, e). For num_scales of them, at most
  // kMostGridRanges; arrays as above.
  void (*rounding_errors)(const float* w, const float* importance, int64_t count,
                          const float* scales, const float* zeros, int32_t num_scales,
                          int32_t max_code, double* errors);

  // errors[i] = e^T h e, e[k] = (w[k] rounded by scales[i] and zeros[i] - w[k]) * inverse[k]: of h
  // what is left of the eight by eight blocks on its diagonal is not read. Sums h e in f32, then
  // f64.
  void (*quadratic_errors)(const QuadraticErrors& args, const float* scales, const float* zeros,
                           int32_t num_scales, int32_t max_code, double* errors);
};

namespace generic {
extern const QuantizerKernels kQuantizer;
}
namespace avx2 {
extern const QuantizerKernels kQuantizer;
}

}  // namespace ruvllm::kernels
