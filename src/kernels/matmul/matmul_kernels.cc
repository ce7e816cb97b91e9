#include "kernels/matmul/matmul_kernels.h"

namespace ruvllm::kernels {
namespace {

#define KERNEL(level, symbol) {IsaLevel::level, &symbol},
constexpr KernelEntry<FloatDotKernel> kFloatDotKernels[] = {
#include "kernels/matmul/float_dot.inc"
};
constexpr KernelEntry<QuantPanelKernel> kQuantPanelKernels[] = {
#include "kernels/matmul/quant_panel.inc"
};
constexpr KernelEntry<QuantizeKernel> kQuantizeKernels[] = {
#include "kernels/quantize/quantize_rows.inc"
};
#undef KERNEL

// The last entry that may run where `level` is picked.
template <typename Kernel>
const Kernel& best(std::span<const KernelEntry<Kernel>> entries, IsaLevel level) {
  const Kernel* found = entries.front().kernel;
  for (const KernelEntry<Kernel>& entry : entries) {
    if (isa_includes(level, entry.level)) found = entry.kernel;
  }
  return *found;
}

}  // namespace

std::span<const KernelEntry<FloatDotKernel>> float_dot_kernels() {
  return kFloatDotKernels;
}
std::span<const KernelEntry<QuantPanelKernel>> quant_panel_kernels() {
  return kQuantPanelKernels;
}
std::span<const KernelEntry<QuantizeKernel>> quantize_kernels() {
  return kQuantizeKernels;
}

const FloatDotKernel& float_dot_kernel(IsaLevel level) {
  return best(float_dot_kernels(), level);
}
const QuantPanelKernel& quant_panel_kernel(IsaLevel level) {
  return best(quant_panel_kernels(), level);
}
const QuantizeKernel& quantize_kernel(IsaLevel level) {
  return best(quantize_kernels(), level);
}
const Bf16DotKernel* bf16_dot_kernel(IsaLevel level) {
#if defined(__x86_64__)
  if (isa_includes(level, IsaLevel::kAmx)) return &amx::kBf16Dot;
  if (isa_includes(level, IsaLevel::kAvx512Bf16) && has_fast_bf16_dot()) {
    return &avx512bf16::kBf16Dot;
  }
#endif
  static_cast<void>(level);
  return nullptr;
}

}  // namespace ruvllm::kernels
