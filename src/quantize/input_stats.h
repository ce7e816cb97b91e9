// What a calibration text says about the input of a group of matrices: one pass collects what every
// method needs. Sums are f64; rows come in any number of pieces and give the same sums.
//
// Memory: one f64 matrix [K, K], `max_sample_rows` f32 rows, and 1,024 more while rows are added.
// One thread adds (the pool's threads help); constant afterwards.
#pragma once

#include <cstdint>
#include <vector>

#include "base/line_vector.h"
#include "base/thread_pool.h"
#include "tensor/tensor_view.h"

namespace ruvllm {

class InputStats {
 public:
  // `with_hessian` false: X^T X is not kept (RTN, SmoothQuant and AWQ's scale search do without).
  InputStats(int64_t cols, bool with_hessian, int64_t max_sample_rows);

  void add(ConstMatrixF32 x, ThreadPool& pool);  // [T, K]

  int64_t cols() const { return cols_; }
  int64_t num_tokens() const { return num_tokens_; }
  const std::vector<float>& max_abs() const { return max_abs_; }   // [K]
  std::vector<float> mean_abs() const;                             // [K]
  std::vector<float> mean_square() const;                          // [K]
  const std::vector<double>& hessian() const { return hessian_; }  // [K, K] = X^T X, or empty
  // Rows spread evenly over what was added (at most max_sample_rows), somewhat farther apart than
  // they are wide: at a power of two they would meet in a few places of a cache.
  ConstMatrixF32 sample() const;

 private:
  void add_products(ConstMatrixF32 x, ThreadPool& pool);
  void add_strips(int64_t row, int64_t col, const float* packed, int64_t num_tokens);
  void mirror_strip(int64_t strip);
  void add_sample(const float* row);

  int64_t cols_;
  int64_t max_sample_rows_;
  int64_t num_tokens_ = 0;
  int64_t sample_stride_ = 1;  // every so many tokens are kept
  std::vector<float> max_abs_;
  std::vector<double> sum_abs_;
  std::vector<double> sum_square_;
  std::vector<double> hessian_;
  LineVector<float> sample_;
};

}  // namespace ruvllm
