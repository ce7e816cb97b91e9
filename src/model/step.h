// What the parts of a layer share during one step: the model, the device, the batch, the rotary
// tables and the scratch rows. All memory is sized once, for the largest step.
#pragma once

#include <memory>
#include <vector>

#include "base/check.h"
#include "base/huge_memory.h"
#include "model/forward_batch.h"
#include "model/kv_storage.h"
#include "model/rope.h"
#include "model/weights.h"
#include "ops/ops.h"

namespace ruvllm {

// Rows of f32 with room for max_rows; memory is not initialized.
class RowBuffer {
 public:
  // kApart: an odd number of cache lines from each to the next, for what products of many rows
  // read and write: powers of two share few sets of the caches.
  enum class Rows { kDense, kApart };

  RowBuffer() = default;
  RowBuffer(int64_t max_rows, int64_t cols, Rows rows = Rows::kDense)
      : max_rows_(max_rows), cols_(cols), rows_(rows) {
    const auto bytes = static_cast<uint64_t>(max_rows * stride(cols)) * sizeof(float);
    data_ = allocate_huge(bytes);
    RUVLLM_CHECK(data_ != nullptr || bytes == 0, "out of memory: ", bytes, " bytes of activations");
  }

  int64_t max_rows() const { return max_rows_; }
  int64_t cols() const { return cols_; }
  // The first `rows` rows, of any width up to cols().
  MatrixF32 view(int64_t rows, int64_t cols) const;
  MatrixF32 view(int64_t rows) const { return view(rows, cols_); }

 private:
  int64_t stride(int64_t cols) const {
    constexpr int64_t kLine = 64 / sizeof(float);
    return rows_ == Rows::kDense ? cols : ((cols + kLine - 1) / kLine | 1) * kLine;
  }

  OwnedBytes data_;
  int64_t max_rows_ = 0;
  int64_t cols_ = 0;
  Rows rows_ = Rows::kDense;
};

// cos and sin of every row of a step, [T, rotary_dim / 2].
struct RopeRows {
  RowBuffer cos;
  RowBuffer sin;
};

// The rows of a step by adapter; no memory before the first step that has one (model/adapters.h).
struct LoraRows {
  std::vector<LoraGroup> groups;
  std::vector<int32_t> rows;            // of the groups, one after the other
  std::vector<int32_t> group_of_row;    // [T]; -1: no adapter
  std::vector<int32_t> output_rows;     // of the groups, among the output rows
  std::vector<LoraArgs::Rows> at_site;  // for the call at hand
  RowBuffer delta;                      // [T, the widest site but the logits]
  RowBuffer logits_delta;               // [R, V]; grows as Workspace::logits does
};

struct Workspace {
  RowBuffer x;       // [T, E], the residual stream
  RowBuffer normed;  // [T, E], a norm's output
  RowBuffer branch;  // [T, E], a branch's output where a norm follows it
  RowBuffer wide;    // [T, max((H + 2K) * D, 2F)]
  RowBuffer narrow;  // [T, max(H * D, F)]
  RowBuffer router;  // [T, X]
  RopeRows rope;     // of config.rope
  RopeRows rope_local;
  RowBuffer output;                // [R, E], the rows asked for
  RowBuffer logits;                // [R, V]; grows to the most rows ever asked for at once
  std::vector<int32_t> positions;  // [T]
  LoraRows lora;

  Workspace(const ModelConfig& config, int64_t max_rows);
  int64_t widest_row() const;
};

// The constant parts of a model on a device, and the step at hand.
struct Step {
  const ModelConfig& config;
  Ops& ops;
  Workspace& space;
  const KvStorage& kv;
  const ForwardBatch& batch;
  int64_t rows = 0;  // T
};

// y = norm(x) as the model's norms are; y may be x.
void apply_norm(const Step& step, const NormWeights& norm, ConstMatrixF32 x, MatrixF32 y,
                int32_t groups = 1);

// x += residual_scale * [post_norm](input W^T + delta + b), the end of both branches of a layer.
void add_branch(const Step& step, const Linear& linear, ConstMatrixF32 input, ConstMatrixF32 delta,
                const NormWeights& post_norm, MatrixF32 x);

}  // namespace ruvllm
