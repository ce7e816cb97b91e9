// The matmul kernels of an instruction set level, from the lists *.inc of this folder.
#pragma once

#include <span>

#include "kernels/cpu_isa.h"
#include "kernels/matmul/float_dot.h"

namespace ruvllm::kernels {

struct FloatDotEntry {
  IsaLevel level;
  const FloatDotKernel* kernel;
};
// Every kernel of this build, slowest first.
std::span<const FloatDotEntry> float_dot_kernels();
// The kernel where `level` is picked.
const FloatDotKernel& float_dot_kernel(IsaLevel level);

}  // namespace ruvllm::kernels
