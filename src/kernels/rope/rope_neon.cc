#include "kernels/rope/rope_impl.h"
#include "kernels/simd/vec_neon.h"

namespace ruvllm::kernels::neon {

const RopeKernels kRope = {rope_halves_row<V>, rope_interleaved_row<V>};

}  // namespace ruvllm::kernels::neon
