#include "engine/speed.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "base/str.h"

namespace ruvllm {
namespace {

int64_t blocks_for(const ModelRunner& runner, int64_t tokens) {
  return (tokens + runner.kv_block_tokens() - 1) / runner.kv_block_tokens();
}

// The sequences of a case, each with its own blocks.
class Batch {
 public:
  Batch(ModelRunner& runner, const SpeedCase& speed_case)
      : runner_(runner),
        depth_(speed_case.depth),
        blocks_each_(blocks_for(runner, speed_case.depth + speed_case.num_tokens)),
        blocks_(static_cast<size_t>(blocks_each_ * speed_case.batch)),
        regimes_(static_cast<size_t>(speed_case.batch),
                 runner.rope_regime(speed_case.depth + speed_case.num_tokens)) {
    std::iota(blocks_.begin(), blocks_.end(), 0);
  }

  Status reserve() { return runner_.reserve_kv_blocks(static_cast<int64_t>(blocks_.size())); }

  // `rows` new tokens of every sequence, at positions depth + offset on.
  void step(int64_t offset, int64_t rows) {
    const auto batch = static_cast<int64_t>(regimes_.size());
    const int32_t vocab = runner_.config().vocab_size;
    ids_.resize(static_cast<size_t>(batch * rows));
    for (size_t i = 0; i < ids_.size(); ++i) {
      ids_[i] = static_cast<int32_t>((i * 7919 + static_cast<size_t>(offset) * 104729 + 11) %
                                     static_cast<size_t>(vocab));
    }
    sequences_.clear();
    output_rows_.clear();
    for (int64_t i = 0; i < batch; ++i) {
      const std::span<const int32_t> table = std::span(blocks_).subspan(
          static_cast<size_t>(i * blocks_each_), static_cast<size_t>(blocks_each_));
      sequences_.push_back({i * rows, rows, depth_ + offset, table});
      output_rows_.push_back(static_cast<int32_t>(i * rows + rows - 1));
    }
    ForwardBatch forward;
    forward.ids = ids_;
    forward.sequences = sequences_;
    forward.rope_regimes = regimes_;
    forward.output_rows = output_rows_;
    runner_.forward(forward);
  }

 private:
  ModelRunner& runner_;
  int64_t depth_;
  int64_t blocks_each_;
  std::vector<int32_t> blocks_;
  std::vector<uint8_t> regimes_;
  std::vector<int32_t> ids_;
  std::vector<SequenceSpan> sequences_;
  std::vector<int32_t> output_rows_;
};

}  // namespace

Result<double> time_case(ModelRunner& runner, const SpeedCase& speed_case) {
  const int64_t length = speed_case.depth + speed_case.num_tokens;
  if (length > runner.max_seq_len()) {
    return fail(ErrorCode::kInvalidArgument,
                concat("depth ", speed_case.depth, " and ", speed_case.num_tokens,
                       " tokens exceed the context of ", runner.max_seq_len()));
  }
  const int64_t rows_each = runner.max_step_rows() / speed_case.batch;
  if (rows_each < 1) {
    return fail(ErrorCode::kInvalidArgument,
                concat("a batch of ", speed_case.batch, " exceeds the ", runner.max_step_rows(),
                       " rows of a step"));
  }
  Batch batch(runner, speed_case);
  RUVLLM_TRY(batch.reserve());
  const auto start = std::chrono::steady_clock::now();
  const int64_t rows_per_step = speed_case.prefill ? rows_each : 1;
  for (int64_t done = 0; done < speed_case.num_tokens;) {
    const int64_t rows = std::min(rows_per_step, speed_case.num_tokens - done);
    batch.step(done, rows);
    done += rows;
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double weight_macs(const ModelRunner& runner, int64_t rows, int64_t output_rows) {
  const ModelConfig& config = runner.config();
  if (config.num_experts > 0) return 0.0;
  const double head = static_cast<double>(config.vocab_size) * config.hidden_size;
  const double all = static_cast<double>(runner.num_parameters());
  const double layers = all - (config.tied_embeddings ? 1.0 : 2.0) * head;
  return layers * static_cast<double>(rows) + head * static_cast<double>(output_rows);
}

double decode_bytes_per_step(const ModelRunner& runner, const SpeedCase& speed_case) {
  const ModelConfig& config = runner.config();
  const auto weights = static_cast<double>(runner.weight_bytes());
  // An embedding table of its own is not read, only a few of its rows.
  const double per_parameter = weights / static_cast<double>(runner.num_parameters());
  const double table =
      config.tied_embeddings ? 0.0 : per_parameter * config.vocab_size * config.hidden_size;
  const double kv_per_token =
      static_cast<double>(runner.kv_block_bytes()) / runner.kv_block_tokens();
  const double tokens =
      static_cast<double>(speed_case.depth) + static_cast<double>(speed_case.num_tokens) / 2.0;
  return weights - table + kv_per_token * tokens * static_cast<double>(speed_case.batch);
}

}  // namespace ruvllm
