// Every element format a tensor can have, in memory or in a file: scalars and the block formats of
// GGUF. A block format packs `block_elements` consecutive elements of a row into `block_bytes`.
// One table (kDTypes) is the single list: names, sizes, and GGUF type ids.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace ruvllm {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF8E4M3,
  kF8E5M2,
  kF64,
  kI8,
  kU8,
  kI16,
  kI32,
  kI64,
  kBool,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
  kMXFP4,
  // Known by name and size; refused at load unless dequantize_row() knows them.
  kQ8_1,
  kQ8_K,
  kIQ1_S,
  kIQ1_M,
  kIQ2_XXS,
  kIQ2_XS,
  kIQ2_S,
  kIQ3_XXS,
  kIQ3_S,
  kTQ1_0,
  kTQ2_0,
  kNVFP4,
};

struct DTypeInfo {
  DType dtype;
  std::string_view name;   // lower case, as users write it: "bf16", "q4_k"
  int32_t block_elements;  // 1 for scalars
  int32_t block_bytes;
  int32_t gguf_id;  // -1: not a GGUF type
};

const DTypeInfo& dtype_info(DType dtype);
std::optional<DType> dtype_from_gguf_id(uint32_t id);
std::optional<DType> dtype_from_name(std::string_view name);

inline bool is_block_format(DType dtype) {
  return dtype_info(dtype).block_elements > 1;
}

// Bytes of a row of `elements`; false when elements is negative, is not a multiple of the block, or
// the size does not fit.
bool row_bytes(DType dtype, int64_t elements, uint64_t& bytes);

}  // namespace ruvllm
