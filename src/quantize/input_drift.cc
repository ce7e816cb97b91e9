#include "quantize/input_drift.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "quantize/rotation.h"
#include "quantize/watched_ops.h"

namespace ruvllm {
namespace {

constexpr int64_t kTokens = 2048;  // of one product of the sum
constexpr int64_t kTile = 64;
constexpr int64_t kBlock = 512;  // columns of a factor

Result<std::unique_ptr<Weight>> make_dense(Ops& ops, const float* values, int64_t rows,
                                           int64_t cols, bool transposed = false) {
  const auto* bytes = reinterpret_cast<const std::byte*>(values);
  const WeightSource source{make_view(bytes, DType::kF32, {rows, cols}), transposed};
  return ops.make_weight({&source, 1}, {.compute = ComputeType::kF32});
}

void multiply(Ops& ops, ConstMatrixF32 x, const Weight& weight, MatrixF32 y, bool add = false) {
  MatmulArgs args;
  args.x = x;
  args.weight = &weight;
  if (add) args.residual = y;
  args.y = y;
  ops.matmul(args);
}

// out [K, T] = x^T, or (x - y)^T.
void transpose(ConstMatrixF32 x, const ConstMatrixF32* y, float* out, ThreadPool& pool) {
  pool.parallel_for((x.cols + kTile - 1) / kTile, [&](int64_t task, int) {
    const int64_t begin = task * kTile;
    const int64_t end = std::min(x.cols, begin + kTile);
    for (int64_t t = 0; t < x.rows; ++t) {
      for (int64_t k = begin; k < end; ++k) {
        out[k * x.rows + t] = y == nullptr ? x.row(t)[k] : x.row(t)[k] - y->row(t)[k];
      }
    }
  });
}

bool same(ConstMatrixF32 x, ConstMatrixF32 y) {
  for (int64_t t = 0; t < x.rows; ++t) {
    if (!std::equal(x.row(t), x.row(t) + x.cols, y.row(t))) return false;
  }
  return true;
}

}  // namespace

Result<InputDrift> InputDrift::make(Ops& ops, ThreadPool& pool, ConstMatrixF32 exact,
                                    ConstMatrixF32 quantized, int64_t held_tokens) {
  RUVLLM_CHECK(
      exact.rows <= quantized.rows && exact.cols == quantized.cols && held_tokens <= exact.rows,
      exact.rows, " of ", quantized.rows, ", ", held_tokens);
  InputDrift out;
  out.ops_ = &ops;
  const int64_t used = exact.rows - held_tokens;
  if (used == 0 || same(exact, quantized)) return out;
  const int64_t cols = out.cols_ = exact.cols;
  out.values_.resize(static_cast<size_t>(cols * cols));
  std::vector<float> inputs(static_cast<size_t>(cols * std::min(kTokens, used)));
  std::vector<float> lost(inputs.size());
  for (int64_t first = 0; first < used; first += kTokens) {
    const int64_t count = std::min(kTokens, used - first);
    const ConstMatrixF32 x = rows_of(quantized, first, count);
    transpose(x, nullptr, inputs.data(), pool);
    transpose(rows_of(exact, first, count), &x, lost.data(), pool);
    RUVLLM_ASSIGN(const auto weight, make_dense(ops, inputs.data(), cols, count));
    multiply(ops, {lost.data(), cols, count, count}, *weight,
             make_matrix(out.values_.data(), cols, cols), first > 0);
  }
  // H is over all tokens.
  const float scale = static_cast<float>(quantized.rows) / static_cast<float>(used);
  for (float& value : out.values_) value *= scale;
  RUVLLM_ASSIGN(out.drift_, make_dense(ops, out.values_.data(), cols, cols, true));
  out.held_.reserve(static_cast<size_t>(held_tokens * cols));
  out.held_lost_.reserve(out.held_.capacity());
  for (int64_t t = used; t < exact.rows; ++t) {
    out.held_.insert(out.held_.end(), quantized.row(t), quantized.row(t) + cols);
    for (int64_t k = 0; k < cols; ++k) {
      out.held_lost_.push_back(exact.row(t)[k] - quantized.row(t)[k]);
    }
  }
  return out;
}

Status InputDrift::solve(const FactorSolver& solver, const InputTransform& rotation) {
  if (!rotation.empty()) values_ = rotate_rows({values_.data(), cols_, cols_, cols_}, rotation);
  solver.solve(make_matrix(values_.data(), cols_, cols_));
  RUVLLM_ASSIGN(drift_, make_dense(*ops_, values_.data(), cols_, cols_, true));
  solved_ = true;
  return {};
}

std::vector<float> InputDrift::change(ConstMatrixF32 w, const FactorSolver& solver,
                                      const InputTransform& rotation) const {
  std::vector<float> out(static_cast<size_t>(w.rows * w.cols));
  multiply(*ops_, w, *drift_, make_matrix(out.data(), w.rows, w.cols));
  if (solved_) return out;
  if (!rotation.empty()) out = rotate_rows({out.data(), w.rows, w.cols, w.cols}, rotation);
  solver.solve(make_matrix(out.data(), w.rows, w.cols));
  return out;
}

Result<double> InputDrift::trusted_part(ConstMatrixF32 w, ConstMatrixF32 change,
                                        const InputTransform& rotation) const {
  const int64_t held = static_cast<int64_t>(held_.size()) / std::max<int64_t>(cols_, 1);
  if (held == 0) return 1.0;
  std::vector<float> turned;
  ConstMatrixF32 inputs{held_.data(), held, cols_, cols_};
  if (!rotation.empty()) {
    turned = rotate_rows(inputs, rotation);
    inputs.data = turned.data();
  }
  std::vector<float> wanted(static_cast<size_t>(held * w.rows));
  std::vector<float> given(wanted.size());
  RUVLLM_ASSIGN(const auto weight, make_dense(*ops_, w.data, w.rows, w.cols));
  multiply(*ops_, {held_lost_.data(), held, cols_, cols_}, *weight,
           make_matrix(wanted.data(), held, w.rows));
  RUVLLM_ASSIGN(const auto changed, make_dense(*ops_, change.data, change.rows, change.cols));
  multiply(*ops_, inputs, *changed, make_matrix(given.data(), held, w.rows));
  double both = 0.0, square = 0.0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    both += double{wanted[i]} * double{given[i]};
    square += double{given[i]} * double{given[i]};
  }
  return square > 0.0 ? std::clamp(both / square, 0.0, 1.0) : 0.0;
}

