#include <arm_neon.h>

#include "kernels/quantize/each_row_to_int8.h"
#include "kernels/quantize/row_scale.h"

namespace ruvllm::kernels::neon {
namespace {

RowScale scale_of(const float* x, int64_t groups) {
  uint32x4_t largest[2] = {vdupq_n_u32(0), vdupq_n_u32(0)};  // magnitudes compare as their bits do
  for (int64_t i = 0; i < 8 * groups; ++i) {
    const float32x4_t in = vld1q_f32(x + 4 * i);
    largest[i % 2] = vmaxq_u32(largest[i % 2], vreinterpretq_u32_f32(vabsq_f32(in)));
  }
  const uint32_t bits = vmaxvq_u32(vmaxq_u32(largest[0], largest[1]));
  float a;
  __builtin_memcpy(&a, &bits, sizeof a);
  return scale_of_largest(a);
}

struct Codes {
  int16x8_t v[4];  // of the columns 8i ... 8i + 7
};

Codes quantize_group(const float* x, float inverse) {
  Codes out;
  for (int i = 0; i < 4; ++i) {
    const int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 8 * i), inverse));
    const int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 8 * i + 4), inverse));
    out.v[i] = inverse == 0.0f
                   ? vdupq_n_s16(0)
                   : vuzp1q_s16(vreinterpretq_s16_s32(low), vreinterpretq_s16_s32(high));
  }
  return out;
}

// Four words of one row of a tile.
void store_words(uint32x4_t v, int64_t stride, uint32_t* words) {
  if (stride == 1) {
    vst1q_u32(words, v);
    return;
  }
  vst1q_lane_u32(words, v, 0);
  vst1q_lane_u32(words + stride, v, 1);
  vst1q_lane_u32(words + 2 * stride, v, 2);
  vst1q_lane_u32(words + 3 * stride, v, 3);
}

// The words behind the codes.
void finish(const Codes& codes, float scale, int64_t stride, uint32_t* words) {
  // Neighbours added: of each four columns, two sums. Then those of each 16 columns.
  const int16x8_t first = vpaddq_s16(codes.v[0], codes.v[1]);
  const int16x8_t last = vpaddq_s16(codes.v[2], codes.v[3]);
  int16x4_t lanes[2] = {vadd_s16(vget_low_s16(first), vget_high_s16(first)),
                        vadd_s16(vget_low_s16(last), vget_high_s16(last))};
  int32_t total = 0;
  __builtin_memcpy(words, &scale, sizeof scale);
  for (int half = 0; half < 2; ++half) {
    // {a, b, c, d} to {a + c, b + d, ...}
    const int16x4_t sums = vadd_s16(lanes[half], vext_s16(lanes[half], lanes[half], 2));
    total += vgetq_lane_s32(vpaddlq_s16(vcombine_s16(sums, sums)), 0);
    words[(2 + half) * stride] = vget_lane_u32(vreinterpret_u32_s16(vneg_s16(sums)), 0);
  }
  words[stride] = (uint32_t)(-128 * total);
}

void to_int8(const float* x, int64_t groups, int64_t block, int64_t tile_rows, uint32_t* words) {
  RowScale scale = {};
  for (int64_t g = 0; g < groups; ++g, words += kRecordWords * tile_rows) {
    if (g % block == 0) scale = scale_of(x + g * 32, block < groups - g ? block : groups - g);
    const Codes codes = quantize_group(x + g * 32, scale.inverse);
    for (int i = 0; i < 2; ++i) {
      const int8x16_t bytes = vcombine_s8(vmovn_s16(codes.v[2 * i]), vmovn_s16(codes.v[2 * i + 1]));
      store_words(vreinterpretq_u32_s8(bytes), tile_rows, words + 4 * i * tile_rows);
    }
    finish(codes, scale.scale, tile_rows, words + 8 * tile_rows);
  }
}

}  // namespace

const QuantizeKernel kQuantize = {to_int8, each_row_to_int8<to_int8>};

}  // namespace ruvllm::kernels::neon
