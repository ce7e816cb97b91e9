// The vectors of quant_panel_impl.h in NEON: eight lanes in a pair of registers, so that 16 pairs
// fill the 32 registers as AVX2's do its 16. Included by quant_panel_neon.cc,
// quant_panel_neon_dotprod.cc and quant_panel_neon_i8mm.cc, each in its own namespace's unnamed
// one, with RUVLLM_SIMD_NEON 0, 1 and 2.
//
// 0: products of bytes are made of multiplies to 16 bits. 1: SDOT; it multiplies signed bytes only,
// so codes of 8 bits are counted from 128 (Simd::kSignedCodes). 2: USDOT, and for many rows SMMLA
// and USMMLA, which multiply two rows of w by two of x over eight columns (Simd::kPairsOfRows).
// See quant_panel_simd_avx2.h for what the other functions mean.

struct Simd {
  struct I {
    int32x4_t low;
    int32x4_t high;
  };
  struct F {
    float32x4_t low;
    float32x4_t high;
  };
  static constexpr int kRows = 8;
  static constexpr int kTileX = 4;  // 4 x 2 sums, 2 weights and x, of 16 pairs
  static constexpr bool kHasDot = true;
  static constexpr bool kSignedCodes = RUVLLM_SIMD_NEON < 2;
  static constexpr int kRegisters = 16;
  static constexpr bool kFourStreams = false;
  static constexpr bool kPairsOfRows = RUVLLM_SIMD_NEON == 2;
  static int8x16_t bytes(int32x4_t a) { return vreinterpretq_s8_s32(a); }
  static int16x8_t halves(int32x4_t a) { return vreinterpretq_s16_s32(a); }
  static uint16x8_t u16(int32x4_t a) { return vreinterpretq_u16_s32(a); }
  static int32x4_t words(int8x16_t a) { return vreinterpretq_s32_s8(a); }
  static int32x4_t words(int16x8_t a) { return vreinterpretq_s32_s16(a); }
  static int32x4_t words(uint16x8_t a) { return vreinterpretq_s32_u16(a); }

  static I zero() { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }
  static F zero_f32() { return {vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)}; }
  static I load(const uint8_t* p) {
    return {vreinterpretq_s32_u8(vld1q_u8(p)), vreinterpretq_s32_u8(vld1q_u8(p + 16))};
  }
  static void store(void* p, I v) {
    vst1q_s32((int32_t*)p, v.low);
    vst1q_s32((int32_t*)p + 4, v.high);
  }
  static I broadcast_4(const void* p) {
    const int32x4_t four = vld1q_dup_s32((const int32_t*)p);
    return {four, four};
  }
  static F broadcast_f32(const void* p) {
    const float32x4_t four = vld1q_dup_f32((const float*)p);
    return {four, four};
  }
  static I and_bytes(I a, int mask) {
    const int32x4_t four = words(vdupq_n_s8((int8_t)mask));
    return {vandq_s32(a.low, four), vandq_s32(a.high, four)};
  }
  static I or_bits(I a, I b) { return {vorrq_s32(a.low, b.low), vorrq_s32(a.high, b.high)}; }
  // By operators: the intrinsics want literal numbers.
  static RUVLLM_INLINE I shift_left_16(I a, int n) {
    return {words(u16(a.low) << (uint16_t)n), words(u16(a.high) << (uint16_t)n)};
  }
  static RUVLLM_INLINE I shift_right_16(I a, int n) {
    return {words(u16(a.low) >> (uint16_t)n), words(u16(a.high) >> (uint16_t)n)};
  }
  static RUVLLM_INLINE I shift_left_32(I a, int n) { return {a.low << n, a.high << n}; }
  static RUVLLM_INLINE I shift_right_32(I a, int n) { return {a.low >> n, a.high >> n}; }
  static I flip_top_bits(I a) {
    const int32x4_t top = words(vdupq_n_s8(-128));
    return {veorq_s32(a.low, top), veorq_s32(a.high, top)};
  }
  static I add_16(I a, I b) {
    return {words(vaddq_s16(halves(a.low), halves(b.low))),
            words(vaddq_s16(halves(a.high), halves(b.high)))};
  }
  static I sub_16(I a, I b) {
    return {words(vsubq_s16(halves(a.low), halves(b.low))),
            words(vsubq_s16(halves(a.high), halves(b.high)))};
  }
  static I add_32(I a, I b) { return {vaddq_s32(a.low, b.low), vaddq_s32(a.high, b.high)}; }
  static I sub_32(I a, I b) { return {vsubq_s32(a.low, b.low), vsubq_s32(a.high, b.high)}; }
  static int32x4_t dot_pairs_16(int16x8_t w, int16x8_t x) {
    return vpaddq_s32(vmull_s16(vget_low_s16(w), vget_low_s16(x)), vmull_high_s16(w, x));
  }
  static I dot_pairs_16(I w, I x) {
    return {dot_pairs_16(halves(w.low), halves(x.low)),
            dot_pairs_16(halves(w.high), halves(x.high))};
  }
  static I widen_pairs(I a) { return {vpaddlq_s16(halves(a.low)), vpaddlq_s16(halves(a.high))}; }

  // sum + the four products of the bytes of each lane: w signed with kSignedCodes, else unsigned.
#if RUVLLM_SIMD_NEON == 0
  // |two products| <= 2 * 128 * 127 fit 16 bits.
  static RUVLLM_INLINE int32x4_t dot_fours(int32x4_t sum, int8x16_t w, int8x16_t x) {
    const int16x8_t pairs =
        vpaddq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(x)), vmull_high_s8(w, x));
    return vpadalq_s16(sum, pairs);
  }
