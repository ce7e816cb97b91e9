// ForwardBatch: what one step of the model computes, as values passed down; no global context.
#pragma once

#include <cstdint>
#include <span>

#include "ops/ops.h"

namespace ruvllm {

struct ForwardBatch {
  std::span<const int32_t> ids;             // [T]
  std::span<const SequenceSpan> sequences;  // cover rows 0..T-1 in order
  // Per sequence: which rotary table it uses (see ModelRunner::rope_regime); empty: 0 for all.
  std::span<const uint8_t> rope_regimes;
  // Per sequence: what its adapter adds, or null; empty: none has one. The tables outlive the step.
  std::span<const LoraTable* const> adapters;
  // Per row (of T): the gates that terms of these tables name; absent: none does (X-LoRA).
  ConstMatrixF32 gates;  // [T, columns]
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
