// The vector type of AVX-512 (F, BW, DQ, VL) kernels: sixteen lanes. See vec_generic.h for what
// each function means and why the namespace is unnamed. Included by *_avx512.cc only.
#pragma once

// g++ 12 takes its own _mm512_undefined_ps (`__m512 y = y`) for a mistake wherever it is inlined.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>
#include <stdint.h>

namespace ruvllm::kernels::avx512 {
namespace {

struct V {
  using F = __m512;
  static constexpr int kLanes = 16;
  // Attention: see vec_avx2.h. Tiles of 8 rows, for which there are registers, gain nothing.
  static constexpr int kDotRows = 6;
  static constexpr int kDotGroups = 2;
  static constexpr int kKeyBlock = 8;
  static constexpr int kPvRows = 4;
  static constexpr bool kFetchToL2 = true;

  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static __mmask16 first_lanes(int n) { return (__mmask16)((1u << n) - 1u); }
  static F load_first(const float* p, int n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
  static void store_first(float* p, F v, int n) { _mm512_mask_storeu_ps(p, first_lanes(n), v); }
  static void keep(F& v) { __asm__("" : "+v"(v)); }
  static F zero() { return _mm512_setzero_ps(); }
  static F set1(float x) { return _mm512_set1_ps(x); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F sign_bits() { return _mm512_set1_ps(-0.0f); }
  static F abs(F a) { return _mm512_andnot_ps(sign_bits(), a); }
  static F copy_sign(F magnitude, F sign) {
    return _mm512_or_ps(abs(magnitude), _mm512_and_ps(sign_bits(), sign));
  }
  static F select_less(F a, F b, F x, F y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
  }
  static F pow2_of_magic(F t) {
    const __m512i biased = _mm512_add_epi32(_mm512_castps_si512(t), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(biased, 23));
  }

  // The upper half is added to the lower, then as in vec_avx2.h.
  static __m256 fold(F a) {
    return _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  }
  static float reduce_add(F a) {
    const __m256 folded = fold(a);
    const __m256 pairs = _mm256_hadd_ps(folded, folded);
    const __m256 quads = _mm256_hadd_ps(pairs, pairs);
    return _mm_cvtss_f32(
        _mm_add_ss(_mm256_castps256_ps128(quads), _mm256_extractf128_ps(quads, 1)));
  }
  static float reduce_max(F a) {
    const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }
  static void reduce_add_4(F a, F b, F c, F d, float* out) {
    const __m256 quads =
        _mm256_hadd_ps(_mm256_hadd_ps(fold(a), fold(b)), _mm256_hadd_ps(fold(c), fold(d)));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(quads), _mm256_extractf128_ps(quads, 1)));
  }

  static F load_bf16(const uint16_t* p) {
    const __m256i half = _mm256_loadu_si256((const __m256i*)p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  static constexpr bool kMixesBf16 = false;  // see vec_avx2.h
  static F load_f16(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
  }
  static F load_i8(const int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
  }
  static void store_bf16(uint16_t* p, F v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, bias), 16);
    const __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
    const __mmask16 is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m512i chosen = _mm512_mask_blend_epi32(is_nan, rounded, quiet);
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16(chosen));
  }
  static void store_f16(uint16_t* p, F v) {
    const F plain_nan = _mm512_or_ps(_mm512_and_ps(sign_bits(), v),
                                     _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
    const F clean = _mm512_mask_blend_ps(_mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), v, plain_nan);
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(clean, _MM_FROUND_TO_NEAREST_INT));
  }

  static F load_pairs(const float* p) {
    const __m512i index = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_ps(index, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
  }
  static F swap_pairs(F a) { return _mm512_permute_ps(a, 0xb1); }
  static F fma_sub_add(F a, F b, F c) { return _mm512_fmaddsub_ps(a, b, c); }
};

}  // namespace
}  // namespace ruvllm::kernels::avx512
