#include "kernels/elementwise/elementwise_impl.h"
#include "kernels/simd/vec_neon.h"

namespace ruvllm::kernels::neon {

const ElementwiseKernels kElementwise = {apply<V>,   apply_multiply<V>, add_scaled<V>, multiply<V>,
                                         softcap<V>, finish<V>,         softmax<V>};

}  // namespace ruvllm::kernels::neon
