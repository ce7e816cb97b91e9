// A square matrix of f32 once more, for walks that take some of its rows and all of its columns, as
// kernels/quantizer's subtract_terms and subtract_all_terms read it: strips of kStripWidth columns,
// each with all rows one behind the other, the last filled up with zeros. What a walk reads next
// then follows in memory.
//
// Owns its memory, as much as the matrix. Constant; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "base/line_vector.h"
#include "base/thread_pool.h"
#include "quantize/vector_math.h"

namespace ruvllm {

class MatrixStrips {
 public:
  // `values`: [n, n] row-major.
  MatrixStrips(const std::vector<float>& values, int64_t n, ThreadPool& pool);

  // `n` with the columns that fill the last strip.
  static int64_t padded(int64_t n) { return (n + kStripWidth - 1) / kStripWidth * kStripWidth; }

  // Of row `row` the columns of the strip that begins at `column`; the next rows' follow.
  const float* at(int64_t row, int64_t column) const {
    return values_.data() + column * rows_ + row * kStripWidth;
  }

 private:
  int64_t rows_;
  LineVector<float> values_;
};

}  // namespace ruvllm
