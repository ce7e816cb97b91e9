#include "quantize/input_stats.h"

#include <algorithm>
#include <cmath>

#include "quantize/vector_math.h"

namespace ruvllm {

namespace {

constexpr int64_t kSamplePadding = 16;  // a cache line: rows of whole lines begin where one does

// Columns of one row, a fixed number of them: loops that compilers make vectors of.
template <int kCount>
void add_moments(const float* row, float* max_abs, double* sum_abs, double* sum_square) {
  float magnitude[kCount];
  for (int i = 0; i < kCount; ++i) magnitude[i] = std::abs(row[i]);
  for (int i = 0; i < kCount; ++i) max_abs[i] = std::max(max_abs[i], magnitude[i]);
  for (int i = 0; i < kCount; ++i) sum_abs[i] += double{magnitude[i]};
  for (int i = 0; i < kCount; ++i) sum_square[i] += double{magnitude[i]} * double{magnitude[i]};
}

}  // namespace

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
      float* const max_abs = max_abs_.data();
      double* const sum_abs = sum_abs_.data();
      double* const sum_square = sum_square_.data();
      size_t k = begin;
      for (; k + 8 <= end; k += 8) {
        add_moments<8>(row + k, max_abs + k, sum_abs + k, sum_square + k);
      }
      for (; k < end; ++k) add_moments<1>(row + k, max_abs + k, sum_abs + k, sum_square + k);
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
  const auto width = static_cast<size_t>(cols_ + kSamplePadding);
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
  sample_.insert(sample_.end(), row, row + cols_);
  sample_.insert(sample_.end(), kSamplePadding, 0.0f);
}

namespace {

constexpr int64_t kStrip = kStripWidth;

// [strips of columns][rows of x][kStrip], filled up with zeros.
void pack_strips(ConstMatrixF32 x, float* packed, ThreadPool& pool) {
  constexpr int64_t kStrips = 8;  // of a task
  pool.parallel_for((x.cols + kStrips * kStrip - 1) / (kStrips * kStrip), [&](int64_t task, int) {
    const int64_t begin = task * kStrips * kStrip;
    const int64_t end = std::min(begin + kStrips * kStrip, x.cols);
    for (int64_t t = 0; t < x.rows; ++t) {
      for (int64_t k = begin; k < end; k += kStrip) {
        float* const to = packed + k * x.rows + t * kStrip;
        const int64_t width = std::min(kStrip, end - k);
        std::copy_n(x.row(t) + k, width, to);
        std::fill(to + width, to + kStrip, 0.0f);
      }
    }
  });
}

// Strips of X^T X: rows those of a few strips, which stay in the second-level cache, columns those
// of some, each of which is read once for all of these rows.
struct StripBlock {
  int64_t first_row, last_row, first, last;
};

std::vector<StripBlock> blocks_of_triangle(int64_t strips) {
  constexpr int64_t kRowStrips = 4, kStrips = 8;
  std::vector<StripBlock> out;
  for (int64_t row = 0; row < strips; row += kRowStrips) {
    for (int64_t first = row; first < strips; first += kStrips) {
      out.push_back(
          {row, std::min(row + kRowStrips, strips), first, std::min(first + kStrips, strips)});
    }
  }
  return out;
}

}  // namespace

// The upper triangle, strip by strip of it; f32 sums over a few tokens, those in f64, which stand
// in the first-level cache while some hundred tokens pass, strips of them one behind the other.
void InputStats::add_products(ConstMatrixF32 x, ThreadPool& pool) {
  constexpr int64_t kTokens = 16 * kernels::kProductTerms;
  const int64_t strips = (cols_ + kStrip - 1) / kStrip;
  const std::vector<StripBlock> blocks = blocks_of_triangle(strips);
  LineVector<float> packed(static_cast<size_t>(strips * kStrip * std::min(kTokens, x.rows)));
  for (int64_t first = 0; first < x.rows; first += kTokens) {
    const int64_t count = std::min(kTokens, x.rows - first);
    pack_strips({x.row(first), count, x.cols, x.row_stride}, packed.data(), pool);
    pool.parallel_for(static_cast<int64_t>(blocks.size()), [&](int64_t task, int) {
      const StripBlock& block = blocks[static_cast<size_t>(task)];
      for (int64_t col = block.first; col < block.last; ++col) {
        for (int64_t row = block.first_row; row < std::min(block.last_row, col + 1); ++row) {
          add_strips(row, col, packed.data(), count);
        }
      }
    });
  }
  pool.parallel_for(strips, [&](int64_t strip, int) { mirror_strip(strip); });
}

// The rows of one strip, the columns of another.
void InputStats::add_strips(int64_t row, int64_t col, const float* packed, int64_t num_tokens) {
  alignas(64) double sums[kStrip * kStrip] = {};
  double* const to = hessian_.data() + row * kStrip * cols_ + col * kStrip;
  const int64_t num_rows = std::min(kStrip, cols_ - row * kStrip);
  const int64_t num_cols = std::min(kStrip, cols_ - col * kStrip);
  for (int64_t i = 0; i < num_rows; ++i) std::copy_n(to + i * cols_, num_cols, sums + i * kStrip);
  const int64_t size = num_tokens * kStrip;
  quantizer_kernels().add_products(sums, packed + row * size, packed + col * size, num_tokens);
  for (int64_t i = 0; i < num_rows; ++i) std::copy_n(sums + i * kStrip, num_cols, to + i * cols_);
}

// What is left of the diagonal in the rows of a strip, from what is right of it.
void InputStats::mirror_strip(int64_t strip) {
  const int64_t begin = strip * kStrip;
  const int64_t end = std::min(begin + kStrip, cols_);
  for (int64_t k = 0; k < begin; ++k) {
    for (int64_t i = begin; i < end; ++i) {
      hessian_[static_cast<size_t>(i * cols_ + k)] = hessian_[static_cast<size_t>(k * cols_ + i)];
    }
  }
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
  const int64_t stride = cols_ + kSamplePadding;
  return {sample_.data(), static_cast<int64_t>(sample_.size()) / stride, cols_, stride};
}

}  // namespace ruvllm
