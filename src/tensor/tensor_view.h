// A typed, shaped window on memory that somebody else owns. Cheap to copy; no lifetime of its own.
//
// Strides are in elements and exist so that a head or a slice of a fused buffer can be viewed in
// place; the last dimension is always contiguous. Views of block formats (GGUF) are row-contiguous:
// their rows lie back to back and `row()` gives bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "tensor/dtype.h"

namespace ruvllm {

struct TensorView {
  static constexpr int kMaxRank = 4;

  const std::byte* data = nullptr;
  DType dtype = DType::kF32;
  int rank = 0;
  std::array<int64_t, kMaxRank> shape = {};   // outermost first
  std::array<int64_t, kMaxRank> stride = {};  // elements; stride[rank-1] == 1

  int64_t num_elements() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[static_cast<size_t>(i)];
    return n;
  }
  int64_t dim(int i) const { return shape[static_cast<size_t>(i)]; }
  bool empty() const { return data == nullptr; }
  // "[3, 64] f32", for messages.
  std::string describe() const;
};

// A contiguous view.
TensorView make_view(const void* data, DType dtype, std::initializer_list<int64_t> shape);

// Mutable and const matrices of f32, [rows, cols] with a row stride in elements: what nearly every
// operation takes. A default-made one means "absent".
struct MatrixF32 {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t row_stride = 0;

  float* row(int64_t i) const { return data + i * row_stride; }
  bool empty() const { return data == nullptr; }
  // Columns [begin, begin + count) of every row.
  MatrixF32 columns(int64_t begin, int64_t count) const {
    return {data + begin, rows, count, row_stride};
  }
  MatrixF32 first_rows(int64_t count) const { return {data, count, cols, row_stride}; }
};

struct ConstMatrixF32 {
  const float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t row_stride = 0;

  ConstMatrixF32() = default;
  ConstMatrixF32(const float* d, int64_t r, int64_t c, int64_t s)
      : data(d), rows(r), cols(c), row_stride(s) {}
  ConstMatrixF32(const MatrixF32& m)  // NOLINT: implicit on purpose, as T* to const T*
      : data(m.data), rows(m.rows), cols(m.cols), row_stride(m.row_stride) {}

  const float* row(int64_t i) const { return data + i * row_stride; }
  bool empty() const { return data == nullptr; }
  ConstMatrixF32 columns(int64_t begin, int64_t count) const {
    return {data + begin, rows, count, row_stride};
  }
};

inline MatrixF32 make_matrix(float* data, int64_t rows, int64_t cols) {
  return {data, rows, cols, cols};
}

}  // namespace ruvllm
