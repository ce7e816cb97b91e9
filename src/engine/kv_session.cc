#include "engine/kv_session.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace ruvllm {
namespace {

// Rows of logits of one scoring step: bounds the runner's buffer to a few MB.
constexpr int64_t kMaxScoreFloats = int64_t{1} << 20;

std::unexpected<Error> cancelled_error() {
  return fail(ErrorCode::kUnavailable, "the generation was cancelled");
}

}  // namespace

Status KvSession::grow(int64_t num_tokens) {
  const int64_t block = runner_.kv_block_tokens();
  const int64_t needed = (num_tokens + block - 1) / block;
  const int64_t num_sets = adapter_.xlora != nullptr ? 2 : 1;
  if (needed * num_sets > runner_.num_kv_blocks()) {
    RUVLLM_TRY(runner_.reserve_kv_blocks(needed * num_sets));
  }
  while (static_cast<int64_t>(block_table_.size()) < needed) {
    const auto next = static_cast<int32_t>(static_cast<int64_t>(block_table_.size()) * num_sets);
    block_table_.push_back(next);
    if (num_sets == 2) pass1_table_.push_back(next + 1);
  }
  return {};
}

void KvSession::set_adapter(SequenceAdapter adapter) {
  recorder_ = nullptr;
  if (adapter == adapter_) return;
  const bool other_sets = (adapter.xlora != nullptr) != (adapter_.xlora != nullptr);
  adapter_ = std::move(adapter);
  clear();
  last_gates_ = {};
  if (other_sets) {
    block_table_.clear();
    pass1_table_.clear();
  }
  if (adapter_.xlora == nullptr) return;
  const auto rows = static_cast<size_t>(runner_.max_step_rows());
  const XLora& xlora = adapter_.xlora->xlora();
  gates_.resize(rows * static_cast<size_t>(xlora.num_gates()));
  const auto width = static_cast<size_t>(runner_.config().hidden_size);
  stream_.resize(xlora.first_layer > 0 ? rows * width : 0);
  all_rows_.resize(rows);
  std::iota(all_rows_.begin(), all_rows_.end(), 0);
}

void KvSession::route(const ForwardBatch& batch, std::span<const StreamRows> shared) {
  XLoraGate& gate = *adapter_.xlora;
  const auto rows = static_cast<int64_t>(batch.ids.size());
  last_gates_ = make_matrix(gates_.data(), rows, gate.xlora().num_gates());
  SequenceSpan sequence = batch.sequences.front();
  sequence.block_table = pass1_table_;
  ForwardBatch pass1 = batch;
  pass1.sequences = {&sequence, 1};
  const LoraTable* table = &gate.xlora().table;
  pass1.adapters = {};
  if (!gate.xlora().pass1_is_base()) {
    gate.fill_pass1(last_gates_);
    pass1.adapters = {&table, 1};
    pass1.gates = last_gates_;
  }
  pass1.output_rows = std::span(all_rows_).first(batch.ids.size());
  pass1.want_logits = false;
  pass1.want_hidden = true;
  pass1.taps = shared;
  gate.compute(runner_.forward(pass1).hidden, last_gates_);
}

ForwardOutput KvSession::forward(std::span<const int32_t> ids, std::span<const int32_t> output_rows,
                                 bool logits, bool hidden) {
  const auto count = static_cast<int64_t>(ids.size());
  const SequenceSpan sequence = {0, count, num_tokens(), block_table_};
  ForwardBatch batch;
  batch.ids = ids;
  batch.sequences = {&sequence, 1};
  batch.rope_regimes = {&regime_, 1};
  batch.output_rows = output_rows;
  batch.want_logits = logits;
  batch.want_hidden = hidden;
  const LoraTable* table = adapter_.table();
  if (table != nullptr) batch.adapters = {&table, 1};
  StreamRows shared;
  if (adapter_.xlora != nullptr) {
    const bool shares = !stream_.empty();
    shared.layer = adapter_.xlora->xlora().first_layer;
    if (shares) shared.x = make_matrix(stream_.data(), count, runner_.config().hidden_size);
    route(batch, {&shared, shares ? size_t{1} : size_t{0}});
    batch.gates = last_gates_;
    for (int64_t i = 0; recorder_ != nullptr && i < count; ++i) {
      recorder_->add(num_tokens() + i, last_gates_.row(i));
    }
    if (shares) batch.resumed = {&shared, 1};
  }
  const ForwardOutput output = runner_.forward(batch);
  tokens_.insert(tokens_.end(), ids.begin(), ids.end());
  return output;
}

