// StopFlag: how quantization is told to stop, the same in all of it: choosing widths, calibration,
// descent, the cache, saving. Somebody else raises the flag (a signal handler, another thread);
// whoever works looks at it between steps (a product of the pass, rows of a matrix, a ratio of a
// search, a tensor to be saved) and ends with status(): kUnavailable, and nothing of what was begun
// is left. What a function that cannot fail gives after the flag was raised is of no use; its
// caller looks at the flag, too. A file that is being written becomes complete.
//
// A view: the flag outlives it. Copied freely; any thread.
#pragma once

#include <atomic>

#include "ruvllm/result.h"

namespace ruvllm {

class StopFlag {
 public:
  StopFlag() = default;  // never raised
  StopFlag(const std::atomic<bool>& flag) : flag_(&flag) {}

  bool raised() const { return flag_ != nullptr && flag_->load(std::memory_order_relaxed); }
  Status status() const {
    if (!raised()) return {};
    return fail(ErrorCode::kUnavailable, "quantization was cancelled");
  }

 private:
  const std::atomic<bool>* flag_ = nullptr;
};

}  // namespace ruvllm
