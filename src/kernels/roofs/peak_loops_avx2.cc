#include <immintrin.h>

#include "kernels/roofs/peak_loops.h"
#include "kernels/roofs/peak_loops_impl.h"

namespace ruvllm::kernels::avx2 {
namespace {

float run_f32(int64_t rounds) {
  const __m256 a = _mm256_set1_ps(0.999f);
  const __m256 b = _mm256_set1_ps(0.001f);
  const auto step = [&](__m256 sum) { return _mm256_fmadd_ps(sum, a, b); };
  return _mm256_cvtss_f32(run_chains<__m256, 12>(rounds, b, step));
}

// The cheapest exact way to a 32-bit sum of products of 8-bit codes: pairs of 16-bit ones.
float run_int8(int64_t rounds) {
  const __m256i a = _mm256_set1_epi16(3);
  const __m256i b = _mm256_set1_epi16(5);
  const auto step = [&](__m256i sum) {
    __m256i w = a;
    __asm__("" : "+x"(w));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(w, b));
  };
  return (float)_mm256_extract_epi32(run_chains<__m256i, 12>(rounds, b, step), 0);
}

}  // namespace

const PeakLoop kPeakF32 = {"f32", 12 * 8, run_f32};
const PeakLoop kPeakInt8 = {"int8", 12 * 16, run_int8};

}  // namespace ruvllm::kernels::avx2
