#include <immintrin.h>

#include "kernels/quantize/quantize_rows.h"

namespace ruvllm::kernels::avx2 {
namespace {

struct Codes {
  __m256i v[4];  // 8 codes of 32 bits each
  float scale;
};

Codes quantize_group(const float* x) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256 in[4];
  __m256i largest = _mm256_setzero_si256();
  for (int i = 0; i < 4; ++i) {
    in[i] = _mm256_loadu_ps(x + 8 * i);
    largest = _mm256_max_epu32(largest, _mm256_and_si256(_mm256_castps_si256(in[i]), magnitude));
  }
  __m128i most =
      _mm_max_epu32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
  most = _mm_max_epu32(most, _mm_shuffle_epi32(most, 0x4e));
  most = _mm_max_epu32(most, _mm_shuffle_epi32(most, 0xb1));
  const float a = _mm_cvtss_f32(_mm_castsi128_ps(most));
  Codes out;
  if (!(a >= 0x1p-100f && a < __builtin_inff())) {  // NaN too
    for (int i = 0; i < 4; ++i) out.v[i] = _mm256_setzero_si256();
    out.scale = a < 1.0f ? 0.0f : __builtin_nanf("");
    return out;
  }
  const __m256 inverse = _mm256_set1_ps(127.0f / a);
  for (int i = 0; i < 4; ++i) out.v[i] = _mm256_cvtps_epi32(_mm256_mul_ps(in[i], inverse));
  out.scale = a / 127.0f;
  return out;
}

int32_t sum_of(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
  return _mm_cvtsi128_si32(s);
}

template <class Group>
void finish(const Codes& codes, Group* out) {
  out->scale = codes.scale;
  out->half[0] = sum_of(_mm256_add_epi32(codes.v[0], codes.v[1]));
  out->half[1] = sum_of(_mm256_add_epi32(codes.v[2], codes.v[3]));
  out->sum = out->half[0] + out->half[1];
}

void to_int8(const float* x, int64_t groups, Int8Group* out) {
  // packs work within halves of 128 bits: put the fours back in order.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  for (int64_t g = 0; g < groups; ++g) {
    const Codes codes = quantize_group(x + g * 32);
    const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(codes.v[0], codes.v[1]),
                                             _mm256_packs_epi32(codes.v[2], codes.v[3]));
    _mm256_storeu_si256((__m256i*)out[g].codes, _mm256_permutevar8x32_epi32(bytes, order));
    finish(codes, out + g);
  }
}

void to_int16(const float* x, int64_t groups, Int16Group* out) {
  for (int64_t g = 0; g < groups; ++g) {
    const Codes codes = quantize_group(x + g * 32);
    for (int i = 0; i < 2; ++i) {
      // Dwords 0, 2, 1, 3 of each four, then 16 bits of each.
      const __m256i low = _mm256_shuffle_epi32(codes.v[2 * i], 0xd8);
      const __m256i high = _mm256_shuffle_epi32(codes.v[2 * i + 1], 0xd8);
      const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
      _mm256_storeu_si256((__m256i*)(out[g].codes + 16 * i), words);
    }
    finish(codes, out + g);
  }
}

}  // namespace

const QuantizeKernel kQuantize = {to_int8, to_int16};

}  // namespace ruvllm::kernels::avx2
