// The matrices of a quantized Hugging Face checkpoint. Several tensors of the files ("x.qweight",
// "x.scales", ...) become one FileTensor "x.weight" that is read when it is needed.
//
// Formats (sources: AutoAWQ, GPTQModel and compressed-tensors documentation and code):
// - GPTQ: qweight i32 [K*b/32, N], fields LSB first along K, running on through word boundaries for
//   3 bits; qzeros i32 [groups, N*b/32] along N; scales [groups, N]; g_idx i32 [K], the group of
//   each input. v1 stores zero points less 1, subtracted from whole words for 2, 4 and 8 bits, so
//   that a zero point of 0 borrows from its neighbour.
// - AWQ gemm: qweight i32 [K, N/8], qzeros i32 [groups, N/8]; nibble i of word c is column
//   8c + {0,2,4,6,1,3,5,7}[i].
// - compressed-tensors: weight_packed i32 [N, ceil(K/p)], p = 32/b fields per word, LSB first, each
//   plus 2^(b-1); or weight i8 or fp8 [N, K]; weight_scale [N, groups], [N, 1] or [1];
//   weight_zero_point, packed along N where the weight is packed; weight_g_idx.
// - ruvllm: as pack-quantized, weight_shape i64 [4] = N, K, bits, group size; and the transform:
//   input_scale f32 [K], permutation i32 [K], hadamard_signs i8 [K], hadamard_block i32 [1];
//   int8_activations, present where they were chosen for.
//
// Ownership: the results point into the mapped files. Failure: kBadFile naming file and tensor.
#pragma once

#include <string>
#include <vector>

#include "formats/quantized_config.h"
#include "spec/file_tensor.h"

namespace ruvllm {

// Replaces the parts of quantized matrices in `tensors` by one tensor each. Shapes and element
// types are checked here, numbers (g_idx) when a matrix is read.
Status join_quantized_tensors(const QuantizationConfig& config, const std::string& path,
                              std::vector<FileTensor>& tensors);

}  // namespace ruvllm
