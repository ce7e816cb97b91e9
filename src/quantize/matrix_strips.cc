#include "quantize/matrix_strips.h"

#include <algorithm>

#include "base/check.h"

namespace ruvllm {

MatrixStrips::MatrixStrips(const std::vector<float>& values, int64_t n, ThreadPool& pool)
    : rows_(n), values_(static_cast<size_t>(padded(n) * n)) {
  RUVLLM_CHECK(values.size() == static_cast<size_t>(n * n), values.size(), " for ", n);
  constexpr int64_t kColumns = 4 * kStripWidth;  // of a task
  pool.parallel_for((n + kColumns - 1) / kColumns, [&](int64_t task, int) {
    const int64_t end = std::min(n, (task + 1) * kColumns);
    for (int64_t row = 0; row < n; ++row) {
      for (int64_t k = task * kColumns; k < end; k += kStripWidth) {
        std::copy_n(values.data() + row * n + k, std::min(kStripWidth, end - k),
                    values_.data() + k * n + row * kStripWidth);
      }
    }
  });
}

}  // namespace ruvllm
