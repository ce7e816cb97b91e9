#include "kernels/matmul/float_dot_impl.h"
#include "kernels/simd/vec_avx2.h"

namespace ruvllm::kernels::avx2 {

// 4 x 3 sums, three weights and one value of x fill the 16 registers.
const FloatDotKernel kFloatDot = make_float_dot<V, 4, 3>();

}  // namespace ruvllm::kernels::avx2
