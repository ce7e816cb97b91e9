// HiddenPool: from the final hidden states of a text to its embedding: their mean (or that of one
// token, as the model says), L2-normalized. One text each; one thread.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "formats/checkpoint.h"

namespace ruvllm {

class HiddenPool {
 public:
  HiddenPool(Pooling pooling, int64_t num_tokens, int32_t hidden_size)
      : pooling_(pooling), num_tokens_(num_tokens), sum_(static_cast<size_t>(hidden_size)) {}

  // Rows in order of position; `hidden` [E].
  void add(int64_t position, const float* hidden) {
    if (pooling_ == Pooling::kFirstToken && position != 0) return;
    if (pooling_ == Pooling::kLastToken && position != num_tokens_ - 1) return;
    for (size_t i = 0; i < sum_.size(); ++i) sum_[i] += hidden[i];
  }

  // L2-normalized, so the number of summands does not matter.
  std::vector<float> take() const {
    double squares = 0.0;
    for (const double value : sum_) squares += value * value;
    const double scale = squares > 0.0 ? 1.0 / std::sqrt(squares) : 0.0;
    std::vector<float> out;
    out.reserve(sum_.size());
    for (const double value : sum_) out.push_back(static_cast<float>(value * scale));
    return out;
  }

 private:
  Pooling pooling_;
  int64_t num_tokens_;
  std::vector<double> sum_;
};

}  // namespace ruvllm
