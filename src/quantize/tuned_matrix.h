// A quantized matrix that is being tuned: codes and scales as numbers that a gradient can move.
//
// Element [n, k] is w = s (q - z) with q = round(clamp(u, 0, M)), M = 2^bits - 1, s = f16(s0 e^a);
// u begins as W / s0 + z, not rounded, and a at 0. The zero point z stays. Gradients pass rounding
// as if it were not there (straight-through, Bengio et al. 2013; scales learned so as in LSQ, Esser
// et al. 2020): with G = dL/dw
//     dL/du = s G where 0 <= u <= M, else 0;   dL/da = s sum over the group of G (q - z).
// Both move by Adam (Kingma and Ba 2015), u in units of codes, and u is then clamped to [-1/2, M +
// 1/2]: beyond a code's own rounding range it would only lose its way back.
//
// Owns 3 floats per weight and 5 per group. Different rows may be read and moved by different
// threads; the same bits whoever does.
#pragma once

#include <vector>

#include "quantize/grid.h"

namespace ruvllm {

// What Adam does in one step.
struct AdamStep {
  float code_rate = 0.0f;    // learning rate of u
  float scale_rate = 0.0f;   // of a
  float mean_part = 1.0f;    // 1 / (1 - beta1^t)
  float square_part = 1.0f;  // 1 / (1 - beta2^t)
};
inline constexpr float kAdamBeta1 = 0.9f;
inline constexpr float kAdamBeta2 = 0.99f;
inline constexpr float kAdamEpsilon = 1e-10f;

class TunedMatrix {
 public:
  // `w` [N, K]: what was rounded to `start`, whose scales and zero points are taken.
  TunedMatrix(ConstMatrixF32 w, const QuantizedMatrix& start);

  int64_t rows() const { return start_.rows; }
  int64_t cols() const { return start_.cols; }

  // Row n as it would be stored now, [K].
  void read_row(int64_t row, float* out) const;
  // Moves row n against its gradient G [K].
  void move_row(int64_t row, const float* gradient, const AdamStep& step);
  QuantizedMatrix quantized() const;

 private:
  QuantizedMatrix start_;         // its codes are not kept
  float max_code_;                // M
  std::vector<float> latents_;    // [N, K]: u
  std::vector<float> means_;      // [N, K]: Adam's of u
  std::vector<float> squares_;    // [N, K]
  std::vector<float> exponents_;  // [N, groups]: a
  std::vector<float> scale_means_;
  std::vector<float> scale_squares_;
  std::vector<float> scales_;  // [N, groups]: s
};

}  // namespace ruvllm
