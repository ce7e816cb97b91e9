#include "quantize/divergence_loss.h"

#include <algorithm>
#include <cmath>

#include "quantize/row_gradients.h"

namespace ruvllm {
namespace {

constexpr int64_t kBlockRows = 32;

}  // namespace

DivergenceLoss::DivergenceLoss(const ModelConfig& config, const DecoderParts& parts,
                               const MatrixRows& exact, const MatrixRows& stored, ThreadPool& pool)
    : config_(config),
      parts_(parts),
      pool_(pool),
      workers_(static_cast<size_t>(pool.num_threads())) {
  const int64_t vocab = config.vocab_size, width = config.hidden_size;
  exact_.resize(width, vocab);
  stored_.resize(width, vocab);
  back_.resize(vocab, width);
  pool.parallel_for(exact_.count(), [&](int64_t strip, int) {
    const int64_t first = strip * kStripWidth;
    const int64_t count = std::min(kStripWidth, vocab - first);
    std::vector<float> rows(static_cast<size_t>(count * width));
    for (int64_t i = 0; i < count; ++i)
      exact.read(parts.output, first + i, rows.data() + i * width);
    exact_.fill_columns(strip, rows.data(), 1, width);
    for (int64_t i = 0; i < count; ++i) {
      stored.read(parts.output, first + i, rows.data() + i * width);
      back_.fill_term(first + i, rows.data() + i * width);
    }
    stored_.fill_columns(strip, rows.data(), 1, width);
  });
}

void DivergenceLoss::logits_of(ConstMatrixF32 hidden, const Strips& matrix, MatrixF32 out,
                               Worker& worker) const {
  multiply(rows_as_left(hidden), matrix, out, false, worker.panels);
  for (int64_t t = 0; t < out.rows; ++t) {
    float* const row = out.row(t);
    if (!parts_.output_bias.empty()) {
      for (int64_t i = 0; i < out.cols; ++i) row[i] += parts_.output_bias[static_cast<size_t>(i)];
    }
    if (config_.logit_scale == 1.0f) continue;
    for (int64_t i = 0; i < out.cols; ++i) row[i] *= config_.logit_scale;
  }
}

double DivergenceLoss::run(ConstMatrixF32 exact_hidden, ConstMatrixF32 hidden, MatrixF32 d_hidden) {
  const int64_t vocab = config_.vocab_size;
  sums_.resize(static_cast<size_t>(hidden.rows));
  const float scale = config_.logit_scale / static_cast<float>(hidden.rows);
  pool_.parallel_for((hidden.rows + kBlockRows - 1) / kBlockRows, [&](int64_t task, int thread) {
    Worker& worker = workers_[static_cast<size_t>(thread)];
    const int64_t first = task * kBlockRows;
    const int64_t count = std::min(kBlockRows, hidden.rows - first);
    worker.exact.resize(static_cast<size_t>(kBlockRows * vocab));
    worker.stored.resize(worker.exact.size());
    const MatrixF32 p = make_matrix(worker.exact.data(), count, vocab);
    const MatrixF32 q = make_matrix(worker.stored.data(), count, vocab);
    const auto rows = [&](ConstMatrixF32 x) {
      return ConstMatrixF32(x.row(first), count, x.cols, x.row_stride);
    };
    logits_of(rows(exact_hidden), exact_, p, worker);
    logits_of(rows(hidden), stored_, q, worker);
    for (int64_t t = 0; t < count; ++t) {
      sums_[static_cast<size_t>(first + t)] = divergence_row(p.row(t), q.row(t), vocab, scale);
    }
    multiply(rows_as_left(q), back_,
             {d_hidden.row(first), count, d_hidden.cols, d_hidden.row_stride}, false,
             worker.panels);
  });
  double sum = 0.0;
  for (const double row : sums_) sum += row;
  return sum / static_cast<double>(hidden.rows);
}

}  // namespace ruvllm
