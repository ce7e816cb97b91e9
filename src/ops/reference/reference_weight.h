// A weight of the reference device: the checkpoint's own bytes, dequantized exactly row by row when
// they are read. Nothing is copied except a transposed matrix, which is turned once into f32 rows.
//
// Ownership: points into the checkpoint, which must outlive it. Constant; any thread may read.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "ops/ops.h"

namespace ruvllm::reference {

class ReferenceWeight final : public Weight {
 public:
  static Result<std::unique_ptr<Weight>> make(std::span<const WeightSource> sources);

  // Row n as f32 [K]: where it lies, or in `scratch` [K].
  const float* row(int64_t n, float* scratch) const;

 private:
  struct Part {
    TensorView view;        // [rows, K], rows contiguous
    int64_t first_row = 0;  // of the whole matrix
    std::vector<float>
        turned;  // what `view` points at, when the matrix was transposed or quantized
  };
  Status add_source(const WeightSource& source);

  std::vector<Part> parts_;
};

inline const ReferenceWeight& as_reference(const Weight& weight) {
  return static_cast<const ReferenceWeight&>(weight);
}

}  // namespace ruvllm::reference
