#include "kernels/rope/rope_impl.h"
#include "kernels/simd/vec_generic.h"

namespace ruvllm::kernels::generic {

const RopeKernels kRope = {rope_halves_row<V>, rope_interleaved_row<V>};

}  // namespace ruvllm::kernels::generic
