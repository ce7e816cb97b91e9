#include "kernels/norm/norm_impl.h"
#include "kernels/simd/vec_avx2.h"

namespace ruvllm::kernels::avx2 {

const NormKernels kNorm = {rms_norm_row<V>, layer_norm_row<V>};

}  // namespace ruvllm::kernels::avx2
