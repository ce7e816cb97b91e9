// make_weight: which form each source takes, and the copies that need making.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/checked.h"
#include "base/str.h"
#include "kernels/matmul/grouped_pack.h"
#include "kernels/matmul/quant_pack.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/cpu_weight.h"
#include "ops/cpu/matmul_state.h"
#include "tensor/dequantize.h"
#include "tensor/quantized_matrix.h"

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

kernels::GroupedShape grouped_shape(const WeightPart& part, int64_t cols) {
  return {part.bits,         part.panel_rows,     cols / kQuantGroup,
          part.scale_groups, part.compact_scales, part.half_scales};
}

// Rows of a quantized source: made when they are wanted where the source can, so that the whole
// matrix never stands in memory beside its panels; else read at once. rows() from the threads of
// one pool.
class SourceRows {
 public:
  static Result<SourceRows> open(const QuantizedSource& source, int num_threads) {
    SourceRows rows;
    if (std::optional<QuantizedMatrix> form = source.form()) {
      rows.whole_ = std::move(*form);
      rows.source_ = &source;
      rows.workers_.resize(static_cast<size_t>(num_threads));
    } else {
      RUVLLM_ASSIGN(rows.whole_, source.read());
    }
    return rows;
  }

  // The matrix, perhaps without its numbers.
  const QuantizedMatrix& form() const { return whole_; }

  struct Range {
    const QuantizedMatrix* matrix;  // null after an error, which status() says
    int64_t first;                  // where the rows stand in it
  };
  Range rows(int64_t first, int64_t count, int index) {
    if (source_ == nullptr) return {&whole_, first};
    Worker& worker = workers_[static_cast<size_t>(index)];
    if (worker.status) worker.status = source_->read_rows(first, count, worker.rows);
    return {worker.status ? &worker.rows : nullptr, 0};
  }

  Status status() const {
    for (const Worker& worker : workers_) RUVLLM_TRY(worker.status);
    return {};
  }

 private:
  struct Worker {
    QuantizedMatrix rows;
    Status status;
  };

  const QuantizedSource* source_ = nullptr;  // null: `whole_` is all of it
  QuantizedMatrix whole_;
  std::vector<Worker> workers_;
};

}  // namespace

