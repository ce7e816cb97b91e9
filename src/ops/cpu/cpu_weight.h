// CpuWeight: a matrix in the forms that the kernels of CpuOps read. Private to ops/cpu.
//
// It is a list of parts, one below the other: a fused matrix keeps the rows of each source where
// and as they are when the kernels can read them so (mapped file bytes, used in place); other
// sources are copied once into memory of the Weight. Immutable after make_weight.
#pragma once

#include <vector>

#include "kernels/matmul/quant_panel.h"
#include "ops/cpu/huge_arena.h"
#include "ops/ops.h"
#include "tensor/dtype.h"
#include "tensor/quant_layout.h"
#include "tensor/quantized_matrix.h"

namespace ruvllm {

enum class PartForm : uint8_t {
  kFloatRows,    // rows of f32, bf16 or f16, read in place
  kBf16Rows,     // rows of bf16, read in place, multiplied with x in bf16 (bf16_dot.h)
  kEncodedRows,  // rows of any other format: dequantized by the row, then as f32
  kQuantPanels,  // integer weights, repacked (kernels/matmul/quant_panel.h): blocks of a file, or
                 // codes
};

struct WeightPart {
  PartForm form = PartForm::kFloatRows;
  DType dtype = DType::kF32;
  int64_t first_row = 0;  // within the Weight
  int64_t num_rows = 0;
  const std::byte* data = nullptr;
  uint64_t row_bytes = 0;  // of a panel: a row's share, rounded down
  // Panels only:
  const QuantLayout* layout = nullptr;  // null: codes of a QuantizedMatrix
  kernels::QuantFormat format = kernels::QuantFormat::kQ8_0;
  int64_t panel_rows = 0;
  int64_t panel_bytes = 0;
  // Codes of a QuantizedMatrix only:
  int32_t bits = 0;
  int64_t scale_groups = 0;     // groups of 32 columns under one scale
  bool half_scales = false;     // a scale for each half of a group
  bool compact_scales = false;  // QuantPanelArgs
  bool one_x_scale = false;     // QuantPanelArgs
  int32_t transform = -1;  // of x before the product: index in CpuWeight::transforms(); -1: none

  const std::byte* row(int64_t i) const { return data + static_cast<uint64_t>(i) * row_bytes; }
  const uint8_t* panel(int64_t i) const {
    return reinterpret_cast<const uint8_t*>(data) + i * panel_bytes;
  }
};

class CpuWeight final : public Weight {
 public:
  std::span<const WeightPart> parts() const { return parts_; }
  std::span<const InputTransform> transforms() const { return transforms_; }

 private:
  friend class WeightBuilder;  // weight.cc
  std::vector<WeightPart> parts_;
  std::vector<InputTransform> transforms_;  // each once
  std::vector<std::shared_ptr<std::byte[]>> owned_;
};

// `weight` as what make_weight of CpuOps made.
inline const CpuWeight& as_cpu_weight(const Weight& weight) {
  return static_cast<const CpuWeight&>(weight);
}

}  // namespace ruvllm
