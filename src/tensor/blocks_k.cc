// Blocks of 256 elements whose sub-blocks have quantized scales. d and dmin are f16.
//
//   q2_k  16 bytes (scale | min << 4) per 16 elements, 64 bytes codes, d, dmin
//   q3_k  32 bytes high bits, 64 bytes codes, 12 bytes of 16 6-bit scales, d
//   q4_k  d, dmin, 12 bytes of 8 6-bit (scale, min), 128 bytes code pairs; sub-blocks of 32
//   q5_k  d, dmin, 12 bytes as q4_k, 32 bytes high bits, 128 bytes code pairs
//   q6_k  128 bytes low nibbles, 64 bytes high 2 bits, 16 int8 scales, d; sub-blocks of 16
//   q8_k  f32 d, 256 int8, 16 int16 sums (an activation format; the sums are redundant)
#include "tensor/block_formats.h"

namespace ruvllm::block_formats {
namespace {

constexpr int kBlock = 256;

// 2-bit code of element i: each 32 bytes hold 128 elements, 32 per bit pair.
int code2(const uint8_t* codes, int i) {
  const int half = i / 128;
  const int pair = i % 128 / 32;
  return codes[half * 32 + i % 32] >> (2 * pair) & 3;
}

// 4-bit code of element i: each 32 bytes hold 64 elements, the low nibbles first.
int code4(const uint8_t* codes, int i) {
  const uint8_t byte = codes[i / 64 * 32 + i % 32];
  return i % 64 < 32 ? byte & 0xf : byte >> 4;
}

struct ScaleMin {
  int scale;
  int min;
};

// Sub-block j of 8: twelve bytes hold 6-bit scales and minima. The first four of each are the low
// six bits of bytes 0..3 and 4..7; the last four have their low nibbles in bytes 8..11 and their
// top two bits in the top of bytes 0..7.
ScaleMin scale_min6(const uint8_t* packed, int j) {
  if (j < 4) return {packed[j] & 63, packed[j + 4] & 63};
  return {(packed[j + 4] & 0xf) | packed[j - 4] >> 6 << 4,
          packed[j + 4] >> 4 | packed[j] >> 6 << 4};
}

// Scale j of 16 of q3_k, offset removed: low nibbles in bytes 0..7, top two bits in bytes 8..11.
int scale6(const uint8_t* packed, int j) {
  const int low = j < 8 ? packed[j] & 0xf : packed[j - 8] >> 4;
  const int high = packed[8 + j % 4] >> (2 * (j / 4)) & 3;
  return (low | high << 4) - 32;
}

}  // namespace

void dequantize_q2_k(const uint8_t* src, float* out) {
  const float d = load_f16(src + 80);
  const float dmin = load_f16(src + 82);
  for (int i = 0; i < kBlock; ++i) {
    const uint8_t scale_and_min = src[i / 16];
    const float scale = d * static_cast<float>(scale_and_min & 0xf);
    const float minimum = dmin * static_cast<float>(scale_and_min >> 4);
    out[i] = scale * static_cast<float>(code2(src + 16, i)) - minimum;
  }
}

void dequantize_q3_k(const uint8_t* src, float* out) {
  const float d = load_f16(src + 108);
  for (int i = 0; i < kBlock; ++i) {
    const int high = src[i % 32] >> (i / 32) & 1;
    const int code = code2(src + 32, i) + 4 * high - 4;
    const float scale = d * static_cast<float>(scale6(src + 96, i / 16));
    out[i] = scale * static_cast<float>(code);
  }
}

void dequantize_q4_k(const uint8_t* src, float* out) {
  const float d = load_f16(src);
  const float dmin = load_f16(src + 2);
  for (int i = 0; i < kBlock; ++i) {
    const ScaleMin s = scale_min6(src + 4, i / 32);
    const float scale = d * static_cast<float>(s.scale);
    const float minimum = dmin * static_cast<float>(s.min);
    out[i] = scale * static_cast<float>(code4(src + 16, i)) - minimum;
  }
}

void dequantize_q5_k(const uint8_t* src, float* out) {
  const float d = load_f16(src);
  const float dmin = load_f16(src + 2);
  for (int i = 0; i < kBlock; ++i) {
    const ScaleMin s = scale_min6(src + 4, i / 32);
    const int code = code4(src + 48, i) | (src[16 + i % 32] >> (i / 32) & 1) << 4;
    const float scale = d * static_cast<float>(s.scale);
    const float minimum = dmin * static_cast<float>(s.min);
    out[i] = scale * static_cast<float>(code) - minimum;
  }
}

void dequantize_q6_k(const uint8_t* src, float* out) {
  const float d = load_f16(src + 208);
  for (int i = 0; i < kBlock; ++i) {
    // Each 64 bytes of low nibbles hold 128 elements: 64 in the low halves, then 64 in the high.
    const uint8_t low_byte = src[i / 128 * 64 + i % 64];
    const int low = i % 128 < 64 ? low_byte & 0xf : low_byte >> 4;
    const int code = (low | code2(src + 128, i) << 4) - 32;
    const float scale = d * static_cast<float>(static_cast<int8_t>(src[192 + i / 16]));
    out[i] = scale * static_cast<float>(code);
  }
}

void dequantize_q8_k(const uint8_t* src, float* out) {
  float d;
  std::memcpy(&d, src, sizeof d);
  for (int i = 0; i < kBlock; ++i) {
    out[i] = d * static_cast<float>(static_cast<int8_t>(src[4 + i]));
  }
}

}  // namespace ruvllm::block_formats
