// Splits rows of independent work over the pool. Little work stays on the caller: waking threads
// costs some microseconds.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/thread_pool.h"

namespace ruvllm {

// Elements of simple arithmetic below which one thread is faster than several (about 5 us).
constexpr int64_t kSerialElements = 16384;

// body(begin, end) over disjoint ranges that cover [0, rows); a row has `elements_per_row`.
template <typename Body>
void for_row_ranges(ThreadPool& pool, int64_t rows, int64_t elements_per_row, Body body) {
  if (rows <= 0) return;
  const int64_t per_row = std::max<int64_t>(elements_per_row, 1);
  if (pool.num_threads() == 1 || rows == 1 || rows * per_row <= kSerialElements) {
    body(int64_t{0}, rows);
    return;
  }
  // At least half the serial limit each, and a few for every thread to even out.
  const int64_t least = std::max<int64_t>(kSerialElements / 2 / per_row, 1);
  const int64_t even = (rows + 4 * pool.num_threads() - 1) / (4 * pool.num_threads());
  const int64_t range = std::max(least, even);
  pool.parallel_shares((rows + range - 1) / range, pool.num_threads(), [&](int64_t task, int) {
    body(task * range, std::min(rows, (task + 1) * range));
  });
}

// body(row, first_column, num_columns) over pieces that cover rows x cols.
template <typename Body>
void for_row_pieces(ThreadPool& pool, int64_t rows, int64_t cols, Body body) {
  if (rows <= 0 || cols <= 0) return;
  const int64_t pieces = (cols + kSerialElements - 1) / kSerialElements;
  for_row_ranges(pool, rows * pieces, std::min(cols, kSerialElements),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i) {
                     const int64_t first = i % pieces * kSerialElements;
                     body(i / pieces, first, std::min(kSerialElements, cols - first));
                   }
                 });
}

}  // namespace ruvllm
