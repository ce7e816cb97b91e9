// Linear: a weight matrix with its bias, and a projection made of one or several of them side by
// side (q, k and v; gate and up). Parts of one element format are one matrix; parts of different
// formats (mixed quantizations) stay apart and write neighbouring columns of the same output.
//
// Ownership: a Linear owns its Weight, which may point into the checkpoint. Constant after load.
#pragma once

#include <memory>
#include <vector>

#include "ops/ops.h"

namespace ruvllm {

struct Linear {
  std::unique_ptr<Weight> weight;  // [N, K]
  std::vector<float> bias;         // [N] or empty

  int64_t rows() const { return weight->rows(); }
  const float* bias_data() const { return bias.empty() ? nullptr : bias.data(); }
};

struct Projection {
  std::vector<Linear> parts;  // outputs in order

  int64_t rows() const;  // N of all parts
};

// y = x W^T + delta + b; delta [T, N], what adapters add, may be absent.
void apply(Ops& ops, const Linear& linear, ConstMatrixF32 x, MatrixF32 y,
           ConstMatrixF32 delta = {});
void apply(Ops& ops, const Projection& projection, ConstMatrixF32 x, MatrixF32 y,
           ConstMatrixF32 delta = {});
// y = act(p[:, :F]) * p[:, F:] with p = x W^T + delta + b; both: [T, 2F], room for p, undefined
// afterwards.
void apply_gated(Ops& ops, const Projection& projection, ConstMatrixF32 x, ConstMatrixF32 delta,
                 Activation activation, MatrixF32 both, MatrixF32 y);
// x += branch_scale * (input W^T + delta + b)
void apply_and_add(Ops& ops, const Linear& linear, ConstMatrixF32 input, float branch_scale,
                   MatrixF32 x, ConstMatrixF32 delta = {});

}  // namespace ruvllm
