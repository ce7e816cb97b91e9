#include "kernels/rope/rope_impl.h"
#include "kernels/simd/vec_avx2.h"

namespace ruvllm::kernels::avx2 {

const RopeKernels kRope = {rope_halves_row<V>, rope_interleaved_row<V>};

}  // namespace ruvllm::kernels::avx2
