// Matrix products C = A B of f32 for gradients, on kernels/quantizer's subtract_all_terms: B lies
// in strips of kStripWidth columns, A is read in panels of kTermRows rows. Whatever a factor is the
// transposed of is a matter of strides, so that the three products of a linear layer, Y = X W^T,
// dX = dY W and dW = dY^T X, are one function.
//
// Every element is the sum of its products in the order of the terms, fused, in f32: the same bits
// on every instruction set, whoever computes which part. Any thread; different strips may be filled
// by different threads.
#pragma once

#include <cstdint>
#include <vector>

#include "base/line_vector.h"
#include "quantize/vector_math.h"
#include "tensor/tensor_view.h"

namespace ruvllm {

// B [terms, columns]; columns that fill up the last strip are 0.
class Strips {
 public:
  void resize(int64_t terms, int64_t columns);
  int64_t terms() const { return terms_; }
  int64_t columns() const { return columns_; }
  int64_t count() const { return (columns_ + kStripWidth - 1) / kStripWidth; }

  // [terms, kStripWidth]
  const float* strip(int64_t index) const { return values_.data() + index * terms_ * kStripWidth; }
  // Strip `index` of B whose element [t, k] is b[t * term_stride + k * column_stride], one of
  // them 1.
  void fill(int64_t index, const float* b, int64_t term_stride, int64_t column_stride);
  // Its columns alone: `b` begins at the strip's first.
  void fill_columns(int64_t index, const float* b, int64_t term_stride, int64_t column_stride);
  // Row `term` of B, in all strips.
  void fill_term(int64_t term, const float* row);

 private:
  int64_t terms_ = 0;
  int64_t columns_ = 0;
  LineVector<float> values_;
};

// Element [i, t] of A is data[i * row_stride + t * term_stride], one of the strides 1.
struct LeftFactor {
  const float* data;
  int64_t row_stride;
  int64_t term_stride;

  LeftFactor rows_from(int64_t row) const {
    return {data + row * row_stride, row_stride, term_stride};
  }
};
inline LeftFactor rows_as_left(ConstMatrixF32 x) {
  return {x.data, x.row_stride, 1};
}
inline LeftFactor columns_as_left(ConstMatrixF32 x) {
  return {x.data, 1, x.row_stride};
}

// Terms [first, end).
struct TermRange {
  int64_t first = 0;
  int64_t end = 0;
};

// c [rows, columns of b] = A B, or += (`add`). `panels`: scratch of one thread.
void multiply(LeftFactor a, const Strips& b, MatrixF32 c, bool add, std::vector<float>& panels);
// Of these terms alone, and columns of the strips before `end_column` alone (others stay).
void multiply(LeftFactor a, const Strips& b, TermRange terms, int64_t end_column, MatrixF32 c,
              bool add, std::vector<float>& panels);

}  // namespace ruvllm
