#include "engine/model_runner.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/str.h"
#include "model/decoder.h"
#include "model/kv_storage.h"
#include "model/weights.h"

namespace ruvllm {
namespace {

constexpr int64_t kMaxStepRows = 1 << 16;
constexpr int32_t kMaxKvBlockTokens = 1 << 14;
// Scratch that grows with the context is sized ahead up to here; beyond, on first use. A file may
// claim any number of positions, and nothing is allocated on its word.
constexpr int64_t kReservedContext = 1 << 16;

DType kv_dtype(const RunnerOptions& options) {
  switch (options.kv) {
    case KvType::kAuto:
      return options.compute == ComputeType::kF32 ? DType::kF32 : DType::kBF16;
    case KvType::kF32:
      return DType::kF32;
    case KvType::kBf16:
      return DType::kBF16;
    case KvType::kF16:
      return DType::kF16;
    case KvType::kInt8:
      break;
  }
  return DType::kI8;
}

Status check_options(const RunnerOptions& options) {
  if (options.max_step_rows < 1 || options.max_step_rows > kMaxStepRows) {
    return fail(ErrorCode::kInvalidArgument, concat("max_step_rows is ", options.max_step_rows,
                                                    ", expected 1 to ", kMaxStepRows));
  }
  if (options.kv_block_tokens < 1 || options.kv_block_tokens > kMaxKvBlockTokens) {
    return fail(ErrorCode::kInvalidArgument, concat("kv_block_tokens is ", options.kv_block_tokens,
                                                    ", expected 1 to ", kMaxKvBlockTokens));
  }
  return {};
}

Result<int64_t> sequence_limit(const Checkpoint& checkpoint, const RunnerOptions& options) {
  const ModelConfig& config = checkpoint.config;
  const int64_t limit = options.max_seq_len != 0 ? options.max_seq_len : config.max_positions;
  if (limit < 1) {
    return fail(ErrorCode::kInvalidArgument, concat(checkpoint.path, ": the longest sequence is ",
                                                    limit, " tokens; choose one with max_seq_len"));
  }
  if (config.learned_positions && limit > config.max_positions) {
    return fail(ErrorCode::kInvalidArgument,
                concat(checkpoint.path, ": max_seq_len ", limit, " exceeds the ",
                       config.max_positions, " positions this model has embeddings for"));
  }
  return std::min<int64_t>(limit, std::numeric_limits<int32_t>::max());
}

Result<std::unique_ptr<Ops>> make_ops(const RunnerOptions& options) {
  if (options.reference_ops) return make_reference_ops();
  return make_cpu_ops(options.threads);
}

class ModelRunnerImpl final : public ModelRunner {
 public:
  ModelRunnerImpl(std::shared_ptr<const Checkpoint> checkpoint, std::unique_ptr<Ops> ops,
                  ModelWeights weights, KvStorage kv, const RunnerOptions& options,
                  int64_t max_seq_len)
      : checkpoint_(std::move(checkpoint)),
        ops_(std::move(ops)),
        weights_(std::move(weights)),
        kv_(std::move(kv)),
        decoder_(checkpoint_->config, weights_, *ops_, options.max_step_rows),
        max_seq_len_(max_seq_len),
        max_step_rows_(options.max_step_rows) {
    ops_->reserve({max_step_rows_, decoder_.widest_row(), std::min(max_seq_len, kReservedContext)});
  }

  const ModelConfig& config() const override { return checkpoint_->config; }
  int64_t max_seq_len() const override { return max_seq_len_; }
  int64_t max_step_rows() const override { return max_step_rows_; }
  int32_t kv_block_tokens() const override { return kv_.block_tokens(); }
  uint64_t weight_bytes() const override { return weights_.num_bytes; }
  uint64_t num_parameters() const override { return weights_.num_parameters; }
  uint64_t kv_block_bytes() const override { return kv_.block_bytes(); }
  std::string_view quantization() const override { return weights_.main_layout; }
  std::string_view kernels() const override { return ops_->kernels(); }

  Status reserve_kv_blocks(int64_t num_blocks) override { return kv_.reserve(num_blocks); }
  int64_t num_kv_blocks() const override { return kv_.num_blocks(); }
  void copy_kv_block(int32_t from, int32_t to) override {
    RUVLLM_CHECK(from >= 0 && from < kv_.num_blocks() && to >= 0 && to < kv_.num_blocks(), from);
    kv_.copy(from, to);
  }
  uint8_t rope_regime(int64_t sequence_tokens) const override {
    return decoder_.rope().regime(sequence_tokens);
  }
  Ops* ops() override { return ops_.get(); }
  ForwardOutput forward(const ForwardBatch& batch) override {
    check_batch(batch);
    return decoder_.forward(batch, kv_);
  }

