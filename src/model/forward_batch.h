// ForwardBatch: what one step of the model computes, as values passed down; no global context.
#pragma once

#include <cstdint>
#include <span>

#include "ops/ops.h"

namespace ruvllm {

// Rows of the residual stream as a layer finds them.
struct StreamRows {
  int32_t layer = 0;      // 1 or more
  int64_t first_row = 0;  // of the step
  MatrixF32 x;            // [n, E]
};

struct ForwardBatch {
  std::span<const int32_t> ids;             // [T]
  std::span<const SequenceSpan> sequences;  // cover rows 0..T-1 in order
  // Per sequence: which rotary table it uses (see ModelRunner::rope_regime); empty: 0 for all.
  std::span<const uint8_t> rope_regimes;
  // Per sequence: what its adapter adds, or null; empty: none has one. The tables outlive the step.
  std::span<const LoraTable* const> adapters;
  // Per row (of T): the gates that terms of these tables name; absent: none does (X-LoRA).
  ConstMatrixF32 gates;  // [T, columns]
  // Sequences that an earlier step computed up to a layer, one entry each: their rows go on from
  // here, and nothing of the layers before is read or written in their blocks. They are the last
  // sequences of the batch, by rising layer; their adapters have no terms before it.
  std::span<const StreamRows> resumed;
  // The other way round: rows whose stream is to be copied to `x`.
  std::span<const StreamRows> taps;
  // Rows (of T) whose logits / final hidden states are wanted.
  std::span<const int32_t> output_rows;  // [R]
  bool want_logits = true;
  int64_t num_logit_rows = -1;  // logits of the first so many of output_rows alone; -1: of all
  bool want_hidden = false;
  // Pages that sequences of the step share are read once for all of them. No bit of the result
  // depends on it; off is for measuring and testing.
  bool share_prefixes = true;
};

// Where the results go: views of memory the runner owns, valid until the next step.
struct ForwardOutput {
  MatrixF32 logits;  // [R, V], after scale and soft cap
  MatrixF32 hidden;  // [R, E], after the final norm
};

}  // namespace ruvllm
