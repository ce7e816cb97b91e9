// Tests only: counts the allocations of the whole program. To be included by one file of it, for
// it replaces operator new. Under sanitizers, which have their own, RUVLLM_COUNT_ALLOCATIONS is not
// defined and num_allocations stays 0.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace ruvllm::test {
inline std::atomic<int64_t> num_allocations{0};
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define RUVLLM_COUNT_ALLOCATIONS 1

// Not inlined: the compiler would then see free() of what it takes for another allocator's memory.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++ruvllm::test::num_allocations;
  if (void* memory = std::malloc(size)) return memory;
  std::abort();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
#endif
