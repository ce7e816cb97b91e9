#include "kernels/attention/attention_impl.h"
#include "kernels/simd/vec_neon.h"

namespace ruvllm::kernels::neon {

const AttentionKernels kAttention = {attend<V>, merge<V>, finish<V>, 64};

}  // namespace ruvllm::kernels::neon
