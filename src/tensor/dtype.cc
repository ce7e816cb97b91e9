#include "tensor/dtype.h"

#include "base/check.h"
#include "base/checked.h"

namespace ruvllm {
namespace {

// In the order of the enum. Type ids and sizes: the GGUF specification (ggml docs/gguf.md).
constexpr DTypeInfo kDTypes[] = {
    {DType::kF32, "f32", 1, 4, 0},
    {DType::kF16, "f16", 1, 2, 1},
    {DType::kBF16, "bf16", 1, 2, 30},
    {DType::kF8E4M3, "f8_e4m3", 1, 1, -1},
    {DType::kF8E5M2, "f8_e5m2", 1, 1, -1},
    {DType::kF64, "f64", 1, 8, 28},
    {DType::kI8, "i8", 1, 1, 24},
    {DType::kU8, "u8", 1, 1, -1},
    {DType::kI16, "i16", 1, 2, 25},
    {DType::kI32, "i32", 1, 4, 26},
    {DType::kI64, "i64", 1, 8, 27},
    {DType::kBool, "bool", 1, 1, -1},
    {DType::kQ4_0, "q4_0", 32, 18, 2},
    {DType::kQ4_1, "q4_1", 32, 20, 3},
    {DType::kQ5_0, "q5_0", 32, 22, 6},
    {DType::kQ5_1, "q5_1", 32, 24, 7},
    {DType::kQ8_0, "q8_0", 32, 34, 8},
    {DType::kQ2_K, "q2_k", 256, 84, 10},
    {DType::kQ3_K, "q3_k", 256, 110, 11},
    {DType::kQ4_K, "q4_k", 256, 144, 12},
    {DType::kQ5_K, "q5_k", 256, 176, 13},
    {DType::kQ6_K, "q6_k", 256, 210, 14},
    {DType::kIQ4_NL, "iq4_nl", 32, 18, 20},
    {DType::kIQ4_XS, "iq4_xs", 256, 136, 23},
    {DType::kMXFP4, "mxfp4", 32, 17, 39},
    {DType::kQ8_1, "q8_1", 32, 36, 9},
    {DType::kQ8_K, "q8_k", 256, 292, 15},
    {DType::kIQ1_S, "iq1_s", 256, 50, 19},
    {DType::kIQ1_M, "iq1_m", 256, 56, 29},
    {DType::kIQ2_XXS, "iq2_xxs", 256, 66, 16},
    {DType::kIQ2_XS, "iq2_xs", 256, 74, 17},
    {DType::kIQ2_S, "iq2_s", 256, 82, 22},
    {DType::kIQ3_XXS, "iq3_xxs", 256, 98, 18},
    {DType::kIQ3_S, "iq3_s", 256, 110, 21},
    {DType::kTQ1_0, "tq1_0", 256, 54, 34},
    {DType::kTQ2_0, "tq2_0", 256, 66, 35},
    {DType::kNVFP4, "nvfp4", 64, 36, 40},
};

constexpr bool table_in_enum_order() {
  for (size_t i = 0; i < std::size(kDTypes); ++i) {
    if (static_cast<size_t>(kDTypes[i].dtype) != i) return false;
  }
  return true;
}
static_assert(table_in_enum_order());

}  // namespace

const DTypeInfo& dtype_info(DType dtype) {
  RUVLLM_CHECK(static_cast<size_t>(dtype) < std::size(kDTypes), static_cast<int>(dtype));
  return kDTypes[static_cast<size_t>(dtype)];
}

std::optional<DType> dtype_from_gguf_id(uint32_t id) {
  for (const DTypeInfo& info : kDTypes) {
    if (info.gguf_id >= 0 && static_cast<uint32_t>(info.gguf_id) == id) return info.dtype;
  }
  return std::nullopt;
}

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const DTypeInfo& info : kDTypes) {
    if (info.name == name) return info.dtype;
  }
  return std::nullopt;
}

bool row_bytes(DType dtype, int64_t elements, uint64_t& bytes) {
  const DTypeInfo& info = dtype_info(dtype);
  if (elements < 0 || elements % info.block_elements != 0) return false;
  return checked_mul(static_cast<uint64_t>(elements / info.block_elements),
                     static_cast<uint64_t>(info.block_bytes), bytes);
}

}  // namespace ruvllm
