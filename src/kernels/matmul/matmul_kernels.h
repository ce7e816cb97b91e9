// The matmul kernels of an instruction set level, from the lists float_dot.inc,
// quant_panel.inc and quantize_rows.inc, and the one of bf16_dot.h.
#pragma once

#include <span>

#include "kernels/cpu_isa.h"
#include "kernels/matmul/bf16_dot.h"
#include "kernels/matmul/float_dot.h"
#include "kernels/matmul/quant_panel.h"
#include "kernels/quantize/quantize_rows.h"

namespace ruvllm::kernels {

template <typename Kernel>
struct KernelEntry {
  IsaLevel level;
  const Kernel* kernel;
};

// Every kernel of this build, slowest first.
std::span<const KernelEntry<FloatDotKernel>> float_dot_kernels();
std::span<const KernelEntry<QuantPanelKernel>> quant_panel_kernels();
std::span<const KernelEntry<QuantizeKernel>> quantize_kernels();

// The kernel where `level` is picked.
const FloatDotKernel& float_dot_kernel(IsaLevel level);
const QuantPanelKernel& quant_panel_kernel(IsaLevel level);
const QuantizeKernel& quantize_kernel(IsaLevel level);
// Null where `level` has none, or none that is fast: there bf16 weights run through float_dot.h.
const Bf16DotKernel* bf16_dot_kernel(IsaLevel level);

}  // namespace ruvllm::kernels
