#include "quantize/input_stats.h"

#include <algorithm>
#include <cmath>

#include "quantize/vector_math.h"

namespace ruvllm {

InputStats::InputStats(int64_t cols, bool with_hessian, int64_t max_sample_rows)
    : cols_(cols),
      max_sample_rows_(max_sample_rows),
      max_abs_(static_cast<size_t>(cols)),
      sum_abs_(static_cast<size_t>(cols)),
      sum_square_(static_cast<size_t>(cols)),
      hessian_(with_hessian ? static_cast<size_t>(cols * cols) : 0) {}

void InputStats::add(ConstMatrixF32 x, ThreadPool& pool) {
  constexpr int64_t kColumns = 256;  // of a task: each sum sees the rows in order
  pool.parallel_for((cols_ + kColumns - 1) / kColumns, [&](int64_t task, int) {
    const auto begin = static_cast<size_t>(task * kColumns);
    const auto end = static_cast<size_t>(std::min((task + 1) * kColumns, cols_));
    for (int64_t t = 0; t < x.rows; ++t) {
      const float* row = x.row(t);
      for (size_t k = begin; k < end; ++k) {
        const float magnitude = std::abs(row[k]);
        max_abs_[k] = std::max(max_abs_[k], magnitude);
        sum_abs_[k] += double{magnitude};
        sum_square_[k] += double{row[k]} * double{row[k]};
      }
    }
  });
  for (int64_t t = 0; t < x.rows; ++t) {
    if (num_tokens_++ % sample_stride_ == 0) add_sample(x.row(t));
  }
  if (!hessian_.empty()) add_products(x, pool);
}

// When the sample is full, every second row of it goes and from then on half as many are kept.
void InputStats::add_sample(const float* row) {
  if (max_sample_rows_ < 2) return;
  const auto width = static_cast<size_t>(cols_);
  if (sample_.size() == width * static_cast<size_t>(max_sample_rows_)) {
    size_t kept = 0;
    for (size_t r = 0; r * width < sample_.size(); r += 2, ++kept) {
      std::copy_n(sample_.begin() + static_cast<ptrdiff_t>(r * width), width,
                  sample_.begin() + static_cast<ptrdiff_t>(kept * width));
    }
    sample_.resize(kept * width);
    sample_stride_ *= 2;
    if ((num_tokens_ - 1) % sample_stride_ != 0) return;
  }
  sample_.insert(sample_.end(), row, row + width);
}

namespace {

// Some rows of the upper triangle of X^T X, and of these some columns.
struct Block {
  int64_t row, num_rows;
  int64_t col, num_cols;
};

constexpr int64_t kBlockCols = 512;
// Rows of a block in memory: a power of two would put them all in the same few places of a cache.
constexpr int64_t kBlockStride = kBlockCols + 8;

std::vector<Block> blocks_of_triangle(int64_t n) {
  std::vector<Block> out;
  for (int64_t row = 0; row < n; row += kernels::kMostProductRows) {
    for (int64_t col = row; col < n; col += kBlockCols) {
      out.push_back(
          {row, std::min(kernels::kMostProductRows, n - row), col, std::min(kBlockCols, n - col)});
    }
  }
  return out;
}

}  // namespace

// The upper triangle, a block a task, and what it mirrors; f32 sums over a few tokens, those in
// f64. A block stands in the second-level cache while all tokens pass.
void InputStats::add_products(ConstMatrixF32 x, ThreadPool& pool) {
  constexpr int64_t kTokens = kernels::kMostProductTerms;
  const std::vector<Block> blocks = blocks_of_triangle(cols_);
  std::vector<std::vector<double>> scratch(static_cast<size_t>(pool.num_threads()));
  pool.parallel_for(static_cast<int64_t>(blocks.size()), [&](int64_t task, int worker) {
    const Block b = blocks[static_cast<size_t>(task)];
    std::vector<double>& sums = scratch[static_cast<size_t>(worker)];
    sums.resize(static_cast<size_t>(kernels::kMostProductRows * kBlockStride));
    double* const to = hessian_.data();
    for (int64_t i = 0; i < b.num_rows; ++i) {
      std::copy_n(to + (b.row + i) * cols_ + b.col, b.num_cols, sums.data() + i * kBlockStride);
    }
    for (int64_t first = 0; first < x.rows; first += kTokens) {
      quantizer_kernels().add_products(sums.data(), kBlockStride, b.num_rows, b.num_cols,
                                       x.row(first) + b.row, x.row(first) + b.col, x.row_stride,
                                       std::min(kTokens, x.rows - first));
    }
    // Below the diagonal of a block that has some of it: what its own upper part mirrors.
    for (int64_t i = 0; i < b.num_rows; ++i) {
      const int64_t from = std::max(b.row + i, b.col);
      std::copy_n(sums.data() + i * kBlockStride + (from - b.col), b.col + b.num_cols - from,
                  to + (b.row + i) * cols_ + from);
    }
    for (int64_t k = 0; k < b.num_cols; ++k) {
      const int64_t last = std::min(b.num_rows, b.col + k - b.row);
      for (int64_t i = 0; i < last; ++i) {
        to[(b.col + k) * cols_ + b.row + i] = sums[static_cast<size_t>(i * kBlockStride + k)];
      }
    }
  });
}

std::vector<float> InputStats::mean_abs() const {
  std::vector<float> out;
  for (const double sum : sum_abs_) {
    out.push_back(static_cast<float>(sum / static_cast<double>(std::max<int64_t>(num_tokens_, 1))));
  }
  return out;
}

std::vector<float> InputStats::mean_square() const {
  std::vector<float> out;
  for (const double sum : sum_square_) {
    out.push_back(static_cast<float>(sum / static_cast<double>(std::max<int64_t>(num_tokens_, 1))));
  }
  return out;
}

ConstMatrixF32 InputStats::sample() const {
  return {sample_.data(), static_cast<int64_t>(sample_.size()) / cols_, cols_, cols_};
}

}  // namespace ruvllm
