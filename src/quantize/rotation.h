// Incoherence: a block Hadamard rotation with random signs of a matrix's input space spreads
// outliers over many columns, so that one grid per group fits better. W x = (W R^T)(R x): the
// rotated W is quantized, R is the input transform, and R^T R = 1 exactly up to rounding.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/quantized_matrix.h"
#include "tensor/tensor_view.h"

namespace ruvllm {

// Of the largest power of two, at most `max_block`, that divides K; signs from `seed`. Empty when K
// is odd.
InputTransform make_rotation(int64_t cols, int32_t max_block, uint64_t seed);

// W R^T, [N, K] contiguous.
std::vector<float> rotate_rows(ConstMatrixF32 w, const InputTransform& rotation);
// R H R^T in place, [K, K].
void rotate_hessian(std::vector<double>& hessian, int64_t cols, const InputTransform& rotation);

}  // namespace ruvllm
