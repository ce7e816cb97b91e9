#include "quantize/inverse_factor.h"

#include <algorithm>
#include <cmath>

namespace ruvllm {
namespace {

constexpr int64_t kBlock = 32;  // columns that are worked on together: they fit registers

// R of the block on the diagonal, columns [begin, end), from the last one back.
bool factor_diagonal(std::vector<double>& h, int64_t n, int64_t begin, int64_t end) {
  const auto at = [&](int64_t i, int64_t j) -> double& {
    return h[static_cast<size_t>(i * n + j)];
  };
  for (int64_t j = end - 1; j >= begin; --j) {
    double d = at(j, j);
    for (int64_t k = j + 1; k < end; ++k) d -= at(j, k) * at(j, k);
    if (!(d > 0.0) || !std::isfinite(d)) return false;
    const double root = std::sqrt(d);
    at(j, j) = root;
    for (int64_t i = begin; i < j; ++i) {
      double sum = at(i, j);
      for (int64_t k = j + 1; k < end; ++k) sum -= at(i, k) * at(j, k);
      at(i, j) = sum / root;
    }
  }
  return true;
}

// h[0:end, begin:end] -= R[0:end, end:n] R[begin:end, end:n]^T
void subtract_known_columns(std::vector<double>& h, int64_t n, int64_t begin, int64_t end,
                            ThreadPool& pool) {
  const int64_t width = end - begin;
  // The block's rows turned, so that the innermost loop runs along memory.
  std::vector<double> turned(static_cast<size_t>((n - end) * kBlock));
  for (int64_t k = end; k < n; ++k) {
    for (int64_t j = 0; j < width; ++j) {
      turned[static_cast<size_t>((k - end) * kBlock + j)] =
          h[static_cast<size_t>((begin + j) * n + k)];
    }
  }
  constexpr int64_t kRows = 16;
  pool.parallel_for((end + kRows - 1) / kRows, [&](int64_t task, int) {
    for (int64_t i = task * kRows; i < std::min(end, (task + 1) * kRows); ++i) {
      double sum[kBlock] = {};
      const double* row = h.data() + i * n;
      for (int64_t k = end; k < n; ++k) {
        const double* t = turned.data() + (k - end) * kBlock;
        for (int64_t j = 0; j < kBlock; ++j) sum[j] += row[k] * t[j];
      }
      for (int64_t j = 0; j < width; ++j) h[static_cast<size_t>(i * n + begin + j)] -= sum[j];
    }
  });
}

// Rows above the block: R[i, begin:end] from what was left of h.
void solve_above(std::vector<double>& h, int64_t n, int64_t begin, int64_t end, ThreadPool& pool) {
  pool.parallel_for(begin, [&](int64_t i, int) {
    double* row = h.data() + i * n;
    for (int64_t j = end - 1; j >= begin; --j) {
      double sum = row[j];
      const double* pivot = h.data() + j * n;
      for (int64_t k = j + 1; k < end; ++k) sum -= row[k] * pivot[k];
      row[j] = sum / pivot[j];
    }
  });
}

// U = R^-1, column block by column block; `r` keeps R.
void invert_upper(const std::vector<double>& r, std::vector<double>& u, int64_t n,
                  ThreadPool& pool) {
  pool.parallel_for((n + kBlock - 1) / kBlock, [&](int64_t task, int) {
    const int64_t begin = task * kBlock;
    const int64_t end = std::min(n, begin + kBlock);
    for (int64_t i = end - 1; i >= 0; --i) {
      double sum[kBlock] = {};
      const double* row = r.data() + i * n;
      for (int64_t k = i + 1; k < end; ++k) {
        const double* known = u.data() + k * n + begin;
        for (int64_t j = 0; j < end - begin; ++j) sum[j] += row[k] * known[j];
      }
      double* out = u.data() + i * n + begin;
      for (int64_t j = 0; j < end - begin; ++j) {
        out[j] = ((begin + j == i ? 1.0 : 0.0) - sum[j]) / row[i];
      }
    }
  });
}

}  // namespace

bool invert_to_upper_factor(std::vector<double>& h, int64_t n, ThreadPool& pool) {
  for (int64_t begin = (n - 1) / kBlock * kBlock; begin >= 0; begin -= kBlock) {
    const int64_t end = std::min(n, begin + kBlock);
    subtract_known_columns(h, n, begin, end, pool);
    if (!factor_diagonal(h, n, begin, end)) return false;
    solve_above(h, n, begin, end, pool);
  }
  std::vector<double> u(h.size(), 0.0);
  invert_upper(h, u, n, pool);
  h = std::move(u);
  return true;
}

}  // namespace ruvllm
