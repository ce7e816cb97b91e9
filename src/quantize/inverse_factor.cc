#include "quantize/inverse_factor.h"

#include <algorithm>
#include <cmath>

#include "base/line_vector.h"
#include "quantize/vector_math.h"

namespace ruvllm {
namespace {

constexpr int64_t kBlock = 32;  // columns whose effect on those before is applied together
constexpr int64_t kColumns = kernels::kF64Columns;

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
  const int64_t known = n - end;
  if (known == 0) return;
  // The block's rows turned, kColumns at a time, so that the innermost loop runs along memory.
  LineVector<double> turned(static_cast<size_t>(known * kBlock));
  for (int64_t j = begin; j < end; ++j) {
    const int64_t part = (j - begin) / kColumns;
    double* const to = turned.data() + part * known * kColumns + (j - begin) % kColumns;
    const double* const from = h.data() + j * n + end;
    for (int64_t k = 0; k < known; ++k) to[k * kColumns] = from[k];
  }
  constexpr int64_t kRows = kernels::kF64Rows;
  constexpr int64_t kTask = 4 * kRows;
  pool.parallel_for((end + kTask - 1) / kTask, [&](int64_t task, int) {
    const int64_t last = std::min(end, (task + 1) * kTask);
    for (int64_t from = begin; from < end; from += kColumns) {
      const double* const columns = turned.data() + (from - begin) * known;
      const int64_t width = std::min(kColumns, end - from);
      for (int64_t i = task * kTask; i < last;) {
        const int64_t rows = i + kRows <= last ? kRows : 1;
        double sums[kRows * kColumns];
        quantizer_kernels().f64_products(sums, h.data() + i * n + end, n, rows, columns, known);
        for (int64_t r = 0; r < rows; ++r, ++i) {
          double* const row = h.data() + i * n + from;
          for (int64_t j = 0; j < width; ++j) row[j] -= sums[r * kColumns + j];
        }
      }
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

// U = R^-1, some columns a task, from their last row up: what is below them is 0. Rows wait for one
// another, so some of them meet all that is known below them together and their own few then. `r`
// keeps R.
void invert_upper(const std::vector<double>& r, std::vector<double>& u, int64_t n,
                  ThreadPool& pool) {
  constexpr int64_t kRows = kernels::kF64Rows;
  pool.parallel_for((n + kColumns - 1) / kColumns, [&](int64_t task, int) {
    const int64_t begin = task * kColumns;
    const int64_t end = std::min(n, begin + kColumns);
    LineVector<double> known(static_cast<size_t>(end * kColumns));  // rows one behind the other
    double sums[kRows * kColumns];
    for (int64_t last = end; last > 0;) {
      const int64_t rows = last >= kRows ? kRows : 1;
      const int64_t first = last - rows;
      quantizer_kernels().f64_products(sums, r.data() + first * n + last, n, rows,
                                       known.data() + last * kColumns, end - last);
      for (int64_t i = last - 1; i >= first; --i) {
        const double* const row = r.data() + i * n;
        double* const sum = sums + (i - first) * kColumns;
        double* const to = known.data() + i * kColumns;
        for (int64_t t = i + 1; t < last; ++t) {
          for (int64_t j = 0; j < kColumns; ++j) sum[j] += known[t * kColumns + j] * row[t];
        }
        for (int64_t j = 0; j < end - begin; ++j) {
          to[j] = ((begin + j == i ? 1.0 : 0.0) - sum[j]) / row[i];
        }
        std::copy_n(to, end - begin, u.data() + i * n + begin);
      }
      last = first;
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
