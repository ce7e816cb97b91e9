// The vectors of quant_panel_impl.h in AVX2, and with DOT in AVX-VNNI. Included by
// quant_panel_avx2.cc and quant_panel_avxvnni.cc, each in its own namespace's unnamed one.
//
// This is also the list of what any Simd must have; all integer operations wrap.

struct Simd {
  using I = __m256i;
  using F = __m256;
  static constexpr int kRows = 8;
  static constexpr int kTileX =
      4;  // 4 x 2 sums, 2 weights, x, a product and a mask, of 16 registers
  static constexpr bool kHasDot = RUVLLM_SIMD_HAS_DOT;
  static constexpr bool kSignedCodes = !kHasDot;
  static constexpr int kRegisters = 16;
  static constexpr bool kFourStreams = false;
  static constexpr bool kPairsOfRows = false;
  static I zero() { return _mm256_setzero_si256(); }
  static F zero_f32() { return _mm256_setzero_ps(); }
  static I load(const uint8_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
  static void store(void* p, I v) { _mm256_storeu_si256((__m256i*)p, v); }
  // 4 bytes at p to every lane.
  static I broadcast_4(const void* p) {
    return _mm256_castps_si256(_mm256_broadcast_ss((const float*)p));
  }
  static F broadcast_f32(const void* p) { return _mm256_broadcast_ss((const float*)p); }
  static I and_bytes(I a, int mask) { return _mm256_and_si256(a, _mm256_set1_epi8((char)mask)); }
  static I or_bits(I a, I b) { return _mm256_or_si256(a, b); }
  static RUVLLM_INLINE I shift_left_16(I a, int n) { return _mm256_slli_epi16(a, n); }
  static RUVLLM_INLINE I shift_right_16(I a, int n) { return _mm256_srli_epi16(a, n); }
  static RUVLLM_INLINE I shift_right_signed_16(I a, int n) { return _mm256_srai_epi16(a, n); }
  static RUVLLM_INLINE I shift_left_32(I a, int n) { return _mm256_slli_epi32(a, n); }
  static RUVLLM_INLINE I shift_right_32(I a, int n) { return _mm256_srai_epi32(a, n); }
  static I flip_top_bits(I a) { return _mm256_xor_si256(a, _mm256_set1_epi8(-128)); }
  static I set1_8(int v) { return _mm256_set1_epi8((char)v); }
  static I sub_8(I a, I b) { return _mm256_sub_epi8(a, b); }
  static I add_16(I a, I b) { return _mm256_add_epi16(a, b); }
  static I sub_16(I a, I b) { return _mm256_sub_epi16(a, b); }
  static I add_32(I a, I b) { return _mm256_add_epi32(a, b); }
  static I sub_32(I a, I b) { return _mm256_sub_epi32(a, b); }
  // Sums of products of neighbours: unsigned by signed bytes to 16 bits; 16-bit ones to 32 bits.
  static I dot_pairs_8(I w, I x) { return _mm256_maddubs_epi16(w, x); }
  static I dot_pairs_16(I w, I x) { return _mm256_madd_epi16(w, x); }
  static I widen_pairs(I a) { return _mm256_madd_epi16(a, _mm256_set1_epi16(1)); }
  // The first, added to sums of 16 bits. In assembly, so that sums stay where they are:
  // compilers rebuild chains of integer sums into trees or move them about, and the registers do
  // not suffice.
  static RUVLLM_INLINE void add_dot_pairs_8(I& sum, I w, I x) {
    I pairs;
    __asm__("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0"
            : "+x"(sum), "=&x"(pairs)
            : "x"(w), "x"(x));
  }
  // sum + the four products of the bytes of each lane: w unsigned, or signed with kSignedCodes.
#if RUVLLM_SIMD_HAS_DOT
  static I dot_fours(I sum, I w, I x) { return _mm256_dpbusd_avx_epi32(sum, w, x); }
#else
  // |w| times x with the sign of w: |two products| <= 2 * 128 * 127 fit 16 bits.
  static RUVLLM_INLINE I dot_fours(I sum, I w, I x) {
    I product;
    __asm__(
        "vpsignb %2, %4, %1\n\tvpmaddubsw %1, %3, %1\n\t"
        "vpmaddwd %5, %1, %1\n\tvpaddd %1, %0, %0"
        : "+x"(sum), "=&x"(product)
        : "x"(w), "x"(_mm256_abs_epi8(w)), "x"(x), "x"(_mm256_set1_epi16(1)));
    return sum;
  }
  // The same, with nothing to add to.
  static RUVLLM_INLINE I dot_fours(I w, I x) {
    return widen_pairs(dot_pairs_8(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)));
  }
#endif
  static F to_f32(I a) { return _mm256_cvtepi32_ps(a); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F negate(F a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
  // One number per lane.
  static F load_f16(const uint8_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
  }
  static F load_u8(const uint8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p)));
  }
  static F load_i8(const uint8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
  }
  // A 16-bit number in the lower half of each lane, above it zeros.
  static I load_i16(const uint8_t* p) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
  }
  // Bytes; nibbles, the high ones behind the low ones: zero-extended to lanes.
  static I load_bytes(const uint8_t* p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p));
  }
  static I load_nibbles(const uint8_t* p) {
    const __m128i both = _mm_castps_si128(_mm_load_ss((const float*)p));
    const __m128i mask = _mm_set1_epi8(15);
    return _mm256_cvtepu8_epi32(_mm_unpacklo_epi32(_mm_and_si128(both, mask),
                                                   _mm_and_si128(_mm_srli_epi16(both, 4), mask)));
  }
  static F load_f32(const float* p) { return _mm256_loadu_ps(p); }
  static void store_f32(float* p, F v) { _mm256_storeu_ps(p, v); }
};
