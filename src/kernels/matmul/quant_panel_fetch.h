// Fetching of what the products of quant_panel.h read later.
#pragma once

#include <stdint.h>

namespace ruvllm::kernels {
namespace {

// What is read next comes into the second level meanwhile, a few lines at a time: many at once
// would wait for each other, and all else for them.
class Fetcher {
 public:
  // `count` pieces of so many bytes, `stride` bytes apart.
  struct Pieces {
    const uint8_t* at;
    int64_t bytes;
    int64_t count;
    int64_t stride;
  };

  Fetcher() = default;
  // In so many steps.
  Fetcher(const uint8_t* at, int64_t bytes, int64_t steps) : Fetcher({at, bytes, 1, 0}, steps) {}
  Fetcher(const Pieces& pieces, int64_t steps)
      : at_(pieces.at),
        end_(pieces.at + pieces.bytes),
        gap_(pieces.stride - pieces.bytes),
        bytes_(pieces.bytes),
        left_(pieces.count - 1),
        lines_((pieces.bytes * pieces.count / 64 + steps) / steps) {}

  RUVLLM_INLINE void step() {
    for (int64_t i = 0; i < lines_; ++i, at_ += 64) {
      if (at_ >= end_) {
        if (left_ <= 0) return;
        --left_;
        at_ = end_ + gap_;
        end_ = at_ + bytes_;
      }
      __builtin_prefetch(at_, 0, 2);
    }
  }

 private:
  const uint8_t* at_ = nullptr;
  const uint8_t* end_ = nullptr;
  int64_t gap_ = 0;
  int64_t bytes_ = 0;
  int64_t left_ = 0;   // pieces after this one
  int64_t lines_ = 0;  // with each step
};

// Panels that come after NV others: so many bytes after each of those.
template <int NV>
struct LaterPanels {
  bool any = false;
  int64_t distance[NV] = {};
};

// The same piece of each of them, which comes into the second level in parts.
template <int NV>
struct LaterPieces {
  const uint8_t* at[NV];
  int64_t lines = 0;

  RUVLLM_INLINE void fetch(int64_t part, int64_t parts) const {
    const int64_t first = lines * part / parts, last = lines * (part + 1) / parts;
    for (int64_t line = first; line < last; ++line) {
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) __builtin_prefetch(at[n] + 64 * line, 0, 2);
    }
  }
};

}  // namespace
}  // namespace ruvllm::kernels
