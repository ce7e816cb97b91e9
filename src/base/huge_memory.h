// Large pieces of memory: weights, the KV cache, activations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace ruvllm {

struct FreeDeleter {
  void operator()(std::byte* p) const { std::free(p); }
};
using OwnedBytes = std::unique_ptr<std::byte[], FreeDeleter>;

// `bytes` of memory, 64-byte aligned, its contents undefined; null when there is none. Large ones
// ask for huge pages: a stream through 4 KB pages spends a tenth of its time in the page tables,
// and a product that writes rows of a few KB apart 2-3 %.
inline OwnedBytes allocate_huge(uint64_t bytes) {
  constexpr uint64_t kHugePage = uint64_t{2} << 20;
  const uint64_t alignment = bytes >= 2 * kHugePage ? kHugePage : 64;
  if (bytes == 0 || bytes > SIZE_MAX - alignment) return nullptr;
  const auto rounded = static_cast<size_t>((bytes + 63) / 64 * 64);
  void* memory = nullptr;
#if defined(__linux__)
  if (::posix_memalign(&memory, static_cast<size_t>(alignment), rounded) != 0) return nullptr;
  if (alignment == kHugePage) ::madvise(memory, rounded, MADV_HUGEPAGE);
#else
  memory = std::aligned_alloc(64, rounded);
#endif
  return OwnedBytes(static_cast<std::byte*>(memory));
}

}  // namespace ruvllm
