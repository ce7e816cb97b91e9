// Memory of weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/huge_memory.h"

namespace ruvllm {

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
