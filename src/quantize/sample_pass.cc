#include "quantize/sample_pass.h"

#include <utility>

namespace ruvllm {
namespace {

constexpr int32_t kBlockTokens = 64;

}  // namespace

Result<SamplePass> SamplePass::make(const Checkpoint& checkpoint, Ops& ops,
                                    std::span<const std::span<const int32_t>> pieces) {
  SamplePass out;
  out.place(pieces);
  if (out.ids_.empty()) return fail(ErrorCode::kInvalidArgument, "calibration: no samples");
  const ModelConfig& config = checkpoint.config;
  RUVLLM_ASSIGN(ModelWeights weights,
                load_weights({config, checkpoint.names, checkpoint.tensors, checkpoint.path, ops,
                              ComputeType::kF32, [](int64_t, int64_t) {}}));
  out.weights_ = std::make_unique<ModelWeights>(std::move(weights));
  ModelConfig one_layer = config;
  one_layer.layers.resize(1);
  RUVLLM_ASSIGN(KvStorage kv, KvStorage::make(one_layer, DType::kF32, kBlockTokens));
  out.kv_ = std::make_unique<KvStorage>(std::move(kv));
  RUVLLM_TRY(out.kv_->reserve(out.blocks_));
  out.decoder_ = std::make_unique<TransformerDecoder>(config, *out.weights_, ops, out.num_tokens());
  return out;
}

void SamplePass::place(std::span<const std::span<const int32_t>> pieces) {
  for (const std::span<const int32_t> piece : pieces) {
    SequenceSpan span;
    span.first_row = num_tokens();
    span.num_tokens = static_cast<int64_t>(piece.size());
    std::vector<int32_t>& table = tables_.emplace_back();
    for (int64_t at = 0; at < span.num_tokens; at += kBlockTokens) table.push_back(blocks_++);
    ids_.insert(ids_.end(), piece.begin(), piece.end());
    sequences_.push_back(span);
  }
  for (size_t i = 0; i < tables_.size(); ++i) sequences_[i].block_table = tables_[i];
}

MatrixF32 SamplePass::run(std::span<const int32_t> output_rows) {
  ForwardBatch batch;
  batch.ids = ids_;
  batch.sequences = sequences_;
  batch.output_rows = output_rows;
  return decoder_->forward(batch, *kv_).logits;
}

}  // namespace ruvllm