class WeightBuilder {
 public:
  // panel_rows: of the panels that integer formats of a file become; 0: they stay as they are.
  // code_panel_rows: the same of a QuantizedSource, which otherwise becomes plain rows. bf16_rows:
  // rows of bf16 are multiplied with x in bf16.
  WeightBuilder(ThreadPool& pool, HugeArena& arena, int64_t panel_rows, int64_t code_panel_rows,
                bool bf16_rows)
      : pool_(pool),
        arena_(arena),
        panel_rows_(panel_rows),
        code_panel_rows_(code_panel_rows),
        bf16_rows_(bf16_rows) {}

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
    const QuantLayout* layout = panel_rows_ > 0 ? quant_layout(view.dtype) : nullptr;
    std::string_view name = dtype_info(view.dtype).name;
    if (source.quantized != nullptr) {
      RUVLLM_TRY(expand(*source.quantized, part));
      name = source.quantized->layout();
    } else if (source.transposed) {
      RUVLLM_TRY(transpose(view, part));
    } else if (layout != nullptr) {
      RUVLLM_TRY(pack(view, *layout, part));
    } else {
      RUVLLM_TRY(place(view, part));
    }
    weight_->rows_ += rows;
    weight_->bytes_ += part.form == PartForm::kQuantPanels
                           ? static_cast<uint64_t>(num_panels(part) * part.panel_bytes)
                           : static_cast<uint64_t>(rows) * part.row_bytes;
    if (!weight_->parts_.empty() && weight_->layout_ != name) name = "mixed";
    weight_->layout_ = name;
    weight_->parts_.push_back(part);
    return {};
  }

  std::unique_ptr<CpuWeight> finish() { return std::move(weight_); }

 private:
  uint64_t stride_bytes(const TensorView& view) const {
    if (is_block_format(view.dtype)) return source_row_bytes_;
    return static_cast<uint64_t>(view.stride[0]) *
           static_cast<uint64_t>(dtype_info(view.dtype).block_bytes);
  }

  // lead: bytes before the rows.
  Result<std::byte*> own(uint64_t rows, uint64_t bytes_per_row, uint64_t lead = 0) {
    uint64_t total = 0;
    std::shared_ptr<std::byte[]> memory;
    if (checked_mul(rows, bytes_per_row, total) && checked_add(total, lead, total)) {
      // Weights that are exact come and go by themselves (gates of X-LoRA, calibration).
      memory = panel_rows_ > 0 ? arena_.allocate(total) : allocate_huge(total);
    }
    if (memory == nullptr) {
      return fail(ErrorCode::kOutOfMemory,
                  concat("weight of ", rows, " rows of ", bytes_per_row, " bytes: out of memory"));
    }
    weight_->owned_.push_back(std::move(memory));
    return weight_->owned_.back().get() + lead;
  }

  PartForm form_of_rows(DType dtype) const {
    if (!is_row_float(dtype)) return PartForm::kEncodedRows;
    return bf16_rows_ && dtype == DType::kBF16 ? PartForm::kBf16Rows : PartForm::kFloatRows;
  }

  // In place, unless the elements are not aligned.
  Status place(const TensorView& view, WeightPart& part) {
    part.dtype = view.dtype;
    part.form = form_of_rows(view.dtype);
    part.data = view.data;
    part.row_bytes = stride_bytes(view);
    if (part.form != PartForm::kEncodedRows && !is_aligned(view.data, view.dtype)) {
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

  static int64_t num_panels(const WeightPart& part) {
    return (part.num_rows + part.panel_rows - 1) / part.panel_rows;
  }

  Status pack(const TensorView& view, const QuantLayout& layout, WeightPart& part) {
    const int64_t groups = view.dim(1) / kQuantGroup;
    part.form = PartForm::kQuantPanels;
    part.dtype = view.dtype;
    part.layout = &layout;
    part.format = kernels::quant_format(layout);
    part.panel_rows = panel_rows_;
    part.panel_bytes = kernels::quant_panel_bytes(layout, panel_rows_, groups);
    part.row_bytes = static_cast<uint64_t>(part.panel_bytes / panel_rows_);
    RUVLLM_ASSIGN(std::byte* const to, own(static_cast<uint64_t>(num_panels(part)),
                                           static_cast<uint64_t>(part.panel_bytes)));
    part.data = to;
    const int64_t row_stride = static_cast<int64_t>(source_row_bytes_);
    pool_.parallel_for(num_panels(part), [&](int64_t p, int) {
      constexpr int64_t kMostRows = 32;
      const std::byte* rows[kMostRows];
      RUVLLM_CHECK(panel_rows_ <= kMostRows);
      const int64_t first = p * panel_rows_;
      const int64_t count = std::min(panel_rows_, part.num_rows - first);
      for (int64_t r = 0; r < count; ++r) rows[r] = view.data + (first + r) * row_stride;
      kernels::pack_quant_panel(layout, rows, count, panel_rows_, groups,
                                reinterpret_cast<uint8_t*>(to) + p * part.panel_bytes);
    });
    return {};
  }

  // Codes and scales to panels; what has none, to plain rows: f32, exact, where weights stay as
  // stored, else bf16.
  Status expand(const QuantizedSource& source, WeightPart& part) {
    RUVLLM_ASSIGN(SourceRows rows, SourceRows::open(source, pool_.num_threads()));
    const QuantizedMatrix& form = rows.form();
    if (code_panel_rows_ > 0 && kernels::has_grouped_panels(form)) return pack_codes(rows, part);
    part.dtype = panel_rows_ > 0 ? DType::kBF16 : DType::kF32;
    part.form = form_of_rows(part.dtype);
    const auto element = static_cast<uint64_t>(dtype_info(part.dtype).block_bytes);
    part.row_bytes = static_cast<uint64_t>(form.cols) * element;
    RUVLLM_ASSIGN(std::byte* const to, own(static_cast<uint64_t>(form.rows), part.row_bytes));
    part.data = to;
    std::vector<std::vector<float>> lines(static_cast<size_t>(pool_.num_threads()));
    for (std::vector<float>& line : lines) line.resize(static_cast<size_t>(form.cols));
    pool_.parallel_for(form.rows, [&](int64_t n, int worker) {
      float* const line = lines[static_cast<size_t>(worker)].data();
      const auto [matrix, at] = rows.rows(n, 1, worker);
      if (matrix == nullptr) return;
      dequantize_row(*matrix, form.transform, at, line);
      quantize_row(part.dtype, line, to + static_cast<uint64_t>(n) * part.row_bytes, form.cols);
    });
    return rows.status();
  }

  Status pack_codes(SourceRows& rows, WeightPart& part) {
    const QuantizedMatrix& form = rows.form();
    part.form = PartForm::kQuantPanels;
    part.half_scales = kernels::half_scales(form);
    part.format = kernels::grouped_format(form.bits, part.half_scales);
    part.bits = form.bits;
    part.scale_groups = kernels::scale_groups(form);
    part.one_x_scale = kernels::one_x_scale(form);
    part.panel_rows = code_panel_rows_;
    if (!form.transform.empty()) part.transform = add_transform(form.transform);
    // Nearly all scales are f16 and zero points codes. Where they are not, the first panel says so;
    // should it be another one, all is packed once more.
    part.compact_scales = true;
    std::vector<uint8_t> first(
        static_cast<size_t>(kernels::grouped_panel_bytes(grouped_shape(part, form.cols))));
    const auto [matrix, at] = rows.rows(0, std::min(code_panel_rows_, form.rows), 0);
    if (matrix == nullptr) return rows.status();
    std::atomic<bool> fits =
        kernels::pack_grouped_panel(*matrix, grouped_shape(part, form.cols), at, first.data());
    if (fits) RUVLLM_TRY(pack_panels(rows, true, part, fits));
    if (fits) return {};
    return pack_panels(rows, false, part, fits);
  }

  // fits: becomes false where a header does not fit the compact form, and the rest is left out.
  Status pack_panels(SourceRows& rows, bool compact, WeightPart& part, std::atomic<bool>& fits) {
    const QuantizedMatrix& form = rows.form();
    part.compact_scales = compact;
    const kernels::GroupedShape shape = grouped_shape(part, form.cols);
    part.panel_bytes = kernels::grouped_panel_bytes(shape);
    uint64_t lead = 0;
    if (part.one_x_scale) {
      // One header a panel: the codes after it begin cache lines, as tiles are loaded best.
      part.panel_bytes = (part.panel_bytes + 63) / 64 * 64;
      lead = static_cast<uint64_t>(64 - kernels::grouped_header_bytes(shape) % 64);
    }
    part.row_bytes = static_cast<uint64_t>(part.panel_bytes / code_panel_rows_);
    RUVLLM_ASSIGN(std::byte* const to, own(static_cast<uint64_t>(num_panels(part)),
                                           static_cast<uint64_t>(part.panel_bytes), lead));
    part.data = to;
    pool_.parallel_for(num_panels(part), [&](int64_t p, int worker) {
      if (compact && !fits.load(std::memory_order_relaxed)) return;
      const int64_t first = p * code_panel_rows_;
      const auto [matrix, at] =
          rows.rows(first, std::min(code_panel_rows_, form.rows - first), worker);
      if (matrix == nullptr) return;
      auto* const panel = reinterpret_cast<uint8_t*>(to) + p * part.panel_bytes;
      if (!kernels::pack_grouped_panel(*matrix, shape, at, panel)) fits = false;
    });
    return rows.status();
  }

  // Its index; parts with equal ones share the transformed input.
  int32_t add_transform(const InputTransform& transform) {
    std::vector<InputTransform>& all = weight_->transforms_;
    const auto found = std::find(all.begin(), all.end(), transform);
    const auto index = static_cast<int32_t>(found - all.begin());
    if (found == all.end()) all.push_back(transform);
    return index;
  }

  // [K, N] to rows of [N, K]: floats keep their element type, others become f32.
  Status transpose(const TensorView& view, WeightPart& part) {
    const int64_t k = view.dim(0);
    const int64_t n = view.dim(1);
    part.dtype = is_row_float(view.dtype) ? view.dtype : DType::kF32;
    part.form = form_of_rows(part.dtype);
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

  ThreadPool& pool_;
  HugeArena& arena_;
  int64_t panel_rows_;
  int64_t code_panel_rows_;
  bool bf16_rows_;
  std::unique_ptr<CpuWeight> weight_ = std::make_unique<CpuWeight>();
  uint64_t source_row_bytes_ = 0;
};

Result<std::unique_ptr<Weight>> CpuOps::make_weight(std::span<const WeightSource> sources,
                                                    const WeightOptions& options) {
  if (sources.empty()) return fail(ErrorCode::kInvalidArgument, "weight without sources");
  const bool exact = options.compute == ComputeType::kF32;
  const bool as_stored = exact || options.embedding_only;
  const int64_t panel_rows = matmul_->quant_panel.panel_rows;
  WeightBuilder builder(pool_, matmul_->weight_memory, as_stored ? 0 : panel_rows,
                        exact ? 0 : panel_rows, !as_stored && matmul_->bf16_dot != nullptr);
  for (const WeightSource& source : sources) RUVLLM_TRY(builder.add(source));
  std::unique_ptr<CpuWeight> weight = builder.finish();
  if (!weight->transforms().empty()) matmul_->reserve_inputs(weight->transforms().size());
  for (const WeightPart& part : weight->parts()) {
    if (part.form == PartForm::kQuantPanels) matmul_->wants_x[part.one_x_scale] = true;
  }
  return weight;
}

namespace {

// A row of panels back to codes, and those to f32 of the original inputs.
void unpack_codes(const CpuWeight& weight, const WeightPart& part, int64_t row, float* out) {
  const uint8_t* const panel = part.panel(row / part.panel_rows);
  const kernels::GroupedShape shape = grouped_shape(part, weight.cols());
  if (part.transform < 0) {
    kernels::dequantize_grouped_row(shape, panel, row % part.panel_rows, out);
    return;
  }
  QuantizedMatrix one = kernels::unpack_grouped_row(shape, panel, row % part.panel_rows);
  one.transform = weight.transforms()[static_cast<size_t>(part.transform)];
  dequantize_row(one, 0, out);
}

// A row of panels back to the file's blocks, block by block, and those to f32.
void unpack_row(const WeightPart& part, int64_t row, int64_t cols, float* out) {
  const DTypeInfo& info = dtype_info(part.dtype);
  std::byte block[256];
  RUVLLM_CHECK(info.block_bytes <= static_cast<int32_t>(sizeof block));
  const int64_t groups = info.block_elements / kQuantGroup;
  for (int64_t k = 0; k < cols; k += info.block_elements) {
    kernels::unpack_quant_groups(*part.layout, part.panel(row / part.panel_rows),
                                 row % part.panel_rows, part.panel_rows, k / kQuantGroup, groups,
                                 block);
    dequantize_row(part.dtype, block, out + k, info.block_elements);
  }
}

}  // namespace

void dequantize_weight_row(const Weight& weight, int64_t row, float* out) {
  RUVLLM_CHECK(row >= 0 && row < weight.rows(), "row ", row, " of ", weight.rows());
  for (const WeightPart& part : as_cpu_weight(weight).parts()) {
    const int64_t i = row - part.first_row;
    if (i >= part.num_rows) continue;
    if (part.form == PartForm::kQuantPanels && part.layout == nullptr) {
      unpack_codes(as_cpu_weight(weight), part, i, out);
    } else if (part.form == PartForm::kQuantPanels) {
      unpack_row(part, i, weight.cols(), out);
    } else {
      dequantize_row(part.dtype, part.row(i), out, weight.cols());
    }
    return;
  }
}

}  // namespace ruvllm
