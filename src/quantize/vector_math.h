// The innermost loops of the quantizers: those of kernels/quantizer and the conversions of what
// they read, for the instruction set that is picked for this machine (RUVLLM_ISA and all). Their
// bits are the same on every one. Any thread.
#pragma once

#include <cstdint>

#include "kernels/convert/convert.h"
#include "kernels/quantizer/quantizer.h"

namespace ruvllm {

// Picked once.
const kernels::QuantizerKernels& quantizer_kernels();
const kernels::ConvertKernels& quantizer_input_kernels();

// The nearest integer, ties to even, of |x| < 2^22: what nearbyint gives, in two additions.
inline float round_even(float x) {
  constexpr float kShift = 0x1.8p23f;
  return x + kShift - kShift;
}

// See kernels/quantizer/quantizer.h.
inline double dot_lanes(const float* a, const float* b, int64_t count) {
  return quantizer_kernels().dot(a, b, count);
}
inline void dots(const float* a, int64_t a_stride, int64_t num_a, const float* b, int64_t b_stride,
                 int64_t num_b, int64_t count, double* out) {
  quantizer_kernels().dots(a, a_stride, num_a, b, b_stride, num_b, count, out);
}
inline double quadratic_form(const float* h, int64_t stride, const float* v, int64_t count) {
  return quantizer_kernels().quadratic_form(h, stride, v, count);
}
inline void exponentials(float* v, int64_t count) {
  quantizer_kernels().exponentials(v, count);
}
inline void round_to_grid(float* v, int64_t count, float scale, float lowest, float highest) {
  quantizer_kernels().round_to_grid(v, count, scale, lowest, highest);
}
using kernels::ValueRange;
inline ValueRange range_of(const float* v, int64_t count) {
  return quantizer_kernels().range_of(v, count);
}
inline bool all_finite(const float* v, int64_t count) {
  return quantizer_kernels().all_finite(v, count);
}
inline void subtract_rows(float* y, int64_t count, const float* e, const float* rows,
                          int64_t stride, int64_t num_terms) {
  quantizer_kernels().subtract_rows(y, count, e, rows, stride, num_terms);
}
inline constexpr int64_t kStripWidth = kernels::kStripWidth;
using kernels::RowTerms;
inline void subtract_terms(const RowTerms& first, const RowTerms& second, const float* strip) {
  quantizer_kernels().subtract_terms(first, second, strip);
}
inline constexpr int64_t kTermRows = kernels::kTermRows;
inline void subtract_all_terms(float* y, int64_t stride, const float* e, int64_t num_terms,
                               const float* strip) {
  quantizer_kernels().subtract_all_terms(y, stride, e, num_terms, strip);
}

}  // namespace ruvllm
