#include "kernels/attention/attention_impl.h"
#include "kernels/simd/vec_avx2.h"

namespace ruvllm::kernels::avx2 {

const AttentionKernels kAttention = {attend<V>, merge<V>, finish<V>, 64};

}  // namespace ruvllm::kernels::avx2
