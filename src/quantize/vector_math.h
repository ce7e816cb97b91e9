// The innermost loops of the quantizers, eight f32 lanes wide: the same bits on every machine (no
// fused multiply-add), four or eight lanes at a time as the CPU has them. Any thread.
#pragma once

#include <cstdint>

namespace ruvllm {

// The nearest integer, ties to even, of |x| < 2^22: what nearbyint gives, in two additions.
inline float round_even(float x) {
  constexpr float kShift = 0x1.8p23f;
  return x + kShift - kShift;
}

// sum a[k] b[k]: lane k % 8 in f32, the lanes in f64.
double dot_lanes(const float* a, const float* b, int64_t count);

// v[k] = the whole number between `lowest` and `highest` that is nearest to v[k] / scale, times
// scale.
void round_to_grid(float* v, int64_t count, float scale, float lowest, float highest);

// The code of each v[k]: the whole number between `lowest` and `highest` that is nearest to
// v[k] / scale, plus `zero`; in [0, 255].
void encode_to_grid(const float* v, int64_t count, float scale, float lowest, float highest,
                    int32_t zero, uint8_t* codes);

// The least and the greatest of v, and 0. Values that are not numbers count as 0.
struct ValueRange {
  float lo = 0.0f;
  float hi = 0.0f;
};
ValueRange range_of(const float* v, int64_t count);

// Whether all of v are finite numbers.
bool all_finite(const float* v, int64_t count);

// y[k] -= sum over j < num_terms of e[j] * rows[j * stride + k], j in order.
void subtract_rows(float* y, int64_t count, const float* e, const float* rows, int64_t stride,
                   int64_t num_terms);

// Columns of a strip: a part of a matrix whose rows lie one behind the other.
inline constexpr int64_t kStripWidth = 32;

// y[k] -= sum over j < num_terms of e[j] * strip[index[j] * kStripWidth + k], k < kStripWidth, j in
// order: subtract_rows for the rows of a strip that count.
void subtract_terms(float* y, const float* e, const uint8_t* index, int64_t num_terms,
                    const float* strip);

// out[k] += sum over t < num_terms of factors[t * stride] * rows[t * stride + k], the sum in f32.
void add_products(double* out, int64_t count, const float* factors, const float* rows,
                  int64_t stride, int64_t num_terms);

}  // namespace ruvllm