 private:
  void check_batch(const ForwardBatch& batch) const;

  std::shared_ptr<const Checkpoint> checkpoint_;
  std::unique_ptr<Ops> ops_;
  ModelWeights weights_;
  KvStorage kv_;
  TransformerDecoder decoder_;
  int64_t max_seq_len_;
  int64_t max_step_rows_;
};

// The promises of ForwardBatch that would otherwise end as stray memory accesses.
void ModelRunnerImpl::check_batch(const ForwardBatch& batch) const {
  int64_t next_row = 0;
  for (const SequenceSpan& sequence : batch.sequences) {
    RUVLLM_CHECK(sequence.first_row == next_row && sequence.num_tokens > 0, sequence.first_row);
    next_row += sequence.num_tokens;
    const int64_t end = sequence.first_position + sequence.num_tokens;
    RUVLLM_CHECK(sequence.first_position >= 0 && end <= max_seq_len_, end, " of ", max_seq_len_);
    RUVLLM_CHECK(end <= static_cast<int64_t>(sequence.block_table.size()) * kv_.block_tokens(), end,
                 " tokens in ", sequence.block_table.size(), " blocks");
    for (const int32_t block : sequence.block_table) {
      RUVLLM_CHECK(block >= 0 && block < kv_.num_blocks(), block, " of ", kv_.num_blocks());
    }
  }
  RUVLLM_CHECK(next_row == static_cast<int64_t>(batch.ids.size()), next_row);
  RUVLLM_CHECK(batch.rope_regimes.empty() || batch.rope_regimes.size() == batch.sequences.size());
  RUVLLM_CHECK(batch.adapters.empty() || batch.adapters.size() == batch.sequences.size());
  RUVLLM_CHECK(batch.gates.empty() || batch.gates.rows == next_row, batch.gates.rows);
  RUVLLM_CHECK(batch.output_rows.size() <= batch.ids.size());
  RUVLLM_CHECK(batch.resumed.size() <= batch.sequences.size(), batch.resumed.size());
  const size_t num_whole = batch.sequences.size() - batch.resumed.size();
  int32_t last_layer = 1;
  for (size_t i = 0; i < batch.resumed.size(); ++i) {
    const StreamRows& rows = batch.resumed[i];
    const SequenceSpan& sequence = batch.sequences[num_whole + i];
    RUVLLM_CHECK(rows.first_row == sequence.first_row && rows.x.rows == sequence.num_tokens &&
                     rows.x.cols == config().hidden_size,
                 rows.first_row);
    RUVLLM_CHECK(rows.layer >= last_layer && rows.layer < config().num_layers(), rows.layer);
    last_layer = rows.layer;
    const LoraTable* table = batch.adapters.empty() ? nullptr : batch.adapters[num_whole + i];
    RUVLLM_CHECK(table == nullptr || table->first_layer() >= rows.layer, rows.layer);
  }
  for (const int32_t id : batch.ids) {
    RUVLLM_CHECK(id >= 0 && id < checkpoint_->config.vocab_size, id);
  }
}

}  // namespace

Result<std::unique_ptr<ModelRunner>> ModelRunner::load(std::shared_ptr<const Checkpoint> checkpoint,
                                                       const RunnerOptions& options) {
  RUVLLM_TRY(check_options(options));
  RUVLLM_ASSIGN(const int64_t max_seq_len, sequence_limit(*checkpoint, options));
  RUVLLM_ASSIGN(std::unique_ptr<Ops> ops, make_ops(options));
  // What was repacked is not read again; pages used in place come back on their first use.
  const auto release_pages = [&checkpoint] {
    for (const Checkpoint* at = checkpoint.get(); at != nullptr; at = at->base.get()) {
      for (const MmapFile& file : at->files) file.release(file.bytes());
    }
  };
  const auto progress = [&](int64_t done, int64_t total) {
    release_pages();
    if (options.progress) options.progress(done, total);
  };
  RUVLLM_ASSIGN(ModelWeights weights,
                load_weights({checkpoint->config, checkpoint->names, checkpoint->tensors,
                              checkpoint->path, *ops, options.compute, progress}));
  release_pages();
  RUVLLM_ASSIGN(KvStorage kv,
                KvStorage::make(checkpoint->config, kv_dtype(options), options.kv_block_tokens));
  return std::make_unique<ModelRunnerImpl>(std::move(checkpoint), std::move(ops),
                                           std::move(weights), std::move(kv), options, max_seq_len);
}

}  // namespace ruvllm
