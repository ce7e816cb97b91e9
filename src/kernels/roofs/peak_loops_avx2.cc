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

// In assembly: compilers take the products out of the loop, or move registers about, and two moves
// a step halve the rate.
float run_int8(int64_t rounds) {
  const __m256i a = _mm256_set1_epi8(3);
  const __m256i b = _mm256_set1_epi8(-5);
  const __m256i ones = _mm256_set1_epi16(1);
  const auto step = [&](__m256i sum) {
    __m256i product;
    __asm__(
        "vpsignb %2, %3, %1\n\tvpmaddubsw %1, %2, %1\n\tvpmaddwd %4, %1, %1\n\t"
        "vpaddd %1, %0, %0"
        : "+x"(sum), "=&x"(product)
        : "x"(a), "x"(b), "x"(ones));
    return sum;
  };
  const __m256i sums = run_chains<__m256i, 12>(rounds, b, step);
  return (float)_mm256_extract_epi32(sums, 0);
}

float run_int4(int64_t rounds) {
  const __m256i a = _mm256_set1_epi8(3);
  const __m256i b = _mm256_set1_epi8(5);
  const auto step = [&](__m256i sum) {
    __m256i product;
    __asm__("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0"
            : "+x"(sum), "=&x"(product)
            : "x"(a), "x"(b));
    return sum;
  };
  const __m256i sums = run_chains<__m256i, 12>(rounds, b, step);
  return (float)_mm256_extract_epi32(sums, 0);
}

__m256i load(const char* p) {
  return _mm256_load_si256((const __m256i*)p);
}
uint32_t read_one_stream(const void* data, int64_t bytes) {
  return (uint32_t)_mm256_extract_epi32(read_one<__m256i>(data, bytes, load), 0);
}
uint32_t read_four_streams(const void* data, int64_t bytes) {
  return (uint32_t)_mm256_extract_epi32(read_four<__m256i>(data, bytes, load), 0);
}

}  // namespace

const PeakLoop kPeakF32 = {"f32", 12 * 8, run_f32};
const PeakLoop kPeakInt8 = {"int8", 12 * 32, run_int8};
const PeakLoop kPeakInt4 = {"int4", 12 * 32, run_int4};
const ReadLoop kRead = {read_one_stream, read_four_streams};

}  // namespace ruvllm::kernels::avx2
