#include "model/adapters.h"

#include <algorithm>

#include "base/check.h"

namespace ruvllm {
namespace {

// The groups that have something at this site.
std::span<const LoraArgs::Rows> groups_at(const Step& step, LoraSite site, int32_t layer) {
  LoraRows& lora = step.space.lora;
  lora.at_site.clear();
  if (step.batch.adapters.empty()) return {};
  for (const LoraGroup& group : lora.groups) {
    const std::span<const LoraTerm> terms = group.table->at(site, layer);
    if (!terms.empty()) lora.at_site.push_back({terms, group.rows, group.gates});
  }
  return lora.at_site;
}

int64_t widest_site(const ModelConfig& config) {
  const int64_t qkv = (config.num_heads + 2 * int64_t{config.num_kv_heads}) * config.head_dim;
  const int64_t up = (config.gated_mlp ? 2 : 1) * int64_t{config.ffn_size};
  return std::max({qkv, up, int64_t{config.hidden_size}});
}

}  // namespace

void group_adapter_rows(const ForwardBatch& batch, const ModelConfig& config, Workspace& space) {
  LoraRows& lora = space.lora;
  lora.groups.clear();
  const bool any = std::ranges::any_of(batch.adapters, [](const LoraTable* t) { return t; });
  if (!any) return;
  const auto num_rows = batch.ids.size();
  const auto max_rows = static_cast<size_t>(space.x.max_rows());
  if (lora.delta.cols() == 0) {  // the first step with an adapter
    lora.delta = RowBuffer(space.x.max_rows(), widest_site(config));
    lora.rows.reserve(max_rows);
    lora.output_rows.reserve(max_rows);
    lora.group_of_row.reserve(max_rows);
    lora.groups.reserve(max_rows);
    lora.at_site.reserve(max_rows);
  }
  RUVLLM_CHECK(batch.adapters.size() == batch.sequences.size(), batch.adapters.size());
  lora.group_of_row.assign(num_rows, -1);
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    const LoraTable* table = batch.adapters[s];
    if (table == nullptr) continue;
    auto group = std::ranges::find(lora.groups, table, &LoraGroup::table);
    if (group == lora.groups.end()) {
      lora.groups.push_back({table, {}, batch.gates});
      group = lora.groups.end() - 1;
    }
    const SequenceSpan& sequence = batch.sequences[s];
    std::fill_n(lora.group_of_row.begin() + sequence.first_row, sequence.num_tokens,
                static_cast<int32_t>(group - lora.groups.begin()));
  }
  lora.rows.clear();
  for (size_t g = 0; g < lora.groups.size(); ++g) {
    const size_t begin = lora.rows.size();
    for (size_t row = 0; row < num_rows; ++row) {
      if (lora.group_of_row[row] == static_cast<int32_t>(g)) {
        lora.rows.push_back(static_cast<int32_t>(row));
      }
    }
    lora.groups[g].rows = std::span(lora.rows).subspan(begin);
  }
}

ConstMatrixF32 adapter_delta(const Step& step, LoraSite site, int32_t layer, ConstMatrixF32 x,
                             int64_t num_columns) {
  const std::span<const LoraArgs::Rows> groups = groups_at(step, site, layer);
  if (groups.empty()) return {};
  LoraArgs args;
  args.x = x;
  args.groups = groups;
  args.delta = step.space.lora.delta.view(step.rows, num_columns);
  step.ops.lora_delta(args);
  return args.delta;
}

ConstMatrixF32 adapter_embedding_delta(const Step& step) {
  const std::span<const LoraArgs::Rows> groups = groups_at(step, LoraSite::kEmbedding, 0);
  if (groups.empty()) return {};
  LoraArgs args;
  args.ids = step.batch.ids;
  args.groups = groups;
  args.delta = step.space.lora.delta.view(step.rows, step.config.hidden_size);
  step.ops.lora_delta(args);
  return args.delta;
}

ConstMatrixF32 adapter_logits_delta(const Step& step, ConstMatrixF32 rows) {
  LoraRows& lora = step.space.lora;
  lora.at_site.clear();
  lora.output_rows.clear();
  if (step.batch.adapters.empty()) return {};
  for (size_t g = 0; g < lora.groups.size(); ++g) {
    const std::span<const LoraTerm> terms = lora.groups[g].table->at(LoraSite::kLmHead, 0);
    if (terms.empty()) continue;
    const size_t begin = lora.output_rows.size();
    for (size_t r = 0; r < static_cast<size_t>(rows.rows); ++r) {
      const auto row = static_cast<size_t>(step.batch.output_rows[r]);
      if (lora.group_of_row[row] != static_cast<int32_t>(g)) continue;
      lora.output_rows.push_back(static_cast<int32_t>(r));
    }
    // Terms of the output have no gates (X-LoRA refuses such experts).
    lora.at_site.push_back({terms, std::span(lora.output_rows).subspan(begin), {}});
  }
  if (lora.output_rows.empty()) return {};
  if (lora.logits_delta.max_rows() < rows.rows) {
    lora.logits_delta = RowBuffer(rows.rows, step.config.vocab_size);
  }
  LoraArgs args;
  args.x = rows;
  args.groups = lora.at_site;
  args.delta = lora.logits_delta.view(rows.rows);
  step.ops.lora_delta(args);
  return args.delta;
}

}  // namespace ruvllm
