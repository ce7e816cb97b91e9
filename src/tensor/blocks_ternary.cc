// Blocks of 256 codes t in {0, 1, 2} that stand for x = d (t - 1), d an f16.
//
//   tq2_0  64 bytes: in each 32, bit pair n of byte m is element 32 n + m; then d
//   tq1_0  48 bytes of five base-3 digits, 4 bytes of four, then d
//
// A tq1_0 byte is ceil(v * 256 / 243) of the number v whose digits, most significant first, are the
// codes; so multiplying by 3^n modulo 256 and taking the top of a further product with 3 gives
// digit n without a division. Bytes 0..31 hold elements 0..159 (digit n of byte m is 32 n + m),
// bytes 32..47 the next 80 (16 n + m), the last four bytes the last 16 (4 n + m).
#include <cmath>

#include "tensor/block_formats.h"

namespace ruvllm::block_formats {
namespace {

constexpr int kBlock = 256;
constexpr int kPowersOf3[5] = {1, 3, 9, 27, 81};

struct DigitRun {
  int first_byte, bytes, digits;
};
constexpr DigitRun kRuns[3] = {{0, 32, 5}, {32, 16, 5}, {48, 4, 4}};

// The scale (largest magnitude) and the 256 codes of a block.
float ternary_codes(const float* src, uint8_t* codes) {
  float d = 0.0f;
  for (int i = 0; i < kBlock; ++i) d = std::fmax(d, std::fabs(src[i]));
  const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
  for (int i = 0; i < kBlock; ++i) {
    const float rounded = std::round(src[i] * inverse);
    const float limited = std::fabs(rounded) <= 1.0f ? rounded : 0.0f;  // d may be subnormal
    codes[i] = static_cast<uint8_t>(static_cast<int>(limited) + 1);
  }
  return d;
}

}  // namespace

void dequantize_tq1_0(const uint8_t* src, float* out) {
  const float d = load_f16(src + 52);
  for (const DigitRun& run : kRuns) {
    for (int n = 0; n < run.digits; ++n) {
      for (int m = 0; m < run.bytes; ++m) {
        const auto shifted = static_cast<uint8_t>(src[run.first_byte + m] * kPowersOf3[n]);
        *out++ = static_cast<float>((shifted * 3 >> 8) - 1) * d;
      }
    }
  }
}

void dequantize_tq2_0(const uint8_t* src, float* out) {
  const float d = load_f16(src + 64);
  for (int i = 0; i < kBlock; ++i) {
    const int code = src[i / 128 * 32 + i % 32] >> (2 * (i % 128 / 32)) & 3;
    out[i] = static_cast<float>(code - 1) * d;
  }
}

void quantize_tq1_0(const float* src, uint8_t* dst) {
  uint8_t codes[kBlock];
  store_f16(ternary_codes(src, codes), dst + 52);
  const uint8_t* code = codes;
  for (const DigitRun& run : kRuns) {
    for (int m = 0; m < run.bytes; ++m) {
      int number = 0;
      for (int n = 0; n < run.digits; ++n) {
        number += code[n * run.bytes + m] * kPowersOf3[4 - n];
      }
      dst[run.first_byte + m] = static_cast<uint8_t>((number * 256 + 242) / 243);
    }
    code += run.digits * run.bytes;
  }
}

void quantize_tq2_0(const float* src, uint8_t* dst) {
  uint8_t codes[kBlock];
  store_f16(ternary_codes(src, codes), dst + 64);
  for (int b = 0; b < 64; ++b) {
    const uint8_t* code = codes + b / 32 * 128 + b % 32;
    dst[b] = static_cast<uint8_t>(code[0] | code[32] << 2 | code[64] << 4 | code[96] << 6);
  }
}

}  // namespace ruvllm::block_formats
