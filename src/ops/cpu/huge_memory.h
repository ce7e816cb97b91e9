// Memory that is read as one long stream: weights, and the buffer that measures how fast that goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace ruvllm {

struct FreeDeleter {
  void operator()(std::byte* p) const { std::free(p); }
};
using OwnedBytes = std::unique_ptr<std::byte[], FreeDeleter>;

// `bytes` of memory, 64-byte aligned, its contents undefined; null when there is none. Large ones
// ask for huge pages: a stream through 4 KB pages spends a tenth of its time in the page tables.
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

// Hands out memory of large pieces, one behind the other, so that all of it stands in huge pages:
// of an allocation by itself the part beyond the last whole huge page does not, nor a small one. A
// piece goes when the last of what stands in it goes. One thread at a time.
class HugeArena {
 public:
  // 64-byte aligned, its contents undefined; null when there is none.
  std::shared_ptr<std::byte[]> allocate(uint64_t bytes) {
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__)
    if (bytes == 0 || bytes > SIZE_MAX / 2) return nullptr;
    const uint64_t rounded = (bytes + 63) / 64 * 64;
    if (rounded <= free_) return take(rounded);
    const uint64_t size = rounded > kPieceBytes ? rounded : kPieceBytes;
    std::shared_ptr<std::byte[]> piece = allocate_huge(size);
    if (piece == nullptr) return nullptr;
    if (size - rounded < free_) return piece;  // the one at hand has more room left
    piece_ = std::move(piece);
    next_ = piece_.get();
    free_ = size;
    return take(rounded);
#else
    return allocate_huge(bytes);
#endif
  }

 private:
  static constexpr uint64_t kPieceBytes = uint64_t{64} << 20;  // memory not used is not touched

  std::shared_ptr<std::byte[]> take(uint64_t bytes) {
    std::shared_ptr<std::byte[]> out(piece_, next_);
    next_ += bytes;
    free_ -= bytes;
    return out;
  }

  std::shared_ptr<std::byte[]> piece_;
  std::byte* next_ = nullptr;
  uint64_t free_ = 0;
};

}  // namespace ruvllm
