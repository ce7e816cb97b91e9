#include "model/decoder.h"

#include <algorithm>

#include "base/check.h"
#include "model/adapters.h"
#include "model/attention.h"
#include "model/mlp.h"

namespace ruvllm {

TransformerDecoder::TransformerDecoder(const ModelConfig& config, const ModelWeights& weights,
                                       Ops& ops, int64_t max_rows)
    : config_(config),
      weights_(weights),
      ops_(ops),
      rope_(config.rope, config.max_positions),
      rope_local_(config.rope_local, config.max_positions),
      space_(config, max_rows) {}

// Positions and rotary tables of the rows.
void TransformerDecoder::place_rows(const ForwardBatch& batch) {
  const bool local = space_.rope_local.cos.max_rows() > 0;
  const MatrixF32 cos = space_.rope.cos.view(space_.x.max_rows());
  const MatrixF32 sin = space_.rope.sin.view(space_.x.max_rows());
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    const SequenceSpan& sequence = batch.sequences[s];
    const uint8_t regime = batch.rope_regimes.empty() ? uint8_t{0} : batch.rope_regimes[s];
    for (int64_t i = 0; i < sequence.num_tokens; ++i) {
      const int64_t row = sequence.first_row + i;
      const int64_t position = sequence.first_position + i;
      space_.positions[static_cast<size_t>(row)] = static_cast<int32_t>(position);
      rope_.fill(position, regime, cos.row(row), sin.row(row));
      if (!local) continue;
      rope_local_.fill(position, 0, space_.rope_local.cos.view(row + 1).row(row),
                       space_.rope_local.sin.view(row + 1).row(row));
    }
  }
}

void TransformerDecoder::embed(const Step& step, MatrixF32 x) {
  ops_.embed(*weights_.embedding, step.batch.ids, config_.embedding_scale, x);
  if (const ConstMatrixF32 delta = adapter_embedding_delta(step); !delta.empty()) {
    ops_.add(x, delta, config_.embedding_scale);
  }
  if (!config_.learned_positions) return;
  const MatrixF32 places = space_.normed.view(step.rows);
  const std::span<const int32_t> positions(space_.positions);
  ops_.embed(*weights_.position_embedding, positions.first(static_cast<size_t>(step.rows)), 1.0f,
             places);
  ops_.add(x, places, 1.0f);
}

void TransformerDecoder::run_layer(const Step& step, int32_t index, MatrixF32 x) {
  const LayerWeights& layer = weights_.layers[static_cast<size_t>(index)];
  const MatrixF32 normed = space_.normed.view(step.rows);
  switch (config_.block_form) {
    case BlockForm::kPreNorm:
    case BlockForm::kSandwich:  // add_branch normalizes each branch where the layer has post norms
      apply_norm(step, layer.attn_norm, x, normed);
      attention(step, index, layer, normed, x);
      apply_norm(step, layer.mlp_norm, x, normed);
      mlp(step, index, layer, normed, x);
      return;
    case BlockForm::kPostNorm:
      attention(step, index, layer, x, x);
      mlp(step, index, layer, x, x);
      return;
    case BlockForm::kParallel:
      apply_norm(step, layer.attn_norm, x, normed);
      attention(step, index, layer, normed, x);
      mlp(step, index, layer, normed, x);
      return;
  }
}

ForwardOutput TransformerDecoder::finish(const Step& step, MatrixF32 x) {
  ForwardOutput result;
  const auto num_outputs = static_cast<int64_t>(step.batch.output_rows.size());
  if (num_outputs == 0) return result;
  const MatrixF32 rows = space_.output.view(num_outputs);
  for (int64_t r = 0; r < num_outputs; ++r) {
    const int64_t from = step.batch.output_rows[static_cast<size_t>(r)];
    RUVLLM_CHECK(from >= 0 && from < step.rows, from);
    std::copy_n(x.row(from), x.cols, rows.row(r));
  }
  apply_norm(step, weights_.final_norm, rows, rows);
  if (step.batch.want_hidden) result.hidden = rows;
  const int64_t limit = step.batch.num_logit_rows;
  const int64_t num_logits = limit < 0 ? num_outputs : std::min(limit, num_outputs);
  if (!step.batch.want_logits || num_logits == 0) return result;

  if (space_.logits.max_rows() < num_logits) {
    space_.logits = RowBuffer(num_logits, config_.vocab_size);
  }
  result.logits = space_.logits.view(num_logits);
  MatmulArgs args;
  args.x = space_.output.view(num_logits);
  args.weight = &weights_.output_matrix();
  args.bias = weights_.lm_head.bias_data();
  args.delta = adapter_logits_delta(step, args.x);
  args.y = result.logits;
  ops_.matmul(args);
  if (config_.logit_scale != 1.0f || config_.logit_softcap != 0.0f) {
    ops_.finish_logits(result.logits, config_.logit_scale, config_.logit_softcap);
  }
  return result;
}

// Embedding and layers. Sequences that go on from a later layer wait behind the others for it.
void TransformerDecoder::run_layers(const ForwardBatch& batch, const KvStorage& kv, MatrixF32 x) {
  ForwardBatch active = batch;
  size_t waiting = batch.resumed.size();
  const auto narrow = [&] {
    active.sequences = batch.sequences.first(batch.sequences.size() - waiting);
    const SequenceSpan* last = active.sequences.empty() ? nullptr : &active.sequences.back();
    const int64_t rows = last == nullptr ? 0 : last->first_row + last->num_tokens;
    active.ids = batch.ids.first(static_cast<size_t>(rows));
  };
  narrow();
  for (int32_t layer = 0; layer < config_.num_layers(); ++layer) {
    const size_t before = waiting;
    for (; waiting > 0; --waiting) {
      const StreamRows& next = batch.resumed[batch.resumed.size() - waiting];
      if (next.layer > layer) break;
      for (int64_t i = 0; i < next.x.rows; ++i) {
        std::copy_n(next.x.row(i), x.cols, x.row(next.first_row + i));
      }
    }
    if (waiting != before) narrow();
    const Step step{config_, ops_, space_, kv, active, static_cast<int64_t>(active.ids.size())};
    if (step.rows == 0) continue;
    const MatrixF32 rows = space_.x.view(step.rows);
    if (layer == 0) embed(step, rows);
    for (const StreamRows& tap : batch.taps) {
      if (tap.layer != layer) continue;
      for (int64_t i = 0; i < tap.x.rows; ++i) {
        std::copy_n(x.row(tap.first_row + i), x.cols, tap.x.row(i));
      }
    }
    run_layer(step, layer, rows);
  }
}

ForwardOutput TransformerDecoder::forward(const ForwardBatch& batch, const KvStorage& kv) {
  const auto rows = static_cast<int64_t>(batch.ids.size());
  RUVLLM_CHECK(rows > 0 && rows <= space_.x.max_rows(), rows, " of ", space_.x.max_rows());
  place_rows(batch);
  group_adapter_rows(batch, config_, space_);
  const MatrixF32 x = space_.x.view(rows);
  run_layers(batch, kv, x);
  return finish({config_, ops_, space_, kv, batch, rows}, x);
}

}  // namespace ruvllm
