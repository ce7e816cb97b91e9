#include "kernels/elementwise/elementwise_impl.h"
#include "kernels/simd/vec_generic.h"

namespace ruvllm::kernels::generic {

const ElementwiseKernels kElementwise = {apply<V>,   apply_multiply<V>, add_scaled<V>, multiply<V>,
                                         softcap<V>, finish<V>,         softmax<V>};

}  // namespace ruvllm::kernels::generic
