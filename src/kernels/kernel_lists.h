// The lists of the small kernels: one row per instruction set that has its own. What runs at a
// level, what the tests compare and what the benchmarks time all come from these lists; a new
// instruction set is one file in the op's folder and one row here.
#pragma once

#include <span>

#include "kernels/attention/attention.h"
#include "kernels/convert/convert.h"
#include "kernels/cpu_isa.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/norm/norm.h"
#include "kernels/quantizer/quantizer.h"
#include "kernels/rope/rope.h"

namespace ruvllm::kernels {

template <typename Kernels>
struct KernelRow {
  IsaLevel isa;
  const Kernels* kernels;
};

// In increasing order of preference, from kGeneric on.
std::span<const KernelRow<NormKernels>> norm_kernel_list();
std::span<const KernelRow<RopeKernels>> rope_kernel_list();
std::span<const KernelRow<ElementwiseKernels>> elementwise_kernel_list();
std::span<const KernelRow<ConvertKernels>> convert_kernel_list();
std::span<const KernelRow<AttentionKernels>> attention_kernel_list();
std::span<const KernelRow<QuantizerKernels>> quantizer_kernel_list();

// The kernels that run at `level`: its own or the nearest below it.
const NormKernels& norm_kernels(IsaLevel level);
const RopeKernels& rope_kernels(IsaLevel level);
const ElementwiseKernels& elementwise_kernels(IsaLevel level);
const ConvertKernels& convert_kernels(IsaLevel level);
const AttentionKernels& attention_kernels(IsaLevel level);
// For a cache of that format: of bf16 kAmx has its own, and kAvx512Bf16 where its dot product is
// fast.
const AttentionKernels& attention_kernels(IsaLevel level, KvFormat format);
const QuantizerKernels& quantizer_kernels(IsaLevel level);

}  // namespace ruvllm::kernels
