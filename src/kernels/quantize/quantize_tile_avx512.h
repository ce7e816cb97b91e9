// The kernel of quantize_tile.h in AVX-512, for files that are compiled with it.
#pragma once

#include <immintrin.h>
#include <string.h>

#include "kernels/quantize/quantize_tile.h"
#include "kernels/quantize/row_scale.h"

namespace ruvllm::kernels {
namespace {

inline RowScale scale_of(const float* x, int64_t groups) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i largest[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  for (int64_t g = 0; g < groups; ++g) {
    for (int i = 0; i < 2; ++i) {
      const __m512i bits = _mm512_loadu_si512(x + 32 * g + 16 * i);
      largest[i] = _mm512_max_epu32(largest[i], _mm512_and_si512(bits, magnitude));
    }
  }
  const uint32_t most = _mm512_reduce_max_epu32(_mm512_max_epu32(largest[0], largest[1]));
  float a;
  memcpy(&a, &most, sizeof a);
  return scale_of_largest(a);
}

// Row t of a tile.
inline void to_row_of_tile(const float* x, int64_t groups, int64_t block, int64_t t,
                           uint32_t* tile) {
  int8_t* const rows = (int8_t*)tile + t * 64;
  HeadOfX* const heads = heads_of_x_tile(tile, groups);
  RowScale scale = {};
  int32_t total = 0;
  for (int64_t g = 0; g < groups; ++g) {
    if (g % block == 0) scale = scale_of(x + g * 32, block < groups - g ? block : groups - g);
    __m512i codes[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    if (scale.inverse != 0.0f) {
      const __m512 inverse = _mm512_set1_ps(scale.inverse);
      for (int i = 0; i < 2; ++i) {
        codes[i] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + g * 32 + 16 * i), inverse));
      }
    }
    int8_t* const to = rows + g / 2 * (kTileSide * 64) + g % 2 * 32;
    _mm_storeu_si128((__m128i*)to, _mm512_cvtepi32_epi8(codes[0]));
    _mm_storeu_si128((__m128i*)(to + 16), _mm512_cvtepi32_epi8(codes[1]));
    const int32_t sum = _mm512_reduce_add_epi32(_mm512_add_epi32(codes[0], codes[1]));
    HeadOfX* const head = heads + g / kXBlock;
    if (g % kXBlock == 0) head->scale[t] = scale.scale;
    head->sum[g % kXBlock][t] = sum;
    head->total[g % kXBlock][t] = (float)sum;
    total += sum;
  }
  sums_of_x_tile(tile, groups)[t] = total;
}

inline void quantize_tile(const float* const* rows, int64_t num_rows, int64_t groups, int64_t block,
                          uint32_t* tile) {
  if (num_rows < kTileSide || groups % kXBlock != 0) {
    memset(tile, 0, (size_t)x_tile_words(groups) * 4);
  }
  for (int64_t t = 0; t < num_rows; ++t) to_row_of_tile(rows[t], groups, block, t, tile);
}

}  // namespace
}  // namespace ruvllm::kernels
