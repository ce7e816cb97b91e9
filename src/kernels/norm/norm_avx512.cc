#include "kernels/norm/norm_impl.h"
#include "kernels/simd/vec_avx512.h"

namespace ruvllm::kernels::avx512 {

const NormKernels kNorm = {rms_norm_row<V>, layer_norm_row<V>};

}  // namespace ruvllm::kernels::avx512
