#include "kernels/norm/norm_impl.h"
#include "kernels/simd/vec_generic.h"

namespace ruvllm::kernels::generic {

const NormKernels kNorm = {rms_norm_row<V>, layer_norm_row<V>};

}  // namespace ruvllm::kernels::generic
