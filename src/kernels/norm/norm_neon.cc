#include "kernels/norm/norm_impl.h"
#include "kernels/simd/vec_neon.h"

namespace ruvllm::kernels::neon {

const NormKernels kNorm = {rms_norm_row<V>, layer_norm_row<V>};

}  // namespace ruvllm::kernels::neon
