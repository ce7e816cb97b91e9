// The packed forms of quantized matrices (formats/quantized_tensors.h says which), as one source
// that unpacks them. Shapes have been checked by who makes it; views point into the mapped files.
#pragma once

#include <string>

#include "tensor/quantized_matrix.h"
#include "tensor/tensor_view.h"

namespace ruvllm {

// How fields lie in words, LSB first.
enum class CodePacking : uint8_t {
  kAlongInputs,  // GPTQ: [K*b/32, N], running on through the words of a column
  kAwqNibbles,   // AWQ: [K, N/8], nibbles in AWQ's order
  kRowWords,     // compressed-tensors: [N, words], whole fields per word
  kSignedBytes,  // i8 [N, K]
  kFloatBytes,   // f8_e4m3 [N, K]
};

struct PackedMatrix {
  std::string where;  // "file: tensor name", for messages
  CodePacking packing = CodePacking::kRowWords;
  int32_t bits = 4;
  int64_t rows = 0;        // N
  int64_t cols = 0;        // K
  int64_t group_size = 0;  // columns; K: one scale per row
  bool int8_activations = false;
  bool zeros_less_one = false;  // GPTQ v1
  // An empty view: the file has none.
  TensorView codes;
  TensorView scales;    // [groups, N] for GPTQ and AWQ, else [N, groups] or [1]
  TensorView zeros;     // packed as the format packs zero points, or i8 [N, groups]
  TensorView group_of;  // i32 [K]: the group of each input
  // ruvllm's own:
  TensorView input_scale;     // f32 [K]
  TensorView permutation;     // i32 [K]
  TensorView hadamard_signs;  // i8 [K]
  int32_t hadamard_block = 0;

  int64_t num_groups() const { return (cols + group_size - 1) / group_size; }
};

// Unpacks; kBadFile when group_of, permutation or the block contradict the sizes.
Result<QuantizedMatrix> unpack(const PackedMatrix& packed);

// QuantizedSource's form() and read_rows(): the same without the numbers, some rows of them without
// the transform. Fail as unpack() does. unpack_rows: any threads, each with an `out` of its own.
Result<QuantizedMatrix> unpacked_form(const PackedMatrix& packed);
Status unpack_rows(const PackedMatrix& packed, int64_t first, int64_t count, QuantizedMatrix& out);

}  // namespace ruvllm
