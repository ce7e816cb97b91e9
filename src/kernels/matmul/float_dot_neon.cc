#include "kernels/matmul/float_dot_impl.h"
#include "kernels/simd/vec_neon.h"

namespace ruvllm::kernels::neon {

// 4 x 3 sums, three weights and one value of x fill the 16 pairs of registers.
const FloatDotKernel kFloatDot = make_float_dot<V, 4, 3>();

}  // namespace ruvllm::kernels::neon
