#include "quantize/vector_math.h"

#include "kernels/kernel_lists.h"

namespace ruvllm {
namespace {

// Whoever makes the Ops says what is wrong with a RUVLLM_ISA that is refused.
kernels::IsaLevel level() {
  return kernels::pick_isa().value_or(kernels::IsaLevel::kGeneric);
}

}  // namespace

const kernels::QuantizerKernels& quantizer_kernels() {
  static const kernels::QuantizerKernels& kernels = kernels::quantizer_kernels(level());
  return kernels;
}

const kernels::ConvertKernels& quantizer_input_kernels() {
  static const kernels::ConvertKernels& kernels = kernels::convert_kernels(level());
  return kernels;
}

}  // namespace ruvllm
