// The lanes of attention_bf16_impl.h on AVX-512, but for how weights are paired. Included by the
// files of both forms; see simd/vec_generic.h for the unnamed namespace.
#pragma once

#include "kernels/simd/vec_avx512.h"

namespace ruvllm::kernels {
namespace {

struct WeighingLanes : avx512::V {
  static F weight(F p, F z, F t) {
    const __m512i power = _mm512_slli_epi32(_mm512_castps_si512(z), 23);
    const __m512i bits = _mm512_add_epi32(_mm512_castps_si512(p), power);
    const __m512i up = _mm512_add_epi32(bits, _mm512_set1_epi32(0x8000));
    const __mmask16 seen = _mm512_cmp_ps_mask(t, set1(-126.0f), _CMP_NLT_UQ);
    return _mm512_castsi512_ps(
        _mm512_maskz_and_epi32(seen, up, _mm512_set1_epi32((int)0xffff0000)));
  }
};

}  // namespace
}  // namespace ruvllm::kernels
