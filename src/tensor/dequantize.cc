#include "tensor/dequantize.h"

#include <cstring>

#include "base/check.h"
#include "base/float_types.h"
#include "tensor/block_formats.h"

namespace ruvllm {
namespace {

// Scalars are blocks of one element.
template <typename T>
T load(const uint8_t* src) {
  T value;
  std::memcpy(&value, src, sizeof value);
  return value;
}

template <typename T>
void dequantize_number(const uint8_t* src, float* out) {
  *out = static_cast<float>(load<T>(src));
}
void dequantize_f16(const uint8_t* src, float* out) {
  *out = f16_to_f32(load<uint16_t>(src));
}
void dequantize_bf16(const uint8_t* src, float* out) {
  *out = bf16_to_f32(load<uint16_t>(src));
}
// Whole models are read so: eight at a time, which compilers make vectors of.
void dequantize_bf16_row(const uint8_t* src, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    uint16_t eight[8];
    std::memcpy(eight, src + 2 * i, sizeof eight);
    for (int k = 0; k < 8; ++k) out[i + k] = bf16_to_f32(eight[k]);
  }
  for (; i < n; ++i) dequantize_bf16(src + 2 * i, out + i);
}
void dequantize_f8e4m3(const uint8_t* src, float* out) {
  *out = f8e4m3_to_f32(*src);
}
void dequantize_f8e5m2(const uint8_t* src, float* out) {
  *out = f8e5m2_to_f32(*src);
}
void dequantize_bool(const uint8_t* src, float* out) {
  *out = *src != 0 ? 1.0f : 0.0f;
}

void quantize_f32(const float* src, uint8_t* dst) {
  std::memcpy(dst, src, sizeof(float));
}
void quantize_f16(const float* src, uint8_t* dst) {
  const uint16_t bits = f32_to_f16(*src);
  std::memcpy(dst, &bits, sizeof bits);
}
void quantize_bf16(const float* src, uint8_t* dst) {
  const uint16_t bits = f32_to_bf16(*src);
  std::memcpy(dst, &bits, sizeof bits);
}

struct Codec {
  DType dtype;
  void (*dequantize)(const uint8_t* block, float* out);
  void (*quantize)(const float* src, uint8_t* block);  // null: no reference quantizer here
};

namespace bf = block_formats;

// The i-quants with codebooks (iq1_*, iq2_*, iq3_*) are absent: they are refused by name.
constexpr Codec kCodecs[] = {
    {DType::kF32, dequantize_number<float>, quantize_f32},
    {DType::kF16, dequantize_f16, quantize_f16},
    {DType::kBF16, dequantize_bf16, quantize_bf16},
    {DType::kF8E4M3, dequantize_f8e4m3, nullptr},
    {DType::kF8E5M2, dequantize_f8e5m2, nullptr},
    {DType::kF64, dequantize_number<double>, nullptr},
    {DType::kI8, dequantize_number<int8_t>, nullptr},
    {DType::kU8, dequantize_number<uint8_t>, nullptr},
    {DType::kI16, dequantize_number<int16_t>, nullptr},
    {DType::kI32, dequantize_number<int32_t>, nullptr},
    {DType::kI64, dequantize_number<int64_t>, nullptr},
    {DType::kBool, dequantize_bool, nullptr},
    {DType::kQ4_0, bf::dequantize_q4_0, bf::quantize_q4_0},
    {DType::kQ4_1, bf::dequantize_q4_1, bf::quantize_q4_1},
    {DType::kQ5_0, bf::dequantize_q5_0, bf::quantize_q5_0},
    {DType::kQ5_1, bf::dequantize_q5_1, bf::quantize_q5_1},
    {DType::kQ8_0, bf::dequantize_q8_0, bf::quantize_q8_0},
    {DType::kQ2_K, bf::dequantize_q2_k, nullptr},
    {DType::kQ3_K, bf::dequantize_q3_k, nullptr},
    {DType::kQ4_K, bf::dequantize_q4_k, nullptr},
    {DType::kQ5_K, bf::dequantize_q5_k, nullptr},
    {DType::kQ6_K, bf::dequantize_q6_k, nullptr},
    {DType::kIQ4_NL, bf::dequantize_iq4_nl, nullptr},
    {DType::kIQ4_XS, bf::dequantize_iq4_xs, nullptr},
    {DType::kMXFP4, bf::dequantize_mxfp4, bf::quantize_mxfp4},
    {DType::kQ8_1, bf::dequantize_q8_1, nullptr},
    {DType::kQ8_K, bf::dequantize_q8_k, nullptr},
    {DType::kTQ1_0, bf::dequantize_tq1_0, bf::quantize_tq1_0},
    {DType::kTQ2_0, bf::dequantize_tq2_0, bf::quantize_tq2_0},
    {DType::kNVFP4, bf::dequantize_nvfp4, nullptr},
};

const Codec* find_codec(DType dtype) {
  for (const Codec& codec : kCodecs) {
    if (codec.dtype == dtype) return &codec;
  }
  return nullptr;
}

}  // namespace

bool can_dequantize(DType dtype) {
  return find_codec(dtype) != nullptr;
}

void dequantize_row(DType dtype, const void* src, float* out, int64_t n) {
  const Codec* codec = find_codec(dtype);
  const DTypeInfo& info = dtype_info(dtype);
  RUVLLM_CHECK(codec != nullptr, info.name);
  RUVLLM_CHECK(n >= 0 && n % info.block_elements == 0, info.name, ", ", n);
  const auto* block = static_cast<const uint8_t*>(src);
  if (dtype == DType::kBF16) return dequantize_bf16_row(block, out, n);
  for (int64_t i = 0; i < n; i += info.block_elements) {
    codec->dequantize(block, out + i);
    block += info.block_bytes;
  }
}

bool can_quantize(DType dtype) {
  const Codec* codec = find_codec(dtype);
  return codec != nullptr && codec->quantize != nullptr;
}

void quantize_row(DType dtype, const float* src, void* dst, int64_t n) {
  const Codec* codec = find_codec(dtype);
  const DTypeInfo& info = dtype_info(dtype);
  RUVLLM_CHECK(codec != nullptr && codec->quantize != nullptr, info.name);
  RUVLLM_CHECK(n >= 0 && n % info.block_elements == 0, info.name, ", ", n);
  auto* block = static_cast<uint8_t*>(dst);
  for (int64_t i = 0; i < n; i += info.block_elements) {
    codec->quantize(src + i, block);
    block += info.block_bytes;
  }
}

}  // namespace ruvllm
