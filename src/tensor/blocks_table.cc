// 4-bit codes that index a table of 16 values.
//
//   iq4_nl  f16 d, 16 bytes code pairs; 32 elements                      x = d table[q]
//   iq4_xs  f16 d, u16 + 4 bytes of 8 6-bit scales, 128 bytes; 256       x = d (s - 32) table[q]
//   mxfp4   e8m0 exponent, 16 bytes code pairs; 32 elements (OCP MX)     x = 2^(e-127) e2m1(q)
//   nvfp4   4 unsigned e4m3 scales of 16 elements, 32 bytes; 64          x = s e2m1(q)
//
// Within a sub-block of n elements, byte j holds element j low and element j + n/2 high.
#include <bit>
#include <cmath>

#include "tensor/block_formats.h"

namespace ruvllm::block_formats {
namespace {

// The non-linear 4-bit grid of IQ4_NL and IQ4_XS.
constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};
// E2M1 times two, so that all are integers: 0, .5, 1, 1.5, 2, 3, 4, 6 and their negatives.
constexpr int8_t kTwiceE2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void expand(const uint8_t* pairs, int elements, const int8_t* table, float scale, float* out) {
  const int half = elements / 2;
  for (int j = 0; j < half; ++j) {
    out[j] = scale * static_cast<float>(table[pairs[j] & 0xf]);
    out[j + half] = scale * static_cast<float>(table[pairs[j] >> 4]);
  }
}

// Half of 2^(exponent - 127); f32 subnormals for the two smallest.
float half_e8m0(uint8_t exponent) {
  if (exponent < 2) return std::bit_cast<float>(0x00200000u << exponent);
  return std::bit_cast<float>(static_cast<uint32_t>(exponent - 1) << 23);
}

// Unsigned E4M3: seven bits used; 0 and the NaN code give 0.
float ue4m3_to_f32(uint8_t bits) {
  if (bits == 0 || bits == 0x7f) return 0.0f;
  return f8e4m3_to_f32(static_cast<uint8_t>(bits & 0x7f));
}

}  // namespace

void dequantize_iq4_nl(const uint8_t* src, float* out) {
  expand(src + 2, 32, kIq4Values, load_f16(src), out);
}

void dequantize_iq4_xs(const uint8_t* src, float* out) {
  const float d = load_f16(src);
  const uint16_t high = load_u16(src + 2);
  for (int j = 0; j < 8; ++j) {
    const int low_bits = src[4 + j / 2] >> (4 * (j % 2)) & 0xf;
    const int scale = (low_bits | (high >> (2 * j) & 3) << 4) - 32;
    expand(src + 8 + 16 * j, 32, kIq4Values, d * static_cast<float>(scale), out + 32 * j);
  }
}

void dequantize_mxfp4(const uint8_t* src, float* out) {
  expand(src + 1, 32, kTwiceE2m1, half_e8m0(src[0]), out);
}

void dequantize_nvfp4(const uint8_t* src, float* out) {
  for (int j = 0; j < 4; ++j) {
    expand(src + 4 + 8 * j, 16, kTwiceE2m1, 0.5f * ue4m3_to_f32(src[j]), out + 16 * j);
  }
}

void quantize_mxfp4(const float* src, uint8_t* dst) {
  float largest = 0.0f;
  for (int j = 0; j < 32; ++j) largest = std::fmax(largest, std::fabs(src[j]));
  // The exponent that puts the largest element in [4, 8): E2M1 reaches 6. A byte, as in the format.
  const float exponent = largest > 0.0f ? std::floor(std::log2(largest)) - 2.0f + 127.0f : 0.0f;
  dst[0] = static_cast<uint8_t>(static_cast<int>(std::fmin(std::fmax(exponent, 0.0f), 255.0f)));
  const float d = half_e8m0(dst[0]);
  uint8_t codes[32];
  for (int j = 0; j < 32; ++j) {
    int best = 0;
    float best_error = std::fabs(d * static_cast<float>(kTwiceE2m1[0]) - src[j]);
    for (int c = 1; c < 16; ++c) {
      const float error = std::fabs(d * static_cast<float>(kTwiceE2m1[c]) - src[j]);
      if (error < best_error) {
        best = c;
        best_error = error;
      }
    }
    codes[j] = static_cast<uint8_t>(best);
  }
  for (int j = 0; j < 16; ++j) dst[1 + j] = static_cast<uint8_t>(codes[j] | codes[j + 16] << 4);
}

}  // namespace ruvllm::block_formats
