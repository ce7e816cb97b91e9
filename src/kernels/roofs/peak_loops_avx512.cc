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

__m512i load(const char* p) {
  return _mm512_load_si512(p);
}
uint32_t first_of(__m512i v) {
  uint32_t words[16];
  _mm512_storeu_si512(words, v);
  return words[0];
}
uint32_t read_one_stream(const void* data, int64_t bytes) {
  return first_of(read_one<__m512i>(data, bytes, load));
}
uint32_t read_four_streams(const void* data, int64_t bytes) {
  return first_of(read_four<__m512i>(data, bytes, load));
}

}  // namespace

const PeakLoop kPeakF32 = {"f32", 12 * 16, run_f32};
const ReadLoop kRead = {read_one_stream, read_four_streams};

}  // namespace ruvllm::kernels::avx512
