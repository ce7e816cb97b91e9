#include <immintrin.h>

#include "kernels/roofs/peak_loops.h"
#include "kernels/roofs/peak_loops_impl.h"

namespace ruvllm::kernels::avx512 {
namespace {

float run_f32(int64_t rounds) {
  const __m512 a = _mm512_set1_ps(0.999f);
  const __m512 b = _mm512_set1_ps(0.001f);
  const auto step = [&](__m512 sum) { return _mm512_fmadd_ps(sum, a, b); };
  return _mm512_cvtss_f32(run_chains<__m512, 12>(rounds, b, step));
}

}  // namespace

const PeakLoop kPeakF32 = {"f32", 12 * 16, run_f32};

}  // namespace ruvllm::kernels::avx512
