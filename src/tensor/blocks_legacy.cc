// Blocks of 32 elements with one f16 scale d, and in the _1 forms an f16 minimum m.
//
//   q4_0  d, 16 bytes of code pairs          x = d (q - 8)
//   q4_1  d, m, 16 bytes of code pairs       x = d q + m
//   q5_0  d, 32 high bits, 16 bytes          x = d (q - 16)
//   q5_1  d, m, 32 high bits, 16 bytes       x = d q + m
//   q8_0  d, 32 signed bytes                 x = d q
//   q8_1  d, s = d sum(q), 32 signed bytes   x = d q (an activation format; s is redundant)
//
// A code pair's low nibble is element j, its high nibble element j + 16.
#include <algorithm>
#include <cmath>

#include "tensor/block_formats.h"

namespace ruvllm::block_formats {
namespace {

constexpr int kBlock = 32;
constexpr int kHalf = kBlock / 2;

uint32_t load_u32(const uint8_t* p) {
  return static_cast<uint32_t>(load_u16(p)) | static_cast<uint32_t>(load_u16(p + 2)) << 16;
}

// Code j of 16 bytes of pairs, plus its bit of `high_bits` as bit 4.
int code5(const uint8_t* pairs, uint32_t high_bits, int j) {
  const int low = j < kHalf ? pairs[j] & 0xf : pairs[j - kHalf] >> 4;
  return low | static_cast<int>((high_bits >> j) & 1u) << 4;
}

// The element of largest magnitude, the first of equals, with its sign.
float extreme(const float* x) {
  float best = x[0];
  for (int i = 1; i < kBlock; ++i) {
    if (std::fabs(x[i]) > std::fabs(best)) best = x[i];
  }
  return best;
}

float reciprocal_or_zero(float d) {
  return d != 0.0f ? 1.0f / d : 0.0f;
}

// floor(value) for value >= 0, limited to [0, largest]; what the reference makes of NaN is 0.
int truncated_code(float value, int largest) {
  if (!(value > 0.0f)) return 0;
  return value >= static_cast<float>(largest) ? largest : static_cast<int>(value);
}

// Packs 32 codes: the low nibbles as pairs, bit 4 of each into high_bits.
void pack_codes(const int* codes, uint8_t* pairs, uint32_t& high_bits) {
  high_bits = 0;
  for (int j = 0; j < kHalf; ++j) {
    pairs[j] = static_cast<uint8_t>((codes[j] & 0xf) | (codes[j + kHalf] & 0xf) << 4);
  }
  for (int j = 0; j < kBlock; ++j) {
    high_bits |= static_cast<uint32_t>((codes[j] >> 4) & 1) << j;
  }
}

void store_u32(uint32_t bits, uint8_t* p) {
  for (int i = 0; i < 4; ++i) p[i] = static_cast<uint8_t>(bits >> (8 * i));
}

// Codes of the symmetric formats: the extreme element maps to code 0 (value -offset).
void symmetric_codes(const float* src, int offset, uint8_t* scale, int* codes) {
  const float d = extreme(src) / static_cast<float>(-offset);
  const float inverse = reciprocal_or_zero(d);
  store_f16(d, scale);
  for (int j = 0; j < kBlock; ++j) {
    const float scaled = src[j] * inverse + (static_cast<float>(offset) + 0.5f);
    codes[j] = truncated_code(scaled, 2 * offset - 1);
  }
}

void affine_codes(const float* src, int largest, uint8_t* scale_and_minimum, int* codes) {
  const auto [low, high] = std::minmax_element(src, src + kBlock);
  const float d = (*high - *low) / static_cast<float>(largest);
  const float inverse = reciprocal_or_zero(d);
  const float minimum = *low;
  store_f16(d, scale_and_minimum);
  store_f16(minimum, scale_and_minimum + 2);
  for (int j = 0; j < kBlock; ++j) {
    codes[j] = truncated_code((src[j] - minimum) * inverse + 0.5f, largest);
  }
}

}  // namespace

void dequantize_q4_0(const uint8_t* src, float* out) {
  const float d = load_f16(src);
  for (int j = 0; j < kBlock; ++j) out[j] = d * static_cast<float>(code5(src + 2, 0, j) - 8);
}

void dequantize_q4_1(const uint8_t* src, float* out) {
  const float d = load_f16(src);
  const float minimum = load_f16(src + 2);
  for (int j = 0; j < kBlock; ++j) {
    out[j] = d * static_cast<float>(code5(src + 4, 0, j)) + minimum;
  }
}

void dequantize_q5_0(const uint8_t* src, float* out) {
  const float d = load_f16(src);
  const uint32_t high = load_u32(src + 2);
  for (int j = 0; j < kBlock; ++j) out[j] = d * static_cast<float>(code5(src + 6, high, j) - 16);
}

void dequantize_q5_1(const uint8_t* src, float* out) {
  const float d = load_f16(src);
  const float minimum = load_f16(src + 2);
  const uint32_t high = load_u32(src + 4);
  for (int j = 0; j < kBlock; ++j) {
    out[j] = d * static_cast<float>(code5(src + 8, high, j)) + minimum;
  }
}

void dequantize_q8_0(const uint8_t* src, float* out) {
  const float d = load_f16(src);
  for (int j = 0; j < kBlock; ++j) out[j] = d * static_cast<float>(static_cast<int8_t>(src[2 + j]));
}

void dequantize_q8_1(const uint8_t* src, float* out) {
  const float d = load_f16(src);
  for (int j = 0; j < kBlock; ++j) out[j] = d * static_cast<float>(static_cast<int8_t>(src[4 + j]));
}

void quantize_q4_0(const float* src, uint8_t* dst) {
  int codes[kBlock];
  uint32_t unused;
  symmetric_codes(src, 8, dst, codes);
  pack_codes(codes, dst + 2, unused);
}

void quantize_q4_1(const float* src, uint8_t* dst) {
  int codes[kBlock];
  uint32_t unused;
  affine_codes(src, 15, dst, codes);
  pack_codes(codes, dst + 4, unused);
}

void quantize_q5_0(const float* src, uint8_t* dst) {
  int codes[kBlock];
  uint32_t high;
  symmetric_codes(src, 16, dst, codes);
  pack_codes(codes, dst + 6, high);
  store_u32(high, dst + 2);
}

void quantize_q5_1(const float* src, uint8_t* dst) {
  int codes[kBlock];
  uint32_t high;
  affine_codes(src, 31, dst, codes);
  pack_codes(codes, dst + 8, high);
  store_u32(high, dst + 4);
}

void quantize_q8_0(const float* src, uint8_t* dst) {
  const float d = std::fabs(extreme(src)) / 127.0f;
  const float inverse = reciprocal_or_zero(d);
  store_f16(d, dst);
  for (int j = 0; j < kBlock; ++j) {
    // Ties away from zero. A block whose scale underflowed or that holds NaN has no sensible code.
    const float rounded = std::round(src[j] * inverse);
    const float limited = std::fabs(rounded) <= 127.0f ? rounded : 0.0f;
    dst[2 + j] = static_cast<uint8_t>(static_cast<int8_t>(limited));
  }
}

}  // namespace ruvllm::block_formats
