#include "quantize/vector_math.h"

#include "kernels/kernel_lists.h"

namespace ruvllm {

const kernels::QuantizerKernels& quantizer_kernels() {
  // Whoever makes the Ops says what is wrong with a RUVLLM_ISA that is refused.
  static const kernels::QuantizerKernels& kernels =
      kernels::quantizer_kernels(kernels::pick_isa().value_or(kernels::IsaLevel::kGeneric));
  return kernels;
}

}  // namespace ruvllm
