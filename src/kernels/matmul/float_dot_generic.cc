#include "kernels/matmul/float_dot_impl.h"
#include "kernels/simd/vec_generic.h"

namespace ruvllm::kernels::generic {

// Two by four sums of four lanes: eight registers of SSE2, WASM or NEON.
const FloatDotKernel kFloatDot = make_float_dot<V, 2, 4>();

}  // namespace ruvllm::kernels::generic
