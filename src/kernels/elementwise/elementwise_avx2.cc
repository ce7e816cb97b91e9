#include "kernels/elementwise/elementwise_impl.h"
#include "kernels/simd/vec_avx2.h"

namespace ruvllm::kernels::avx2 {

const ElementwiseKernels kElementwise = {apply<V>,   apply_multiply<V>, add_scaled<V>, multiply<V>,
                                         softcap<V>, finish<V>,         softmax<V>};

}  // namespace ruvllm::kernels::avx2
