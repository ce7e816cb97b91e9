// One block of each block format, to and from f32: the layouts as data, private to tensor/.
// dequantize.cc walks rows with these; everything about a format's bits stands in its .cc.
//
// `src` is one block's bytes (no alignment needed), `out` has room for its elements. All functions
// are pure; products are rounded in the order written (no fused multiply-add: -ffp-contract=off).
#pragma once

#include <cstdint>
#include <cstring>

#include "base/float_types.h"

namespace ruvllm::block_formats {

inline uint16_t load_u16(const uint8_t* p) {
  return static_cast<uint16_t>(p[0] | static_cast<uint16_t>(p[1]) << 8);
}
inline float load_f16(const uint8_t* p) {
  return f16_to_f32(load_u16(p));
}
inline void store_f16(float value, uint8_t* p) {
  const uint16_t bits = f32_to_f16(value);
  p[0] = static_cast<uint8_t>(bits);
  p[1] = static_cast<uint8_t>(bits >> 8);
}

// 32 elements, one scale (and for the _1 forms a minimum): blocks_legacy.cc.
void dequantize_q4_0(const uint8_t* src, float* out);
void dequantize_q4_1(const uint8_t* src, float* out);
void dequantize_q5_0(const uint8_t* src, float* out);
void dequantize_q5_1(const uint8_t* src, float* out);
void dequantize_q8_0(const uint8_t* src, float* out);
void dequantize_q8_1(const uint8_t* src, float* out);
void quantize_q4_0(const float* src, uint8_t* dst);
void quantize_q4_1(const float* src, uint8_t* dst);
void quantize_q5_0(const float* src, uint8_t* dst);
void quantize_q5_1(const float* src, uint8_t* dst);
void quantize_q8_0(const float* src, uint8_t* dst);

// 256 elements, scales of sub-blocks quantized in turn: blocks_k.cc.
void dequantize_q2_k(const uint8_t* src, float* out);
void dequantize_q3_k(const uint8_t* src, float* out);
void dequantize_q4_k(const uint8_t* src, float* out);
void dequantize_q5_k(const uint8_t* src, float* out);
void dequantize_q6_k(const uint8_t* src, float* out);
void dequantize_q8_k(const uint8_t* src, float* out);

// 4-bit codes into a table of 16 values: blocks_table.cc.
void dequantize_iq4_nl(const uint8_t* src, float* out);
void dequantize_iq4_xs(const uint8_t* src, float* out);
void dequantize_mxfp4(const uint8_t* src, float* out);
void dequantize_nvfp4(const uint8_t* src, float* out);
void quantize_mxfp4(const float* src, uint8_t* dst);

// 256 elements of -1, 0, 1 and one scale: blocks_ternary.cc.
void dequantize_tq1_0(const uint8_t* src, float* out);
void dequantize_tq2_0(const uint8_t* src, float* out);
void quantize_tq1_0(const float* src, uint8_t* dst);
void quantize_tq2_0(const float* src, uint8_t* dst);

}  // namespace ruvllm::block_formats