#elif RUVLLM_SIMD_NEON == 1
  static int32x4_t dot_fours(int32x4_t sum, int8x16_t w, int8x16_t x) {
    return vdotq_s32(sum, w, x);
  }
#else
  static int32x4_t dot_fours(int32x4_t sum, int8x16_t w, int8x16_t x) {
    return vusdotq_s32(sum, vreinterpretq_u8_s8(w), x);
  }
#endif
  static RUVLLM_INLINE I dot_fours(I sum, I w, I x) {
    return {dot_fours(sum.low, bytes(w.low), bytes(x.low)),
            dot_fours(sum.high, bytes(w.high), bytes(x.high))};
  }

#if RUVLLM_SIMD_NEON == 2
  // Eight columns of eight rows of w, two rows in a register; of four rows of x likewise.
  struct EightColumns {
    uint8x16_t rows[4];
  };
  struct EightOfX {
    int8x16_t rows[2];
  };
  // From the columns 4j ... 4j + 3 and the four behind them.
  static RUVLLM_INLINE EightColumns join(I first, I second) {
    return {{vreinterpretq_u8_s32(vzip1q_s32(first.low, second.low)),
             vreinterpretq_u8_s32(vzip2q_s32(first.low, second.low)),
             vreinterpretq_u8_s32(vzip1q_s32(first.high, second.high)),
             vreinterpretq_u8_s32(vzip2q_s32(first.high, second.high))}};
  }
  // From the words j and j + 1 of a tile of four rows, which follow each other.
  static RUVLLM_INLINE EightOfX join_x(const uint32_t* words_of_x) {
    const int32x4_t first = vld1q_s32((const int32_t*)words_of_x);
    const int32x4_t second = vld1q_s32((const int32_t*)words_of_x + 4);
    return {{bytes(vzip1q_s32(first, second)), bytes(vzip2q_s32(first, second))}};
  }
  // Sums of 8 rows of w by 4 of x: squares of two by two.
  struct Squares {
    int32x4_t of[4][2];
  };
  static RUVLLM_INLINE void clear(Squares& sums) {
    for (int r = 0; r < 4; ++r) sums.of[r][0] = sums.of[r][1] = vdupq_n_s32(0);
  }
  static RUVLLM_INLINE void add_squares(Squares& sums, const EightColumns& w, const EightOfX& x) {
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      sums.of[r][0] = vusmmlaq_s32(sums.of[r][0], w.rows[r], x.rows[0]);
      sums.of[r][1] = vusmmlaq_s32(sums.of[r][1], w.rows[r], x.rows[1]);
    }
  }
  // The sums of the row t of x.
  static RUVLLM_INLINE I row_of(const Squares& sums, int t) {
    const int p = t / 2;
    if (t % 2 == 0) {
      return {vuzp1q_s32(sums.of[0][p], sums.of[1][p]), vuzp1q_s32(sums.of[2][p], sums.of[3][p])};
    }
    return {vuzp2q_s32(sums.of[0][p], sums.of[1][p]), vuzp2q_s32(sums.of[2][p], sums.of[3][p])};
  }
#endif
  static F to_f32(I a) { return {vcvtq_f32_s32(a.low), vcvtq_f32_s32(a.high)}; }
  static F mul(F a, F b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
  static F fma(F a, F b, F c) {
    return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)};
  }
  static F negate(F a) { return {vnegq_f32(a.low), vnegq_f32(a.high)}; }
  // One number per lane.
  static F load_f16(const uint8_t* p) {
    const float16x8_t half = vreinterpretq_f16_u8(vld1q_u8(p));
    return {vcvt_f32_f16(vget_low_f16(half)), vcvt_high_f32_f16(half)};
  }
  static F load_u8(const uint8_t* p) {
    const uint16x8_t wide = vmovl_u8(vld1_u8(p));
    return {vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide))), vcvtq_f32_u32(vmovl_high_u16(wide))};
  }
  static F load_i8(const uint8_t* p) {
    const int16x8_t wide = vmovl_s8(vreinterpret_s8_u8(vld1_u8(p)));
    return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))), vcvtq_f32_s32(vmovl_high_s16(wide))};
  }
  static I load_i16(const uint8_t* p) {
    const uint16x8_t half = vreinterpretq_u16_u8(vld1q_u8(p));
    return {vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(half))),
            vreinterpretq_s32_u32(vmovl_high_u16(half))};
  }
  // Bytes; nibbles, the high ones behind the low ones: zero-extended to lanes.
  static I load_bytes(const uint8_t* p) { return widened_bytes(vld1_u8(p)); }
  static I load_nibbles(const uint8_t* p) {
    uint32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    const uint8x8_t both = vreinterpret_u8_u32(vdup_n_u32(four));
    const uint8x8_t low = vand_u8(both, vdup_n_u8(15));
    const uint8x8_t high = vshr_n_u8(both, 4);
    return widened_bytes(
        vreinterpret_u8_u32(vzip1_u32(vreinterpret_u32_u8(low), vreinterpret_u32_u8(high))));
  }
  static I widened_bytes(uint8x8_t bytes) {
    const uint16x8_t eight = vmovl_u8(bytes);
    return {vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(eight))),
            vreinterpretq_s32_u32(vmovl_high_u16(eight))};
  }
  static F load_f32(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
  static void store_f32(float* p, F v) {
    vst1q_f32(p, v.low);
    vst1q_f32(p + 4, v.high);
  }
};
