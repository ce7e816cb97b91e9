// Words of a record of quantize_rows.h from vectors, for files compiled for AVX2 and more.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace ruvllm::kernels {
namespace {

// Eight words of one row of a tile.
inline void store_words(__m256i v, int64_t stride, uint32_t* words) {
  if (stride == 1) {
    _mm256_storeu_si256((__m256i*)words, v);
    return;
  }
  uint32_t w[8];
  _mm256_storeu_si256((__m256i*)w, v);
  for (int i = 0; i < 8; ++i) words[i * stride] = w[i];
}

// The words behind the codes. bytes: the 32 codes in order.
inline void finish_record(__m256i bytes, float scale, int64_t stride, uint32_t* words) {
  // Neighbours added to 16 bits: lane 2j of a half has columns 4j and 4j + 1, lane 2j + 1 the other
  // two. Then the four of each half of the register (16 columns).
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
  __m256i s = _mm256_add_epi16(pairs, _mm256_shuffle_epi32(pairs, 0x4e));
  s = _mm256_add_epi16(s, _mm256_shuffle_epi32(s, 0xb1));
  const __m256i minus = _mm256_sub_epi16(_mm256_setzero_si256(), s);
  const __m256i offset = _mm256_madd_epi16(s, _mm256_set1_epi16(-128));
  __builtin_memcpy(words, &scale, sizeof scale);
  words[stride] = (uint32_t)_mm_cvtsi128_si32(
      _mm_add_epi32(_mm256_castsi256_si128(offset), _mm256_extracti128_si256(offset, 1)));
  words[2 * stride] = (uint32_t)_mm_cvtsi128_si32(_mm256_castsi256_si128(minus));
  words[3 * stride] = (uint32_t)_mm_cvtsi128_si32(_mm256_extracti128_si256(minus, 1));
}

}  // namespace
}  // namespace ruvllm::kernels
