// What the adapters of a step add, site by site: the one place where the model meets them.
#pragma once

#include "model/step.h"

namespace ruvllm {

// Sorts the rows of a batch by adapter into space.lora; at the beginning of a step.
void group_adapter_rows(const ForwardBatch& batch, const ModelConfig& config, Workspace& space);

// The delta of one matrix product, [T, num_columns]; absent when no row has an adapter of this
// site. Valid until the next call.
ConstMatrixF32 adapter_delta(const Step& step, LoraSite site, int32_t layer, ConstMatrixF32 x,
                             int64_t num_columns);
// The same for the embedding of the step's tokens, [T, E].
ConstMatrixF32 adapter_embedding_delta(const Step& step);
// The same for the logits of the step's output rows, [R, V]; `rows` are their final hidden states.
ConstMatrixF32 adapter_logits_delta(const Step& step, ConstMatrixF32 rows);

}  // namespace ruvllm