Result<std::span<const float>> KvSession::prefill(std::span<const int32_t> ids,
                                                  const std::atomic<bool>& cancelled) {
  const auto total = static_cast<int64_t>(ids.size());
  RUVLLM_CHECK(total >= 1 && total <= runner_.max_seq_len(), total);
  const auto shared =
      std::mismatch(ids.begin(), ids.end() - 1, tokens_.begin(), tokens_.end()).first;
  num_reused_ = shared - ids.begin();  // the last token is always computed: its logits are wanted
  const uint8_t regime = runner_.rope_regime(total);
  if (regime != regime_) num_reused_ = 0;
  regime_ = regime;
  tokens_.resize(static_cast<size_t>(num_reused_));
  RUVLLM_TRY(grow(total));

  ForwardOutput output;
  while (num_tokens() < total) {
    if (cancelled.load(std::memory_order_relaxed)) return cancelled_error();
    const int64_t count = std::min(total - num_tokens(), runner_.max_step_rows());
    const bool last = num_tokens() + count == total;
    const auto last_row = static_cast<int32_t>(count - 1);
    output = forward(ids.subspan(static_cast<size_t>(num_tokens()), static_cast<size_t>(count)),
                     std::span(&last_row, last ? 1 : 0), last, false);
  }
  return std::span<const float>(output.logits.row(0), static_cast<size_t>(output.logits.cols));
}

Result<std::span<const float>> KvSession::advance(int32_t id, const std::atomic<bool>& cancelled) {
  const int64_t length = num_tokens() + 1;
  if (runner_.rope_regime(length) != regime_) {
    std::vector<int32_t> all(tokens_);
    all.push_back(id);
    return prefill(all, cancelled);
  }
  if (cancelled.load(std::memory_order_relaxed)) return cancelled_error();
  RUVLLM_TRY(grow(length));
  const int32_t row = 0;
  const ForwardOutput output = forward({&id, 1}, {&row, 1}, true, false);
  return std::span<const float>(output.logits.row(0), static_cast<size_t>(output.logits.cols));
}

Status KvSession::score(std::span<const int32_t> ids, const ScoreOptions& options,
                        FunctionRef<void(const ScoredRow&)> sink) {
  const auto total = static_cast<int64_t>(ids.size());
  RUVLLM_CHECK(total >= 1 && total <= runner_.max_seq_len(), total);
  clear();
  num_reused_ = 0;
  regime_ = runner_.rope_regime(total);
  RUVLLM_TRY(grow(total));
  int64_t max_rows = runner_.max_step_rows();
  if (options.logits) {
    max_rows = std::clamp<int64_t>(kMaxScoreFloats / runner_.config().vocab_size, 1, max_rows);
  }
  std::vector<int32_t> rows;
  while (num_tokens() < total) {
    const int64_t begin = num_tokens();
    // Rows that nobody asked for go in full steps.
    const bool wanted = begin >= options.first_row;
    const int64_t limit =
        wanted ? std::min(total - begin, max_rows)
               : std::min(std::min(total, options.first_row) - begin, runner_.max_step_rows());
    rows.resize(wanted ? static_cast<size_t>(limit) : 0);
    std::iota(rows.begin(), rows.end(), 0);
    const ForwardOutput output =
        forward(ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(limit)), rows,
                wanted && options.logits, wanted && options.hidden);
    for (int64_t i = 0; i < static_cast<int64_t>(rows.size()); ++i) {
      sink({begin + i, options.logits ? output.logits.row(i) : nullptr,
            options.hidden ? output.hidden.row(i) : nullptr,
            last_gates_.empty() ? nullptr : last_gates_.row(i)});
    }
  }
  return {};
}

}  // namespace ruvllm
