// Rotary positions: inverse frequencies of a RopeConfig and the cos/sin tables of a step.
//
// Every scaling is computed as transformers' modeling_rope_utils does, single precision where that
// is: frequencies and angles are f32 values, so that tables agree to the last bits even at large
// positions; the transcendental functions are evaluated in double and rounded once.
//
// Values only; constant after construction; any thread may read.
#pragma once

#include <cstdint>
#include <vector>

#include "spec/model_config.h"

namespace ruvllm {

class RopeTable {
 public:
  // max_positions: ModelConfig's; longrope without a factor takes its ratio to the original length.
  RopeTable(const RopeConfig& config, int64_t max_positions);

  int64_t pairs() const { return pairs_; }  // rotary_dim / 2
  int num_regimes() const { return static_cast<int>(inverse_frequencies_.size()); }
  // Longrope: regime 1 (the long factors) for sequences beyond the original length, for all their
  // positions; otherwise 0.
  uint8_t regime(int64_t sequence_tokens) const {
    return num_regimes() > 1 && sequence_tokens > original_max_positions_ ? 1 : 0;
  }
  float attention_factor() const { return attention_factor_; }
  const std::vector<float>& inverse_frequencies(uint8_t regime) const {
    return inverse_frequencies_[regime];
  }

  // cos and sin of one position: [rotary_dim / 2] each, multiplied by the attention factor.
  void fill(int64_t position, uint8_t regime, float* cos, float* sin) const;

 private:
  int64_t pairs_ = 0;
  int64_t original_max_positions_ = 0;
  float attention_factor_ = 1.0f;
  std::vector<std::vector<float>> inverse_frequencies_;  // [regimes][rotary_dim / 2]
};

}  // namespace ruvllm
