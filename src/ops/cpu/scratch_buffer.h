// Memory that grows when a larger shape comes and is then kept: a step after reserve() allocates
// nothing. 64-byte aligned. Not thread-safe: get() on the calling thread, before the parallel part.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "base/huge_memory.h"

namespace ruvllm {

class ScratchBuffer {
 public:
  ScratchBuffer() = default;
  ScratchBuffer(const ScratchBuffer&) = delete;
  ScratchBuffer& operator=(const ScratchBuffer&) = delete;

  // Room for `count` elements of T; what was in it before is lost when it grows.
  template <typename T>
  T* get(int64_t count) {
    RUVLLM_CHECK(count >= 0, "count = ", count);
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    if (bytes > bytes_) grow(bytes);
    return reinterpret_cast<T*>(data_.get());
  }

 private:
  void grow(size_t bytes) {
    data_.reset();
    data_ = allocate_huge(bytes);
    RUVLLM_CHECK(data_ != nullptr, "out of memory: scratch of ", bytes, " bytes");
    bytes_ = bytes;
  }

  OwnedBytes data_;
  size_t bytes_ = 0;
};

}  // namespace ruvllm
