// g++ 12 takes the "undefined" vectors of its own AVX-512 header for uninitialized ones.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "kernels/quantize/quantize_rows.h"
#include "kernels/quantize/record_words_avx2.h"
#include "kernels/quantize/row_scale.h"

namespace ruvllm::kernels::avx512 {
namespace {

RowScale scale_of(const float* x, int64_t groups) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i a = _mm512_setzero_si512(), b = a;
  for (int64_t i = 0; i < groups; ++i) {
    const float* const at = x + 32 * i;
    a = _mm512_max_epu32(a, _mm512_and_si512(_mm512_loadu_si512(at), magnitude));
    b = _mm512_max_epu32(b, _mm512_and_si512(_mm512_loadu_si512(at + 16), magnitude));
  }
  const uint32_t largest = _mm512_reduce_max_epu32(_mm512_max_epu32(a, b));
  return scale_of_largest(__builtin_bit_cast(float, largest));
}

// 16 codes of 32 bits.
__m512i codes_of(const float* x, float inverse) {
  if (inverse == 0.0f) return _mm512_setzero_si512();
  return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), _mm512_set1_ps(inverse)));
}

__m256i as_bytes(__m512i low, __m512i high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm512_cvtepi32_epi8(low)),
                                 _mm512_cvtepi32_epi8(high), 1);
}

void to_int8(const float* x, int64_t groups, int64_t block, int64_t tile_rows, uint32_t* words) {
  RowScale scale = {};
  for (int64_t g = 0; g < groups; ++g, x += 32, words += kRecordWords * tile_rows) {
    if (g % block == 0) scale = scale_of(x, block < groups - g ? block : groups - g);
    const __m256i bytes = as_bytes(codes_of(x, scale.inverse), codes_of(x + 16, scale.inverse));
    store_words(bytes, tile_rows, words);
    finish_record(bytes, scale.scale, tile_rows, words + 8 * tile_rows);
  }
}

}  // namespace

const QuantizeKernel kQuantize = {to_int8};

}  // namespace ruvllm::kernels::avx512
