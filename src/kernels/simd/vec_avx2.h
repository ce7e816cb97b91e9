// The vector type of AVX2 + FMA + F16C kernels: eight lanes. See vec_generic.h for what each
// function means and why the namespace is unnamed. Included by *_avx2.cc only.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace ruvllm::kernels::avx2 {
namespace {

struct V {
  using F = __m256;
  static constexpr int kLanes = 8;
  // Attention: 12 sums and 3 or 4 factors fill the 16 registers.
  static constexpr bool kFewRegisters = true;
  static constexpr int kDotRows = 6;  // by kDotGroups groups of 16 keys
  static constexpr int kDotGroups = 1;
  static constexpr int kKeyBlock = 4;  // groups at a time
  static constexpr int kPvRows = 6;    // by 2 vectors of values

  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static __m256i first_lanes(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static F load_first(const float* p, int n) { return _mm256_maskload_ps(p, first_lanes(n)); }
  static void store_first(float* p, F v, int n) { _mm256_maskstore_ps(p, first_lanes(n), v); }
  static void keep(F& v) { __asm__("" : "+x"(v)); }
  static F zero() { return _mm256_setzero_ps(); }
  static F set1(float x) { return _mm256_set1_ps(x); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F fnma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F sign_bits() { return _mm256_set1_ps(-0.0f); }
  static F abs(F a) { return _mm256_andnot_ps(sign_bits(), a); }
  static F copy_sign(F magnitude, F sign) {
    return _mm256_or_ps(abs(magnitude), _mm256_and_ps(sign_bits(), sign));
  }
  static F select_less(F a, F b, F x, F y) {
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
  }
  static F pow2_of_magic(F t) {
    const __m256i biased = _mm256_add_epi32(_mm256_castps_si256(t), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
  }

  static float reduce_add(F a) {
    const F pairs = _mm256_hadd_ps(a, a);
    const F quads = _mm256_hadd_ps(pairs, pairs);
    return _mm_cvtss_f32(
        _mm_add_ss(_mm256_castps256_ps128(quads), _mm256_extractf128_ps(quads, 1)));
  }
  static float reduce_max(F a) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }
  static void reduce_add_4(F a, F b, F c, F d, float* out) {
    const F quads = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(quads), _mm256_extractf128_ps(quads, 1)));
  }

  static F load_bf16(const uint16_t* p) {
    const __m128i half = _mm_loadu_si128((const __m128i*)p);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
  // Sixteen as the even ones and the odd ones: less work than in order. unmix() puts them in order.
  static constexpr bool kMixesBf16 = true;
  static F load_even_bf16(const uint16_t* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256((const __m256i*)p), 16));
  }
  static F load_odd_bf16(const uint16_t* p) {
    alignas(32) static constexpr uint32_t kUpper[8] = {0xffff0000u, 0xffff0000u, 0xffff0000u,
                                                       0xffff0000u, 0xffff0000u, 0xffff0000u,
                                                       0xffff0000u, 0xffff0000u};
    F v = _mm256_loadu_ps((const float*)p);
    // Compilers would keep the mask in a register, and the tiles have none to spare.
    __asm__("vandps %1, %0, %0" : "+x"(v) : "m"(kUpper));
    return v;
  }
  static void load_mixed_bf16(const uint16_t* p, F& even, F& odd) {
    even = load_even_bf16(p);
    odd = load_odd_bf16(p);
  }
  static void unmix(F& even, F& odd) {
    const F low = _mm256_unpacklo_ps(even, odd);
    const F high = _mm256_unpackhi_ps(even, odd);
    even = _mm256_permute2f128_ps(low, high, 0x20);
    odd = _mm256_permute2f128_ps(low, high, 0x31);
  }
  static F load_f16(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
  }
  static F load_i8(const int8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
  }
  static void store_bf16(uint16_t* p, F v) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, bias), 16);
    const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i chosen = _mm256_blendv_epi8(rounded, quiet, is_nan);
    const __m128i packed =
        _mm_packus_epi32(_mm256_castsi256_si128(chosen), _mm256_extracti128_si256(chosen, 1));
    _mm_storeu_si128((__m128i*)p, packed);
  }
  // NaN becomes 0x7e00 with its sign, as f32_to_f16 has it; the instruction would keep payloads.
  static void store_f16(uint16_t* p, F v) {
    const F plain_nan = _mm256_or_ps(_mm256_and_ps(sign_bits(), v),
                                     _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)));
    const F clean = _mm256_blendv_ps(v, plain_nan, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(clean, _MM_FROUND_TO_NEAREST_INT));
  }

  static F load_pairs(const float* p) {
    const F twice = _mm256_broadcast_ps((const __m128*)p);
    return _mm256_permutevar_ps(twice, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
  }
  static F swap_pairs(F a) { return _mm256_permute_ps(a, 0xb1); }
  static F fma_sub_add(F a, F b, F c) { return _mm256_fmaddsub_ps(a, b, c); }
};

}  // namespace
}  // namespace ruvllm::kernels::avx2
