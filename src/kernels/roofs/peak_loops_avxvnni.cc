#include <immintrin.h>

#include "kernels/roofs/peak_loops.h"
#include "kernels/roofs/peak_loops_impl.h"

namespace ruvllm::kernels::avxvnni {
namespace {

float run_int8(int64_t rounds) {
  const __m256i a = _mm256_set1_epi8(3);
  const auto step = [&](__m256i sum) { return _mm256_dpbusd_avx_epi32(sum, a, a); };
  const __m256i sums = run_chains<__m256i, 12>(rounds, a, step);
  return (float)_mm256_extract_epi32(sums, 0);
}

}  // namespace

const PeakLoop kPeakInt8 = {"int8", 12 * 32, run_int8};

}  // namespace ruvllm::kernels::avxvnni
