#include "kernels/matmul/float_dot_impl.h"
#include "kernels/simd/vec_avx512.h"

namespace ruvllm::kernels::avx512 {

// 24 sums, four weights and a value of x, of 32 registers.
const FloatDotKernel kFloatDot = make_float_dot<V, 6, 4>();

}  // namespace ruvllm::kernels::avx512
