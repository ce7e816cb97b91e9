// The matrices of a checkpoint that quantization is about, whatever the family and the file format
// call them and however they are stored: one by one, stacked for all experts, or transposed.
#pragma once

#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "formats/checkpoint.h"
#include "quantize/isq_config.h"
#include "spec/weight_names.h"

namespace ruvllm {

struct IsqMatrix {
  std::string name;                    // of the tensor that stands for it afterwards
  const FileTensor* tensor = nullptr;  // where it is stored
  TensorView view;                     // [N, K], or [K, N] when transposed; of f32, f16 or bf16
  bool transposed = false;
  Role role = Role::kQ;
  int32_t layer = -1;  // -1: embedding or head
  MatrixKind kind = MatrixKind::kLinear;
  MatrixScheme scheme;

  int64_t rows() const { return view.dim(transposed ? 1 : 0); }
  int64_t cols() const { return view.dim(transposed ? 0 : 1); }
};

// Whether distill() quantizes it.
inline bool is_tuned(const IsqMatrix& matrix) {
  return matrix.scheme.tuned && !matrix.scheme.keep && matrix.scheme.grid.bits < 8;
}

// In the order of the model. Routers of experts and position tables are none of them.
// kUnsupported, naming the tensor, when one is quantized already.
Result<std::vector<IsqMatrix>> list_matrices(const Checkpoint& checkpoint, const IsqConfig& config);

// Row n as f32, [K].
void read_matrix_row(const IsqMatrix& matrix, int64_t row, float* out);

// All of it as f32, [N, K]. kBadFile naming the tensor when some element is not a finite number.
Result<std::vector<float>> read_matrix(const IsqMatrix& matrix, ThreadPool& pool);

}  // namespace ruvllm
