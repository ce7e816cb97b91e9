// Fetching of what the products of quant_panel.h read later.
#pragma once

#include <stdint.h>

namespace ruvllm::kernels {
namespace {

// What is read next comes into the second level meanwhile, a few lines at a time: many at once
// would wait for each other, and all else for them.
class Fetcher {
 public:
  Fetcher() = default;
  // `bytes` from `at` on, in so many steps.
  Fetcher(const uint8_t* at, int64_t bytes, int64_t steps)
      : at_(at), end_(at + bytes), lines_((bytes / 64 + steps) / steps) {}

  RUVLLM_INLINE void step() {
    for (int64_t i = 0; i < lines_ && at_ < end_; ++i, at_ += 64) __builtin_prefetch(at_, 0, 2);
  }

 private:
  const uint8_t* at_ = nullptr;
  const uint8_t* end_ = nullptr;
  int64_t lines_ = 0;
};

}  // namespace
}  // namespace ruvllm::kernels
