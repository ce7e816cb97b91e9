// The vector type of aarch64 kernels: eight lanes, in a pair of NEON's registers of four. Sixteen
// pairs fill its 32 registers, so that the register tiles are those of AVX2, and every sum has
// AVX2's bits: lanes, multiply-adds and the tree of their additions are the same. See vec_generic.h
// for what each function means and why the namespace is unnamed. Included by *_neon.cc only.
#pragma once

#include <arm_neon.h>
#include <stdint.h>

namespace ruvllm::kernels::neon {
namespace {

struct V {
  struct F {
    float32x4_t low;
    float32x4_t high;
  };
  static constexpr int kLanes = 8;
  // Attention: 12 sums and 3 or 4 factors fill the 16 pairs.
  static constexpr int kDotRows = 6;  // by kDotGroups groups of 16 keys
  static constexpr int kDotGroups = 1;
  static constexpr int kKeyBlock = 4;  // groups at a time
  static constexpr int kPvRows = 3;    // by 4 vectors of values

  static F load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
  static void store(float* p, F v) {
    vst1q_f32(p, v.low);
    vst1q_f32(p + 4, v.high);
  }
  static F load_first(const float* p, int n) {
    float lanes[kLanes] = {};
    __builtin_memcpy(lanes, p, (unsigned)n * sizeof(float));
    return load(lanes);
  }
  static void store_first(float* p, F v, int n) {
    float lanes[kLanes];
    store(lanes, v);
    __builtin_memcpy(p, lanes, (unsigned)n * sizeof(float));
  }
  static void keep(F& v) { __asm__("" : "+w"(v.low), "+w"(v.high)); }
  static F zero() { return set1(0.0f); }
  static F set1(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
  static F add(F a, F b) { return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }
  static F sub(F a, F b) { return {vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)}; }
  static F mul(F a, F b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
  static F div(F a, F b) { return {vdivq_f32(a.low, b.low), vdivq_f32(a.high, b.high)}; }
  static F fma(F a, F b, F c) {
    return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)};
  }
  static F fnma(F a, F b, F c) {
    return {vfmsq_f32(c.low, a.low, b.low), vfmsq_f32(c.high, a.high, b.high)};
  }
  // Not the instructions of these names: those return NaN where either is one.
  static F max(F a, F b) { return {max(a.low, b.low), max(a.high, b.high)}; }
  static F min(F a, F b) { return select_less(a, b, a, b); }
  static F abs(F a) { return {vabsq_f32(a.low), vabsq_f32(a.high)}; }
  static F copy_sign(F magnitude, F sign) {
    const uint32x4_t mask = vdupq_n_u32(0x80000000u);
    return {vbslq_f32(mask, sign.low, magnitude.low), vbslq_f32(mask, sign.high, magnitude.high)};
  }
  static F select_less(F a, F b, F x, F y) {
    return {vbslq_f32(vcltq_f32(a.low, b.low), x.low, y.low),
            vbslq_f32(vcltq_f32(a.high, b.high), x.high, y.high)};
  }
  static F pow2_of_magic(F t) { return {pow2_of_magic(t.low), pow2_of_magic(t.high)}; }

  static float reduce_add(F a) {
    const float32x4_t pairs = vpaddq_f32(a.low, a.high);
    const float32x4_t quads = vpaddq_f32(pairs, pairs);
    return vpadds_f32(vget_low_f32(quads));
  }
  static float reduce_max(F a) {
    float32x4_t m = max(a.low, a.high);
    m = max(m, vextq_f32(m, m, 2));
    return vgetq_lane_f32(max(m, vrev64q_f32(m)), 0);
  }
  static void reduce_add_4(F a, F b, F c, F d, float* out) {
    const float32x4_t ab = vpaddq_f32(vpaddq_f32(a.low, a.high), vpaddq_f32(b.low, b.high));
    const float32x4_t cd = vpaddq_f32(vpaddq_f32(c.low, c.high), vpaddq_f32(d.low, d.high));
    vst1q_f32(out, vpaddq_f32(ab, cd));
  }

  static F load_bf16(const uint16_t* p) {
    const uint16x8_t half = vld1q_u16(p);
    return {vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(half), 16)),
            vreinterpretq_f32_u32(vshll_high_n_u16(half, 16))};
  }
  static constexpr bool kMixesBf16 = false;  // in order is as cheap
  static F load_f16(const uint16_t* p) {
    const float16x8_t half = vreinterpretq_f16_u16(vld1q_u16(p));
    return {vcvt_f32_f16(vget_low_f16(half)), vcvt_high_f32_f16(half)};
  }
  static F load_i8(const int8_t* p) {
    const int16x8_t wide = vmovl_s8(vld1_s8(p));
    return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))), vcvtq_f32_s32(vmovl_high_s16(wide))};
  }
  static void store_bf16(uint16_t* p, F v) {
    vst1q_u16(p, vcombine_u16(vmovn_u32(bf16(v.low)), vmovn_u32(bf16(v.high))));
  }
  // NaN becomes 0x7e00 with its sign, as f32_to_f16 has it; the instruction would keep payloads.
  static void store_f16(uint16_t* p, F v) {
    const float16x4_t low = vcvt_f16_f32(plain_nan(v.low));
    vst1q_u16(p, vreinterpretq_u16_f16(vcvt_high_f16_f32(low, plain_nan(v.high))));
  }

  static F load_pairs(const float* p) {
    const float32x4_t four = vld1q_f32(p);
    return {vzip1q_f32(four, four), vzip2q_f32(four, four)};
  }
  static F swap_pairs(F a) { return {vrev64q_f32(a.low), vrev64q_f32(a.high)}; }
  static F fma_sub_add(F a, F b, F c) { return fma(a, b, {minus_even(c.low), minus_even(c.high)}); }

 private:
  static float32x4_t max(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static float32x4_t pow2_of_magic(float32x4_t t) {
    const uint32x4_t biased = vaddq_u32(vreinterpretq_u32_f32(t), vdupq_n_u32(127));
    return vreinterpretq_f32_u32(vshlq_n_u32(biased, 23));
  }
  static uint32x4_t bf16(float32x4_t v) {
    const uint32x4_t bits = vreinterpretq_u32_f32(v);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t bias = vaddq_u32(odd, vdupq_n_u32(0x7fff));
    const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(bits, bias), 16);
    const uint32x4_t quiet = vorrq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(0x40));
    return vbslq_u32(vceqq_f32(v, v), rounded, quiet);
  }
  static float32x4_t plain_nan(float32x4_t v) {
    const uint32x4_t sign = vandq_u32(vreinterpretq_u32_f32(v), vdupq_n_u32(0x80000000u));
    const float32x4_t nan = vreinterpretq_f32_u32(vorrq_u32(sign, vdupq_n_u32(0x7fc00000)));
    return vbslq_f32(vceqq_f32(v, v), v, nan);
  }
  static float32x4_t minus_even(float32x4_t v) {
    const uint64x2_t sign = vdupq_n_u64(0x80000000u);
    return vreinterpretq_f32_u64(veorq_u64(vreinterpretq_u64_f32(v), sign));
  }
};

}  // namespace
}  // namespace ruvllm::kernels::neon
