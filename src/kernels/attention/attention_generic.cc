#include "kernels/attention/attention_impl.h"
#include "kernels/simd/vec_generic.h"

namespace ruvllm::kernels::generic {

const AttentionKernels kAttention = {attend<V>, merge<V>, finish<V>, 64};

}  // namespace ruvllm::kernels::generic
