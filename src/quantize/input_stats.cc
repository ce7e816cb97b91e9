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
  for (int64_t t = 0; t < x.rows; ++t) {
    const float* row = x.row(t);
    for (size_t k = 0; k < max_abs_.size(); ++k) {
      const float magnitude = std::abs(row[k]);
      max_abs_[k] = std::max(max_abs_[k], magnitude);
      sum_abs_[k] += double{magnitude};
      sum_square_[k] += double{row[k]} * double{row[k]};
    }
    if (num_tokens_++ % sample_stride_ == 0) add_sample(row);
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

// The upper triangle, some rows of it a task, mirrored; f32 sums over a few tokens, those in f64.
void InputStats::add_products(ConstMatrixF32 x, ThreadPool& pool) {
  constexpr int64_t kTokens = kernels::kMostProductTerms;
  constexpr int64_t kRows = kernels::kMostProductRows;
  const int64_t tasks = (cols_ + kRows - 1) / kRows;
  pool.parallel_for(tasks, [&](int64_t task, int) {
    const int64_t begin = task * kRows;
    for (int64_t first = 0; first < x.rows; first += kTokens) {
      const float* from = x.row(first) + begin;
      quantizer_kernels().add_products(hessian_.data() + begin * cols_ + begin, cols_,
                                       std::min(kRows, cols_ - begin), cols_ - begin, from, from,
                                       x.row_stride, std::min(kTokens, x.rows - first));
    }
  });
  pool.parallel_for(tasks, [&](int64_t task, int) {
    for (int64_t i = task * kRows; i < std::min(cols_, (task + 1) * kRows); ++i) {
      for (int64_t j = 0; j < i; ++j) {
        hessian_[static_cast<size_t>(i * cols_ + j)] = hessian_[static_cast<size_t>(j * cols_ + i)];
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
