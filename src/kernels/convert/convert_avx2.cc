#include "kernels/convert/convert_impl.h"
#include "kernels/simd/vec_avx2.h"

namespace ruvllm::kernels::avx2 {

const ConvertKernels kConvert = {bf16_to_f32_row<V>, f16_to_f32_row<V>, f32_to_bf16_row<V>,
                                 f32_to_f16_row<V>};

}  // namespace ruvllm::kernels::avx2
