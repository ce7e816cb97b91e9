// What follows a product of CpuOps: bias, adapters' part, residual. Private to ops/cpu.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/elementwise/elementwise.h"
#include "ops/ops.h"

namespace ruvllm {

// Rows of w at a time, of those of a task.
constexpr int64_t kRowsAtATime = 64;

inline int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// Products of a task before the epilogue: (t, n) at data[t * x_stride + n * w_stride].
struct Sums {
  float* data;
  int64_t x_stride;
  int64_t w_stride;
};

// Writes products to y: per element ((sum + delta) + bias) * branch_scale, then + residual.
struct Epilogue {
  const MatmulArgs& args;
  int64_t first_x;
  const kernels::ElementwiseKernels& kernels;

  // Whether y is nothing but the products, which may be written to it at once then.
  bool adds_nothing() const {
    return args.delta.empty() && args.bias == nullptr && args.residual.empty() &&
           args.branch_scale == 1.0f;
  }

  // One row's products with `count` rows of w from first_w on.
  void finish(const float* sums, int64_t row, int64_t first_w, int64_t count) const {
    finish_to(sums, row, first_w, count, args.y.row(row) + first_w);
  }
  // The same, written where they stand.
  void finish_at(float* sums, int64_t row, int64_t first_w, int64_t count) const {
    finish_to(sums, row, first_w, count, sums);
  }

  void apply(const Sums& sums, int64_t num_x, int64_t first_w, int64_t num_w) const {
    if (sums.w_stride == 1) {
      for (int64_t t = 0; t < num_x; ++t) {
        finish(sums.data + t * sums.x_stride, first_x + t, first_w, num_w);
      }
      return;
    }
    // Turned round in squares that the first level holds.
    float rows[kRowsTurned][kRowsAtATime];
    for (int64_t n = 0; n < num_w; n += kRowsAtATime) {
      const int64_t count = std::min(kRowsAtATime, num_w - n);
      for (int64_t t = 0; t < num_x; t += kRowsTurned) {
        const int64_t turned = std::min(kRowsTurned, num_x - t);
        for (int64_t i = 0; i < count; ++i) {
          const float* from = sums.data + t * sums.x_stride + (n + i) * sums.w_stride;
          for (int64_t r = 0; r < turned; ++r) rows[r][i] = from[r * sums.x_stride];
        }
        for (int64_t r = 0; r < turned; ++r) finish(rows[r], first_x + t + r, first_w + n, count);
      }
    }
  }

 private:
  static constexpr int64_t kRowsTurned = 16;

  void finish_to(const float* sums, int64_t row, int64_t first_w, int64_t count, float* y) const {
    kernels.finish({.sums = sums,
                    .delta = args.delta.empty() ? nullptr : args.delta.row(row) + first_w,
                    .bias = args.bias == nullptr ? nullptr : args.bias + first_w,
                    .residual = args.residual.empty() ? nullptr : args.residual.row(row) + first_w,
                    .scale = args.branch_scale,
                    .y = y},
                   count);
  }
};

}  // namespace ruvllm
