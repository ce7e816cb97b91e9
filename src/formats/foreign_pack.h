// QuantizedMatrix -> the tensors of other projects' layouts: GPTQ v2, AutoAWQ gemm,
// compressed-tensors pack-quantized and int-quantized (W8A8), as quantized_tensors.h describes
// them. What is packed here reads back with the same codes, zero points and scales. Pure functions;
// any thread.
//
// Failure: kUnsupported, saying what the layout cannot hold and what would fit: an input transform,
// scales that are no f16 (the quantizers' are), sizes that do not divide.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "formats/quantized_pack.h"
#include "ruvllm/result.h"
#include "tensor/quantized_matrix.h"

namespace ruvllm {

enum class ForeignLayout : uint8_t {
  kGptq,
  kAwq,
  kCompressedTensors,  // pack-quantized; int-quantized where int8 activations were chosen for
};

// The layout's name in messages and on the command line.
std::string_view foreign_layout_name(ForeignLayout layout);

// Whether a matrix of that size and grid fits; what is wrong otherwise. `group_size`: K for one
// group per row.
Status check_foreign(ForeignLayout layout, int64_t rows, int64_t cols, int32_t bits,
                     int64_t group_size);

// The parts of the matrix "PREFIX.weight".
Result<std::vector<PackedTensor>> pack_foreign(ForeignLayout layout, const QuantizedMatrix& matrix,
                                               const std::string& prefix);

}  // namespace ruvllm
