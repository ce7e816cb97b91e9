// g++ 12 takes the "undefined" vectors of its own AVX-512 header for uninitialized ones.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "kernels/roofs/peak_loops.h"
#include "kernels/roofs/peak_loops_impl.h"

namespace ruvllm::kernels::avx512bf16 {
namespace {

float run_bf16(int64_t rounds) {
  const __m512bh a = (__m512bh)_mm512_set1_epi32(0x3c003c00);
  const auto step = [&](__m512 sum) { return _mm512_dpbf16_ps(sum, a, a); };
  return _mm512_cvtss_f32(run_chains<__m512, 12>(rounds, _mm512_set1_ps(0.001f), step));
}

}  // namespace

const PeakLoop kPeakBf16 = {"bf16", 12 * 32, run_bf16};

}  // namespace ruvllm::kernels::avx512bf16
