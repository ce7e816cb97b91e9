// XLoraRows: what pass 1 of an X-LoRA sequence leaves behind for pass 2, position by position: the
// gates and, where both passes begin alike, the residual stream at the layer where they part. Pass
// 2 follows within a step or two, so little is held.
//
// A sequence that begins anew (preempted, another rotary regime) puts positions again: those held
// then go. One owner, one thread. Cannot fail.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/check.h"

namespace ruvllm {

class XLoraRows {
 public:
  // stream_width: 0 when the passes share no layer.
  XLoraRows(int64_t num_gates, int64_t stream_width)
      : num_gates_(num_gates), width_(num_gates + stream_width) {}

  // The next position, or the first of a sequence that begins anew.
  void put(int64_t position, const float* gates, const float* stream) {
    if (position != end_) {
      values_.clear();
      first_ = end_ = position;
    }
    values_.insert(values_.end(), gates, gates + num_gates_);
    if (stream != nullptr) values_.insert(values_.end(), stream, stream + (width_ - num_gates_));
    ++end_;
    RUVLLM_CHECK(static_cast<int64_t>(values_.size()) == (end_ - first_) * width_, position);
  }
  const float* gates(int64_t position) const {
    RUVLLM_CHECK(position >= first_ && position < end_, position, " of ", first_, " to ", end_);
    return values_.data() + (position - first_) * width_;
  }
  const float* stream(int64_t position) const { return gates(position) + num_gates_; }
  // Pass 2 has computed the positions before this one.
  void drop_before(int64_t position) {
    const int64_t count = std::clamp<int64_t>(position - first_, 0, end_ - first_);
    values_.erase(values_.begin(), values_.begin() + count * width_);
    first_ += count;
    // A long prompt's rows do not stay for the whole answer.
    if (values_.empty() && values_.capacity() > static_cast<size_t>(kKeptRows * width_)) {
      values_.shrink_to_fit();
    }
  }
  int64_t capacity_rows() const { return static_cast<int64_t>(values_.capacity()) / width_; }

 private:
  static constexpr int64_t kKeptRows = 16;
  int64_t num_gates_;
  int64_t width_;
  int64_t first_ = 0;
  int64_t end_ = 0;
  std::vector<float> values_;  // [positions, width]
};

}  // namespace ruvllm
