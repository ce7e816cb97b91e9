#include "kernels/matmul/matmul_kernels.h"

namespace ruvllm::kernels {
namespace {

constexpr FloatDotEntry kFloatDotEntries[] = {
#define KERNEL(level, symbol) {IsaLevel::level, &symbol},
#include "kernels/matmul/float_dot.inc"
#undef KERNEL
};

// The last entry that may run where `level` is picked.
template <typename Entry, size_t kCount>
const Entry& best(const Entry (&entries)[kCount], IsaLevel level) {
  const Entry* found = &entries[0];
  for (const Entry& entry : entries) {
    if (isa_includes(level, entry.level)) found = &entry;
  }
  return *found;
}

}  // namespace

std::span<const FloatDotEntry> float_dot_kernels() {
  return kFloatDotEntries;
}

const FloatDotKernel& float_dot_kernel(IsaLevel level) {
  return *best(kFloatDotEntries, level).kernel;
}

}  // namespace ruvllm::kernels
