#include "kernels/convert/convert_impl.h"
#include "kernels/simd/vec_neon.h"

namespace ruvllm::kernels::neon {

const ConvertKernels kConvert = {bf16_to_f32_row<V>, f16_to_f32_row<V>, f32_to_bf16_row<V>,
                                 f32_to_f16_row<V>};

}  // namespace ruvllm::kernels::neon