Result<FactorSolver> FactorSolver::make(Ops& ops, const GptqPlan& plan) {
  FactorSolver out;
  out.ops_ = &ops;
  out.plan_ = &plan;
  const auto cols = static_cast<int64_t>(plan.order.size());
  for (int64_t begin = 0; begin < cols; begin += kBlock) {
    Block& block = out.blocks_.emplace_back();
    block.begin = begin;
    block.end = std::min(cols, begin + kBlock);
    block.columns.reserve(static_cast<size_t>(block.end * (block.end - begin)));
    block.rows.reserve(static_cast<size_t>((block.end - begin) * (cols - begin)));
    for (int64_t j = 0; j < block.end; ++j) {
      const float* row = plan.factor.data() + j * cols;
      block.columns.insert(block.columns.end(), row + begin, row + block.end);
      if (j >= begin) block.rows.insert(block.rows.end(), row + begin, row + cols);
    }
    const int64_t width = block.end - begin;
    RUVLLM_ASSIGN(block.of_rows, make_dense(ops, block.rows.data(), width, cols - begin));
    RUVLLM_ASSIGN(block.of_columns, make_dense(ops, block.columns.data(), block.end, width, true));
  }
  return out;
}

void FactorSolver::solve(MatrixF32 v) const {
  const std::vector<int32_t>& order = plan_->order;
  std::vector<float> from(static_cast<size_t>(v.rows * v.cols));
  std::vector<float> to(from.size());
  const MatrixF32 ordered = make_matrix(from.data(), v.rows, v.cols);
  const MatrixF32 half = make_matrix(to.data(), v.rows, v.cols);
  for (int64_t n = 0; n < v.rows; ++n) {
    for (size_t j = 0; j < order.size(); ++j) ordered.row(n)[j] = v.row(n)[order[j]];
  }
  for (const Block& block : blocks_) {
    multiply(*ops_, ordered.columns(block.begin, v.cols - block.begin), *block.of_rows,
             half.columns(block.begin, block.end - block.begin));
  }
  for (const Block& block : blocks_) {
    multiply(*ops_, half.columns(0, block.end), *block.of_columns,
             ordered.columns(block.begin, block.end - block.begin));
  }
  for (int64_t n = 0; n < v.rows; ++n) {
    for (size_t j = 0; j < order.size(); ++j) v.row(n)[order[j]] = ordered.row(n)[j];
  }
}

}  // namespace ruvllm
