// A source of integer weights that a test made.
#pragma once

#include <string_view>
#include <utility>

#include "ops/ops.h"
#include "tensor/quantized_matrix.h"

namespace ruvllm::test {

// Codes with scales, zero points and an input transform, as AWQ, GPTQ and the quantizers make them;
// read whole.
class FixedSource : public QuantizedSource {
 public:
  explicit FixedSource(QuantizedMatrix matrix) : matrix_(std::move(matrix)) {}
  Result<QuantizedMatrix> read() const override { return matrix_; }
  std::string_view layout() const override { return "test"; }
  uint64_t stored_bytes() const override { return matrix_.codes.size(); }

  const QuantizedMatrix& matrix() const { return matrix_; }
  WeightSource source() const {
    return {
        make_view(static_cast<const float*>(nullptr), DType::kF32, {matrix_.rows, matrix_.cols}),
        false, this};
  }

 private:
  QuantizedMatrix matrix_;
};

}  // namespace ruvllm::test
