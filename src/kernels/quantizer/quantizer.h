// The innermost loops of src/quantize: sums in eight f32 lanes, rounding to a grid, and the search
// for a group's range. Every instruction set gives the same bits: the order of every sum is part of
// its description, and a product and its sum are rounded apart, but where they are said to be fused
// (rounded once, as std::fma). Pure; any count >= 0; no alignment needed.
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
constexpr int64_t kLaneRows = 16;
constexpr int64_t kProductTerms = 64;
constexpr int64_t kF64Rows = 4;
constexpr int64_t kF64Columns = 16;

// A group of weights whose rounding errors, times `inverse`, weigh as the symmetric h says.
struct QuadraticErrors {
  const float* w;        // [count]
  const float* inverse;  // [count]
  int64_t count;
  const float* h;  // [count, count], rows `stride` apart
  int64_t stride;
  float* scratch;  // [8 * count]
};

// Codes of a group of weights, q = (code - zero) * scale: how far the error falls with each of q,
// and how fast that falls.
struct GroupCodes {
  const float* values;      // [count]: q
  const float* slopes;      // [count]
  const float* curvatures;  // [count]
  const uint8_t* codes;     // [count]
  int64_t count;
  float scale;
  int32_t zero;
  int32_t max_code;
};

// Columns of kLaneRows rows of weights that GPTQ rounds one after the other.
struct ColumnWalk {
  float* w;             // [num_columns, kLaneRows]
  const float* factor;  // [num_rounded, num_columns], upper triangular, rows `stride` apart
  int64_t stride;
  const float* scales;  // [num_rounded, kLaneRows]
  const float* zeros;   // [num_rounded, kLaneRows]
  int32_t max_code;
  int64_t num_rounded;  // the first columns; the others only change
  int64_t num_columns;
  float* errors;   // [num_rounded, kLaneRows]
  uint8_t* codes;  // [num_rounded, kLaneRows]
};

// What is subtracted of a row of kStripWidth numbers: rows of a strip that count.
struct RowTerms {
  float* y;
  const float* e;        // [num_terms]
  const uint8_t* index;  // [num_terms]
  int64_t num_terms;
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

  // out[i * num_b + j] = dot() of row i of a and row j of b.
  void (*dots)(const float* a, int64_t a_stride, int64_t num_a, const float* b, int64_t b_stride,
               int64_t num_b, int64_t count, double* out);

  // sum over i < count of v[i] * dot(h + i * stride, v, count), i in order, in f64.
  double (*quadratic_form)(const float* h, int64_t stride, const float* v, int64_t count);

  // The first k < count with curvatures[k] > 0 whose code c, of values[k] + slopes[k] /
  // curvatures[k] as encode() gives it, is another than codes[k] and with by = (c - zero) * scale -
  // values[k] has by * by * curvatures[k] < 2 * by * slopes[k]; or count.
  int64_t (*first_better_code)(const GroupCodes& group);

  // y[k] -= sum over j < num_terms of e[j] * rows[j * stride + k], j in order, fused.
  void (*subtract_rows)(float* y, int64_t count, const float* e, const float* rows, int64_t stride,
                        int64_t num_terms);

  // y[k] -= sum over j < num_terms of e[j] * strip[index[j] * kStripWidth + k], k < kStripWidth, j
  // in order, fused, for two rows: subtract_rows for the rows of a strip that count.
  void (*subtract_terms)(const RowTerms& first, const RowTerms& second, const float* strip);

  // The same for kTermRows rows at once, of all terms: y[r * stride + k] -= sum over j <
  // num_terms of e[j * kTermRows + r] * strip[j * kStripWidth + k], j in order, fused.
  void (*subtract_all_terms)(float* y, int64_t stride, const float* e, int64_t num_terms,
                             const float* strip);

  // Of each row, for j < num_rounded in order: codes[j] as encode() gives it of w[j]; errors[j] =
  // (w[j] - (codes[j] - zeros[j]) * scales[j]) / factor[j, j]; w[k] -= errors[j] * factor[j, k] for
  // the columns k > j.
  void (*walk_columns)(const ColumnWalk& walk);

  // out[i * kStripWidth + k] += sum over t < num_terms of left[t * kStripWidth + i] *
  // right[t * kStripWidth + k], i and k < kStripWidth: kProductTerms terms at a time, in order in
  // f32, fused, and their sum added in f64.
  void (*add_products)(double* out, const float* left, const float* right, int64_t num_terms);

  // sums[i * kF64Columns + k] = sum over t < num_terms of left[i * left_stride + t] * right[t *
  // kF64Columns + k], i < num_rows (1 or kF64Rows), k < kF64Columns, in f64, t in order, fused.
  void (*f64_products)(double* sums, const double* left, int64_t left_stride, int64_t num_rows,
                       const double* right, int64_t num_terms);

  // v[k] = e^v[k], by Cephes' polynomial (Moshier 1989): x = v[k] between -87 and 88, n = the whole
  // number nearest to x / ln 2, r = (x - n c1) - n c2 with c1 + c2 = ln 2, e^r = 1 + (r + r r
  // p(r)), times 2^n. Products and sums rounded apart; within 2.4e-7 of the value;
  // NaN stays NaN.
  void (*exponentials)(float* v, int64_t count);

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
namespace avx512 {
extern const QuantizerKernels kQuantizer;
extern const QuantizerKernels kWideQuantizer;  // where two ports take 512 bits
}  // namespace avx512

}  // namespace ruvllm::kernels
