#include "base/check.h"
#include "kernels/kernel_lists.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/parallel_rows.h"

namespace ruvllm {

void CpuOps::embed(const Weight& table, std::span<const int32_t> ids, float scale, MatrixF32 out) {
  RUVLLM_CHECK(out.rows == static_cast<int64_t>(ids.size()) && out.cols == table.cols(), out.rows,
               "x", out.cols, " for ", ids.size(), " ids of ", table.cols());
  const auto multiply = kernels::elementwise_kernels(isa_).multiply;
  for_row_ranges(pool_, out.rows, out.cols, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int32_t id = ids[static_cast<size_t>(t)];
      RUVLLM_CHECK(id >= 0 && id < table.rows(), "token ", id, " of ", table.rows());
      dequantize_weight_row(table, id, out.row(t));
      if (scale != 1.0f) multiply(out.row(t), scale, out.row(t), out.cols);
    }
  });
}

}  // namespace ruvllm
