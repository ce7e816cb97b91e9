#include "ops/reference/reference_weight.h"

#include "base/check.h"
#include "base/str.h"
#include "tensor/dequantize.h"
#include "tensor/quantized_matrix.h"

namespace ruvllm::reference {
namespace {

const std::byte* row_address(const TensorView& view, int64_t row) {
  uint64_t bytes = 0;
  RUVLLM_CHECK(row_bytes(view.dtype, view.stride[0], bytes), view.describe());
  return view.data + static_cast<size_t>(bytes) * static_cast<size_t>(row);
}

bool is_aligned_f32(const std::byte* address) {
  return reinterpret_cast<uintptr_t>(address) % alignof(float) == 0;
}

// [K, N] of any format to f32 rows [N, K].
std::vector<float> transpose(const TensorView& view) {
  const int64_t rows = view.dim(0);
  const int64_t cols = view.dim(1);
  std::vector<float> turned(static_cast<size_t>(rows * cols));
  std::vector<float> line(static_cast<size_t>(cols));
  for (int64_t k = 0; k < rows; ++k) {
    dequantize_row(view.dtype, row_address(view, k), line.data(), cols);
    for (int64_t n = 0; n < cols; ++n) {
      turned[static_cast<size_t>(n * rows + k)] = line[static_cast<size_t>(n)];
    }
  }
  return turned;
}

// All of it, exactly.
Result<std::vector<float>> dequantize(const QuantizedSource& source) {
  RUVLLM_ASSIGN(const QuantizedMatrix matrix, source.read());
  std::vector<float> values(matrix.codes.size());
  for (int64_t n = 0; n < matrix.rows; ++n) {
    dequantize_row(matrix, n, values.data() + n * matrix.cols);
  }
  return values;
}

}  // namespace

Result<std::unique_ptr<Weight>> ReferenceWeight::make(std::span<const WeightSource> sources) {
  auto weight = std::make_unique<ReferenceWeight>();
  for (const WeightSource& source : sources) RUVLLM_TRY(weight->add_source(source));
  if (weight->parts_.empty()) return fail(ErrorCode::kInternal, "a weight without sources");
  return std::unique_ptr<Weight>(std::move(weight));
}

Status ReferenceWeight::add_source(const WeightSource& source) {
  const TensorView& view = source.view;
  uint64_t bytes_per_row = 0;
  if (view.rank != 2) {
    return fail(ErrorCode::kBadFile, concat("found ", view.describe(), ", expected a matrix"));
  }
  if (!can_dequantize(view.dtype) || !row_bytes(view.dtype, view.dim(1), bytes_per_row)) {
    return fail(ErrorCode::kUnsupported, concat("weights of format ", dtype_info(view.dtype).name,
                                                " (", view.describe(), ") are not supported"));
  }
  Part part;
  part.view = view;
  std::string_view name = dtype_info(view.dtype).name;
  if (source.quantized != nullptr) {
    RUVLLM_ASSIGN(part.turned, dequantize(*source.quantized));
    part.view = make_view(part.turned.data(), DType::kF32, {view.dim(0), view.dim(1)});
    name = source.quantized->layout();
  } else if (source.transposed) {
    part.turned = transpose(view);
    part.view = make_view(part.turned.data(), DType::kF32, {view.dim(1), view.dim(0)});
  }
  if (parts_.empty()) {
    cols_ = part.view.dim(1);
    layout_ = name;
  } else if (part.view.dim(1) != cols_) {
    return fail(ErrorCode::kInternal,
                concat("stacked matrices of ", cols_, " and ", part.view.dim(1), " columns"));
  }
  if (layout_ != name) layout_ = "mixed";
  part.first_row = rows_;
  rows_ += part.view.dim(0);
  bytes_ += bytes_per_row * static_cast<uint64_t>(view.dim(0));
  parts_.push_back(std::move(part));
  return {};
}

const float* ReferenceWeight::row(int64_t n, float* scratch) const {
  RUVLLM_CHECK(n >= 0 && n < rows_, n, " of ", rows_);
  size_t i = parts_.size() - 1;
  while (parts_[i].first_row > n) --i;
  const TensorView& view = parts_[i].view;
  const std::byte* address = row_address(view, n - parts_[i].first_row);
  if (view.dtype == DType::kF32 && is_aligned_f32(address)) {
    return reinterpret_cast<const float*>(address);
  }
  dequantize_row(view.dtype, address, scratch, cols_);
  return scratch;
}

}  // namespace ruvllm::reference
