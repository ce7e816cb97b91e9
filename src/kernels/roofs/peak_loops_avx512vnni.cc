#include <immintrin.h>

#include "kernels/roofs/peak_loops.h"
#include "kernels/roofs/peak_loops_impl.h"

namespace ruvllm::kernels::avx512vnni {
namespace {

float run_int8(int64_t rounds) {
  const __m512i a = _mm512_set1_epi8(3);
  const auto step = [&](__m512i sum) { return _mm512_dpbusd_epi32(sum, a, a); };
  int32_t sums[16];
  _mm512_storeu_si512(sums, run_chains<__m512i, 12>(rounds, a, step));
  return (float)sums[0];
}

}  // namespace

const PeakLoop kPeakInt8 = {"int8", 12 * 64, run_int8};

}  // namespace ruvllm::kernels::avx512vnni
