#include "base/check.h"
#include "kernels/kernel_lists.h"
#include "ops/cpu/activation.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/parallel_rows.h"

namespace ruvllm {

void CpuOps::activate_and_multiply(ConstMatrixF32 gate_up, Activation activation, MatrixF32 y) {
  RUVLLM_CHECK(gate_up.cols == 2 * y.cols && gate_up.rows == y.rows, gate_up.rows, "x",
               gate_up.cols, " to ", y.rows, "x", y.cols);
  const auto kernel = kernels::elementwise_kernels(isa_).apply_multiply;
  const kernels::UnaryFunction function = unary_function(activation);
  for_row_pieces(pool_, y.rows, y.cols, [&](int64_t t, int64_t first, int64_t n) {
    const float* gate = gate_up.row(t) + first;
    kernel(function, gate, gate + y.cols, y.row(t) + first, n);
  });
}

void CpuOps::activate(MatrixF32 x, Activation activation) {
  const auto kernel = kernels::elementwise_kernels(isa_).apply;
  const kernels::UnaryFunction function = unary_function(activation);
  for_row_pieces(pool_, x.rows, x.cols, [&](int64_t t, int64_t first, int64_t n) {
    kernel(function, x.row(t) + first, x.row(t) + first, n);
  });
}

void CpuOps::add(MatrixF32 x, ConstMatrixF32 y, float scale) {
  RUVLLM_CHECK(x.rows == y.rows && x.cols == y.cols, x.rows, "x", x.cols, " and ", y.rows, "x",
               y.cols);
  const auto kernel = kernels::elementwise_kernels(isa_).add_scaled;
  for_row_pieces(pool_, x.rows, x.cols, [&](int64_t t, int64_t first, int64_t n) {
    kernel(x.row(t) + first, y.row(t) + first, scale, n);
  });
}

void CpuOps::finish_logits(MatrixF32 logits, float scale, float softcap) {
  if (scale == 1.0f && softcap == 0.0f) return;
  const kernels::ElementwiseKernels& table = kernels::elementwise_kernels(isa_);
  for_row_pieces(pool_, logits.rows, logits.cols, [&](int64_t t, int64_t first, int64_t n) {
    float* x = logits.row(t) + first;
    if (softcap != 0.0f) {
      table.softcap(x, scale, softcap, n);
    } else {
      table.multiply(x, scale, x, n);
    }
  });
}

}  // namespace ruvllm
