// The feed-forward part of a layer: dense (gated or plain) or a mixture of experts.
#pragma once

#include "model/step.h"

namespace ruvllm {

// x += branch(mlp(input))
void mlp(const Step& step, int32_t layer, const LayerWeights& weights, ConstMatrixF32 input,
         MatrixF32 x);

}  // namespace ruvllm
