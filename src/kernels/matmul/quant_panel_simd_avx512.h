// The vectors of quant_panel_impl.h in AVX-512, with or without VNNI. Included by
// quant_panel_avx512.cc and quant_panel_avx512vnni.cc, each in its own namespace's unnamed one.
// See quant_panel_simd_avx2.h for what the functions mean.

struct Simd {
  using I = __m512i;
  using F = __m512;
  static constexpr int kRows = 16;
  static constexpr int kTileX = 8;  // 8 x 2 sums, and what a dot needs beside them, of 32 registers
  static constexpr bool kHasDot = RUVLLM_SIMD_HAS_DOT;
  static constexpr bool kSignedCodes = !kHasDot;
  static constexpr int kRegisters = 32;
  static constexpr bool kFourStreams = false;
  static constexpr bool kPairsOfRows = false;
  static I zero() { return _mm512_setzero_si512(); }
  static F zero_f32() { return _mm512_setzero_ps(); }
  static I load(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static void store(void* p, I v) { _mm512_storeu_si512(p, v); }
  // 4 bytes at p to every lane.
  static I broadcast_4(const void* p) {
    int32_t v;
    __builtin_memcpy(&v, p, sizeof v);
    return _mm512_set1_epi32(v);
  }
  static F broadcast_f32(const void* p) {
    float v;
    __builtin_memcpy(&v, p, sizeof v);
    return _mm512_set1_ps(v);
  }
  static I and_bytes(I a, int mask) { return _mm512_and_si512(a, _mm512_set1_epi8((char)mask)); }
  static I or_bits(I a, I b) { return _mm512_or_si512(a, b); }
  static RUVLLM_INLINE I shift_left_16(I a, int n) { return _mm512_slli_epi16(a, n); }
  static RUVLLM_INLINE I shift_right_16(I a, int n) { return _mm512_srli_epi16(a, n); }
  static RUVLLM_INLINE I shift_right_signed_16(I a, int n) {
    return _mm512_srai_epi16(a, (unsigned)n);
  }
  static RUVLLM_INLINE I shift_left_32(I a, int n) { return _mm512_slli_epi32(a, n); }
  static RUVLLM_INLINE I shift_right_32(I a, int n) { return _mm512_srai_epi32(a, n); }
  static I flip_top_bits(I a) { return _mm512_xor_si512(a, _mm512_set1_epi8(-128)); }
  static I set1_8(int v) { return _mm512_set1_epi8((char)v); }
  static I sub_8(I a, I b) { return _mm512_sub_epi8(a, b); }
  static I add_16(I a, I b) { return _mm512_add_epi16(a, b); }
  static I sub_16(I a, I b) { return _mm512_sub_epi16(a, b); }
  static I add_32(I a, I b) { return _mm512_add_epi32(a, b); }
  static I sub_32(I a, I b) { return _mm512_sub_epi32(a, b); }
  // Sums of products of neighbours: unsigned by signed bytes to 16 bits; 16-bit ones to 32 bits.
  static I dot_pairs_8(I w, I x) { return _mm512_maddubs_epi16(w, x); }
  static I dot_pairs_16(I w, I x) { return _mm512_madd_epi16(w, x); }
  static I widen_pairs(I a) { return _mm512_madd_epi16(a, _mm512_set1_epi16(1)); }
  // The first, added to sums of 16 bits. In assembly, so that sums stay where they are:
  // compilers rebuild chains of integer sums into trees or move them about, and the registers do
  // not suffice.
  static RUVLLM_INLINE void add_dot_pairs_8(I& sum, I w, I x) {
    I pairs;
    __asm__("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0"
            : "+v"(sum), "=&v"(pairs)
            : "v"(w), "v"(x));
  }
  // sum + the four products of the bytes of each lane: w unsigned, or signed with kSignedCodes.
#if RUVLLM_SIMD_HAS_DOT
  static I dot_fours(I sum, I w, I x) { return _mm512_dpbusd_epi32(sum, w, x); }
#else
  // |w| times x with the sign of w: |two products| <= 2 * 128 * 127 fit 16 bits.
  static RUVLLM_INLINE I dot_fours(I sum, I w, I x) { return add_32(sum, dot_fours(w, x)); }
  // The same, with nothing to add to.
  static RUVLLM_INLINE I dot_fours(I w, I x) {
    const I signed_x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), zero(), x);
    return widen_pairs(dot_pairs_8(_mm512_abs_epi8(w), signed_x));
  }
#endif
  static F to_f32(I a) { return _mm512_cvtepi32_ps(a); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F negate(F a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
  // One number per lane.
  static F load_f16(const uint8_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
  }
  static F load_u8(const uint8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p)));
  }
  static F load_i8(const uint8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
  }
  // A 16-bit number in the lower half of each lane, above it zeros.
  static I load_i16(const uint8_t* p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
  }
  // Bytes; nibbles, the high ones behind the low ones: zero-extended to lanes.
  static I load_bytes(const uint8_t* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p));
  }
  static I load_nibbles(const uint8_t* p) {
    const __m128i both = _mm_loadl_epi64((const __m128i*)p);
    const __m128i mask = _mm_set1_epi8(15);
    return _mm512_cvtepu8_epi32(_mm_unpacklo_epi64(_mm_and_si128(both, mask),
                                                   _mm_and_si128(_mm_srli_epi16(both, 4), mask)));
  }
  static F load_f32(const float* p) { return _mm512_loadu_ps(p); }
  static void store_f32(float* p, F v) { _mm512_storeu_ps(p, v); }
};
