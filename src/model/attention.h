// The attention part of a layer.
#pragma once

#include "model/step.h"

namespace ruvllm {

// x += branch(attention(input)): projections, norms of heads, rotation, KV write, attention over
// the cache, output projection.
void attention(const Step& step, int32_t layer, const LayerWeights& weights, ConstMatrixF32 input,
               MatrixF32 x);

}  // namespace ruvllm
