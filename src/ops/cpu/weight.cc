// make_weight: which form each source takes, and the copies that need making.
#include <cstring>

#include "base/checked.h"
#include "base/str.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/cpu_weight.h"
#include "tensor/dequantize.h"

namespace ruvllm {
namespace {

bool is_row_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16;
}

// Kernels read f32 elements through float pointers, 16-bit ones through uint16_t pointers.
bool is_aligned(const std::byte* data, DType dtype) {
  const auto size = static_cast<uintptr_t>(dtype_info(dtype).block_bytes);
  return reinterpret_cast<uintptr_t>(data) % size == 0;
}

OwnedBytes allocate(uint64_t bytes) {
  constexpr uint64_t kAlignment = 64;
  if (bytes == 0 || bytes > SIZE_MAX - kAlignment) return nullptr;
  const uint64_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  return OwnedBytes(
      static_cast<std::byte*>(std::aligned_alloc(kAlignment, static_cast<size_t>(rounded))));
}

}  // namespace

class WeightBuilder {
 public:
  explicit WeightBuilder(ThreadPool& pool) : pool_(pool) {}

  Status add(const WeightSource& source) {
    const TensorView& view = source.view;
    if (view.rank != 2 || view.dim(0) <= 0 || view.dim(1) <= 0) {
      return fail(ErrorCode::kInvalidArgument,
                  concat("weight ", view.describe(), ": expected a matrix that is not empty"));
    }
    if (!can_dequantize(view.dtype)) {
      return fail(ErrorCode::kUnsupported,
                  concat("weight ", view.describe(), ": this format cannot be run"));
    }
    const int64_t rows = source.transposed ? view.dim(1) : view.dim(0);
    const int64_t cols = source.transposed ? view.dim(0) : view.dim(1);
    if (weight_->cols_ != 0 && weight_->cols_ != cols) {
      return fail(ErrorCode::kInvalidArgument,
                  concat("weight ", view.describe(), ": ", cols, " columns beside others of ",
                         weight_->cols_));
    }
    if (!row_bytes(view.dtype, view.dim(1), source_row_bytes_)) {
      return fail(ErrorCode::kInvalidArgument,
                  concat("weight ", view.describe(), ": rows are no whole number of blocks"));
    }
    weight_->cols_ = cols;
    WeightPart part;
    part.first_row = weight_->rows_;
    part.num_rows = rows;
    RUVLLM_TRY(source.transposed ? transpose(view, part) : place(view, part));
    weight_->rows_ += rows;
    weight_->bytes_ += static_cast<uint64_t>(rows) * part.row_bytes;
    weight_->parts_.push_back(part);
    return {};
  }

  std::unique_ptr<Weight> finish() {
    weight_->layout_ = dtype_info(weight_->parts_.front().dtype).name;
    for (const WeightPart& part : weight_->parts_) {
      if (part.dtype != weight_->parts_.front().dtype) weight_->layout_ = "mixed";
    }
    return std::move(weight_);
  }

 private:
  uint64_t stride_bytes(const TensorView& view) const {
    if (is_block_format(view.dtype)) return source_row_bytes_;
    return static_cast<uint64_t>(view.stride[0]) *
           static_cast<uint64_t>(dtype_info(view.dtype).block_bytes);
  }

  Result<std::byte*> own(uint64_t rows, uint64_t bytes_per_row) {
    uint64_t total = 0;
    OwnedBytes memory;
    if (checked_mul(rows, bytes_per_row, total)) memory = allocate(total);
    if (memory == nullptr) {
      return fail(ErrorCode::kOutOfMemory,
                  concat("weight of ", rows, " rows of ", bytes_per_row, " bytes: out of memory"));
    }
    weight_->owned_.push_back(std::move(memory));
    return weight_->owned_.back().get();
  }

  // In place, unless the elements are not aligned.
  Status place(const TensorView& view, WeightPart& part) {
    part.dtype = view.dtype;
    part.form = is_row_float(view.dtype) ? PartForm::kFloatRows : PartForm::kEncodedRows;
    part.data = view.data;
    part.row_bytes = stride_bytes(view);
    if (part.form == PartForm::kFloatRows && !is_aligned(view.data, view.dtype)) {
      RUVLLM_ASSIGN(std::byte* const to,
                    own(static_cast<uint64_t>(part.num_rows), source_row_bytes_));
      for (int64_t i = 0; i < part.num_rows; ++i) {
        std::memcpy(to + static_cast<uint64_t>(i) * source_row_bytes_, part.row(i),
                    static_cast<size_t>(source_row_bytes_));
      }
      part.data = to;
      part.row_bytes = source_row_bytes_;
    }
    return {};
  }

  // [K, N] to rows of [N, K]: floats keep their element type, others become f32.
  Status transpose(const TensorView& view, WeightPart& part) {
    const int64_t k = view.dim(0);
    const int64_t n = view.dim(1);
    part.form = PartForm::kFloatRows;
    part.dtype = is_row_float(view.dtype) ? view.dtype : DType::kF32;
    const auto element = static_cast<uint64_t>(dtype_info(part.dtype).block_bytes);
    part.row_bytes = static_cast<uint64_t>(k) * element;
    RUVLLM_ASSIGN(std::byte* const to, own(static_cast<uint64_t>(n), part.row_bytes));
    part.data = to;
    const uint64_t stride = stride_bytes(view);
    std::vector<float> line(part.dtype == view.dtype ? 0 : static_cast<size_t>(n));
    for (int64_t i = 0; i < k; ++i) {
      const std::byte* from = view.data + static_cast<uint64_t>(i) * stride;
      if (!line.empty()) {
        dequantize_row(view.dtype, from, line.data(), n);
        from = reinterpret_cast<const std::byte*>(line.data());
      }
      std::byte* column = to + static_cast<uint64_t>(i) * element;
      for (int64_t j = 0; j < n; ++j) {
        std::memcpy(column + static_cast<uint64_t>(j) * part.row_bytes,
                    from + static_cast<uint64_t>(j) * element, static_cast<size_t>(element));
      }
    }
    return {};
  }

  [[maybe_unused]] ThreadPool& pool_;
  std::unique_ptr<CpuWeight> weight_ = std::make_unique<CpuWeight>();
  uint64_t source_row_bytes_ = 0;
};

Result<std::unique_ptr<Weight>> CpuOps::make_weight(std::span<const WeightSource> sources,
                                                    const WeightOptions&) {
  if (sources.empty()) return fail(ErrorCode::kInvalidArgument, "weight without sources");
  WeightBuilder builder(pool_);
  for (const WeightSource& source : sources) RUVLLM_TRY(builder.add(source));
  return builder.finish();
}

void dequantize_weight_row(const Weight& weight, int64_t row, float* out) {
  RUVLLM_CHECK(row >= 0 && row < weight.rows(), "row ", row, " of ", weight.rows());
  for (const WeightPart& part : as_cpu_weight(weight).parts()) {
    const int64_t i = row - part.first_row;
    if (i >= part.num_rows) continue;
    dequantize_row(part.dtype, part.row(i), out, weight.cols());
    return;
  }
}

}  // namespace ruvllm
