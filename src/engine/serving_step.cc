#include "engine/serving_step.h"

#include <algorithm>

namespace ruvllm {

void ServingStep::add_span(const PlanSpan& span, SequenceUse sequence_use) {
  const RowUse use = span.all_rows ? sequence_use.rows : RowUse::kNone;
  sequences_.push_back(
      {int64_t{span.first_row}, int64_t{span.num_rows}, span.first_position, span.block_table});
  regimes_.push_back(span.regime);
  tables_.push_back(sequence_use.adapter);
  for (int32_t i = 0; i < span.num_rows; ++i) {
    const bool samples = span.samples && i == span.num_rows - 1;
    if (!samples && use == RowUse::kNone) continue;
    const bool is_hidden = use == RowUse::kHidden;
    (is_hidden ? hidden_rows_ : rows_).push_back(span.first_row + i);
    StepOutput output;
    output.sequence = span.sequence;
    output.position = span.first_position + i;
    output.samples = samples;
    (is_hidden ? hidden_outputs_ : outputs_).push_back(output);
  }
}

void ServingStep::run(const StepPlan& plan, FunctionRef<SequenceUse(SequenceId)> use_of) {
  for (const BlockCopy& copy : plan.copies) runner_.copy_kv_block(copy.from, copy.to);
  sequences_.clear();
  regimes_.clear();
  tables_.clear();
  rows_.clear();
  hidden_rows_.clear();
  outputs_.clear();
  hidden_outputs_.clear();
  for (const PlanSpan& span : plan.spans) {
    add_span(span, use_of(span.sequence));
  }
  const auto num_logits = static_cast<int64_t>(rows_.size());
  rows_.insert(rows_.end(), hidden_rows_.begin(), hidden_rows_.end());

  ForwardBatch batch;
  batch.ids = plan.ids;
  batch.sequences = sequences_;
  batch.rope_regimes = regimes_;
  const auto is_adapter = [](const LoraTable* table) { return table != nullptr; };
  if (std::ranges::any_of(tables_, is_adapter)) batch.adapters = tables_;
  batch.output_rows = rows_;
  batch.num_logit_rows = num_logits;
  batch.want_hidden = !hidden_rows_.empty();
  batch.share_prefixes = share_prefixes_;
  const ForwardOutput output = runner_.forward(batch);
  for (int64_t i = 0; i < num_logits; ++i) {
    outputs_[static_cast<size_t>(i)].logits = output.logits.row(i);
  }
  for (size_t i = 0; i < hidden_outputs_.size(); ++i) {
    hidden_outputs_[i].hidden = output.hidden.row(num_logits + static_cast<int64_t>(i));
  }
  outputs_.insert(outputs_.end(), hidden_outputs_.begin(), hidden_outputs_.end());
}

}  // namespace ruvllm
