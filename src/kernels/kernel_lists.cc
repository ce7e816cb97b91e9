#include "kernels/kernel_lists.h"

namespace ruvllm::kernels {
namespace {

#if defined(__x86_64__)
#define RUVLLM_KERNEL_ROWS(name)                                            \
  {                                                                         \
    {IsaLevel::kGeneric, &generic::name}, {IsaLevel::kAvx2, &avx2::name}, { \
      IsaLevel::kAvx512, &avx512::name                                      \
    }                                                                       \
  }
#elif defined(__aarch64__)
#define RUVLLM_KERNEL_ROWS(name)            \
  {                                         \
    {IsaLevel::kGeneric, &generic::name}, { \
      IsaLevel::kNeon, &neon::name          \
    }                                       \
  }
#else
#define RUVLLM_KERNEL_ROWS(name)         \
  {                                      \
    {                                    \
      IsaLevel::kGeneric, &generic::name \
    }                                    \
  }
#endif

constexpr KernelRow<NormKernels> kNormList[] = RUVLLM_KERNEL_ROWS(kNorm);
constexpr KernelRow<RopeKernels> kRopeList[] = RUVLLM_KERNEL_ROWS(kRope);
constexpr KernelRow<ElementwiseKernels> kElementwiseList[] = RUVLLM_KERNEL_ROWS(kElementwise);
constexpr KernelRow<ConvertKernels> kConvertList[] = RUVLLM_KERNEL_ROWS(kConvert);
constexpr KernelRow<AttentionKernels> kAttentionList[] = RUVLLM_KERNEL_ROWS(kAttention);
// Eight lanes are part of the arithmetic: wider registers do two times eight at once.
constexpr KernelRow<QuantizerKernels> kQuantizerList[] = {
    {IsaLevel::kGeneric, &generic::kQuantizer},
#if defined(__x86_64__)
    {IsaLevel::kAvx2, &avx2::kQuantizer},
    {IsaLevel::kAvx512, &avx512::kQuantizer},
    {IsaLevel::kAmx, &avx512::kWideQuantizer},
#endif
};

template <typename Kernels>
const Kernels& pick(std::span<const KernelRow<Kernels>> list, IsaLevel level) {
  const Kernels* best = list.front().kernels;
  for (const KernelRow<Kernels>& row : list) {
    if (isa_includes(level, row.isa)) best = row.kernels;
  }
  return *best;
}

}  // namespace

std::span<const KernelRow<NormKernels>> norm_kernel_list() {
  return kNormList;
}
std::span<const KernelRow<RopeKernels>> rope_kernel_list() {
  return kRopeList;
}
std::span<const KernelRow<ElementwiseKernels>> elementwise_kernel_list() {
  return kElementwiseList;
}
std::span<const KernelRow<ConvertKernels>> convert_kernel_list() {
  return kConvertList;
}
std::span<const KernelRow<AttentionKernels>> attention_kernel_list() {
  return kAttentionList;
}
std::span<const KernelRow<QuantizerKernels>> quantizer_kernel_list() {
  return kQuantizerList;
}

const NormKernels& norm_kernels(IsaLevel level) {
  return pick(norm_kernel_list(), level);
}
const RopeKernels& rope_kernels(IsaLevel level) {
  return pick(rope_kernel_list(), level);
}
const ElementwiseKernels& elementwise_kernels(IsaLevel level) {
  return pick(elementwise_kernel_list(), level);
}
const ConvertKernels& convert_kernels(IsaLevel level) {
  return pick(convert_kernel_list(), level);
}
const AttentionKernels& attention_kernels(IsaLevel level) {
  return pick(attention_kernel_list(), level);
}
const AttentionKernels& attention_kernels(IsaLevel level, KvFormat format) {
#if defined(__x86_64__)
  if (format == KvFormat::kBf16) {
    if (isa_includes(level, IsaLevel::kAmx)) return amx::kAttention;
    if (isa_includes(level, IsaLevel::kAvx512Bf16) && has_fast_bf16_dot()) {
      return avx512bf16::kAttention;
    }
  }
#endif
  static_cast<void>(format);
  return attention_kernels(level);
}
const QuantizerKernels& quantizer_kernels(IsaLevel level) {
  return pick(quantizer_kernel_list(), level);
}

}  // namespace ruvllm::kernels
