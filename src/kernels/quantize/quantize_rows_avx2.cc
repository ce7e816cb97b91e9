#include <immintrin.h>

#include "kernels/quantize/each_row_to_int8.h"
#include "kernels/quantize/record_words_avx2.h"
#include "kernels/quantize/row_scale.h"

namespace ruvllm::kernels::avx2 {
namespace {

RowScale scale_of(const float* x, int64_t groups) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  // In registers: an array's elements would go through memory from step to step.
  __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
  for (int64_t i = 0; i < groups; ++i) {
    const auto* bits = (const __m256i*)(x + 32 * i);
    a = _mm256_max_epu32(a, _mm256_and_si256(_mm256_loadu_si256(bits), magnitude));
    b = _mm256_max_epu32(b, _mm256_and_si256(_mm256_loadu_si256(bits + 1), magnitude));
    c = _mm256_max_epu32(c, _mm256_and_si256(_mm256_loadu_si256(bits + 2), magnitude));
    d = _mm256_max_epu32(d, _mm256_and_si256(_mm256_loadu_si256(bits + 3), magnitude));
  }
  const __m256i both = _mm256_max_epu32(_mm256_max_epu32(a, b), _mm256_max_epu32(c, d));
  __m128i most = _mm_max_epu32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
  most = _mm_max_epu32(most, _mm_shuffle_epi32(most, 0x4e));
  most = _mm_max_epu32(most, _mm_shuffle_epi32(most, 0xb1));
  return scale_of_largest(_mm_cvtss_f32(_mm_castsi128_ps(most)));
}

struct Codes {
  __m256i v[4];  // 8 codes of 32 bits each
};

Codes quantize_group(const float* x, float inverse) {
  Codes out;
  for (int i = 0; i < 4; ++i) {
    out.v[i] = inverse == 0.0f ? _mm256_setzero_si256()
                               : _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i),
                                                                  _mm256_set1_ps(inverse)));
  }
  return out;
}

__m256i in_order(const Codes& codes) {
  // packs work within halves of 128 bits: put the fours back in order.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(_mm256_packs_epi32(codes.v[0], codes.v[1]),
                                                        _mm256_packs_epi32(codes.v[2], codes.v[3])),
                                     order);
}

void to_int8(const float* x, int64_t groups, int64_t block, int64_t tile_rows, uint32_t* words) {
  RowScale scale = {};
  for (int64_t g = 0; g < groups; ++g, words += kRecordWords * tile_rows) {
    if (g % block == 0) scale = scale_of(x + g * 32, block < groups - g ? block : groups - g);
    const Codes codes = quantize_group(x + g * 32, scale.inverse);
    const __m256i bytes = in_order(codes);
    store_words(bytes, tile_rows, words);
    finish_record(bytes, scale.scale, tile_rows, words + 8 * tile_rows);
  }
}

}  // namespace

const QuantizeKernel kQuantize = {to_int8, each_row_to_int8<to_int8>};

}  // namespace ruvllm::kernels::avx2
