// g++ 12 takes the "undefined" vectors of its own AVX-512 header for uninitialized ones.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "kernels/quantize/each_row_to_int8.h"
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

// Eight rows together. What is added or compared across the columns of a row stands below each
// other, a row in each lane, once words are turned round.

// Of eight rows, where 16 lanes each have the largest magnitudes: those of the rows.
__m256 largest_of(const __m512i (&lanes)[8]) {
  __m512i two[4];
  for (int i = 0; i < 4; ++i) {
    two[i] = _mm512_max_epu32(_mm512_unpacklo_epi32(lanes[2 * i], lanes[2 * i + 1]),
                              _mm512_unpackhi_epi32(lanes[2 * i], lanes[2 * i + 1]));
  }
  __m512i four[2];  // rows 4i ... 4i + 3 in each quarter
  for (int i = 0; i < 2; ++i) {
    four[i] = _mm512_max_epu32(_mm512_unpacklo_epi64(two[2 * i], two[2 * i + 1]),
                               _mm512_unpackhi_epi64(two[2 * i], two[2 * i + 1]));
  }
  const __m512i halves = _mm512_max_epu32(_mm512_shuffle_i32x4(four[0], four[1], 0x88),
                                          _mm512_shuffle_i32x4(four[0], four[1], 0xdd));
  const __m512i all = _mm512_max_epu32(halves, _mm512_shuffle_i32x4(halves, halves, 0xb1));
  return _mm256_castsi256_ps(_mm512_castsi512_si256(_mm512_shuffle_i32x4(all, all, 0x08)));
}

// scale_of_largest (row_scale.h) of eight rows.
struct EightScales {
  alignas(32) float inverse[8];
  __m256 scale;
};
EightScales scales_of(const float* const* rows, int64_t column, int64_t groups) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i lanes[8];
  for (int t = 0; t < 8; ++t) {
    lanes[t] = _mm512_setzero_si512();
    for (int64_t i = 0; i < 2 * groups; ++i) {
      const __m512i bits = _mm512_loadu_si512(rows[t] + column + 16 * i);
      lanes[t] = _mm512_max_epu32(lanes[t], _mm512_and_si512(bits, magnitude));
    }
  }
  const __m256 a = largest_of(lanes);
  const __mmask8 finite = _mm256_cmp_ps_mask(a, _mm256_set1_ps(__builtin_inff()), _CMP_LT_OQ) &
                          _mm256_cmp_ps_mask(a, _mm256_set1_ps(0x1p-100f), _CMP_GE_OQ);
  const __mmask8 small = _mm256_cmp_ps_mask(a, _mm256_set1_ps(1.0f), _CMP_LT_OQ);
  const __m256 none =
      _mm256_mask_mov_ps(_mm256_set1_ps(__builtin_nanf("")), small, _mm256_setzero_ps());
  const __m256 most = _mm256_set1_ps(127.0f);
  EightScales out;
  _mm256_store_ps(out.inverse, _mm256_maskz_div_ps(finite, most, a));
  out.scale = _mm256_mask_div_ps(none, finite, a, most);
  return out;
}

// The records of a group of eight rows. `column`: its first in each.
void store_records(const float* const* rows, int64_t column, const EightScales& scales,
                   uint32_t* words) {
  // In quarter i: words i and 4 + i of row 2r, then of row 2r + 1.
  __m512i two[4];
  for (int r = 0; r < 4; ++r) {
    __m512i pairs[2];
    for (int i = 0; i < 2; ++i) {
      const float* const x = rows[2 * r + i] + column;
      const float inverse = scales.inverse[2 * r + i];
      const __mmask16 any = inverse == 0.0f ? 0 : 0xffff;
      const __m512 factor = _mm512_set1_ps(inverse);
      pairs[i] = _mm512_packs_epi32(
          _mm512_maskz_cvtps_epi32(any, _mm512_mul_ps(_mm512_loadu_ps(x), factor)),
          _mm512_maskz_cvtps_epi32(any, _mm512_mul_ps(_mm512_loadu_ps(x + 16), factor)));
    }
    two[r] = _mm512_packs_epi16(pairs[0], pairs[1]);
  }
  const __m512i low = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
  const __m512i high = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
  const auto evens = [](__m512i a, __m512i b) {
    return _mm512_castps_si512(
        _mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), 0x88));
  };
  const auto odds = [](__m512i a, __m512i b) {
    return _mm512_castps_si512(
        _mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), 0xdd));
  };
  __m256i lanes[2];  // sums of the codes that a word of `lanes` has
  for (int half = 0; half < 2; ++half) {
    const __m512i first = half == 0 ? evens(two[0], two[1]) : odds(two[0], two[1]);
    const __m512i last = half == 0 ? evens(two[2], two[3]) : odds(two[2], two[3]);
    const __m512i words01 = _mm512_permutex2var_epi64(first, low, last);
    const __m512i words23 = _mm512_permutex2var_epi64(first, high, last);
    _mm512_storeu_si512(words + 32 * half, words01);
    _mm512_storeu_si512(words + 32 * half + 16, words23);
    const __m512i ones = _mm512_set1_epi8(1);
    const __m512i sums =
        _mm512_add_epi16(_mm512_maddubs_epi16(ones, words01), _mm512_maddubs_epi16(ones, words23));
    lanes[half] =
        _mm256_add_epi16(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64(sums, 1));
  }
  const __m256i offset =
      _mm256_madd_epi16(_mm256_add_epi16(lanes[0], lanes[1]), _mm256_set1_epi16(-128));
  const __m256i zero = _mm256_setzero_si256();
  _mm256_storeu_ps((float*)(words + 64), scales.scale);
  _mm256_storeu_si256((__m256i*)(words + 72), offset);
  _mm256_storeu_si256((__m256i*)(words + 80), _mm256_sub_epi16(zero, lanes[0]));
  _mm256_storeu_si256((__m256i*)(words + 88), _mm256_sub_epi16(zero, lanes[1]));
}

void rows_to_int8(const float* const* rows, int64_t num_rows, int64_t groups, int64_t block,
                  int64_t tile_rows, uint32_t* words) {
  if (num_rows != 8 || tile_rows != 8) {
    return each_row_to_int8<to_int8>(rows, num_rows, groups, block, tile_rows, words);
  }
  for (int64_t g = 0; g < groups; g += block) {
    const int64_t count = block < groups - g ? block : groups - g;
    const EightScales scales = scales_of(rows, 32 * g, count);
    for (int64_t i = g; i < g + count; ++i) {
      store_records(rows, 32 * i, scales, words + i * kRecordWords * 8);
    }
  }
}

}  // namespace

const QuantizeKernel kQuantize = {to_int8, rows_to_int8};

}  // namespace ruvllm::kernels::avx512
