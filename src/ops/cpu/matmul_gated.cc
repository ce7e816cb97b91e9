// y = act(x G^T + ...) * (x U^T + ...): a task has rows of G and the same of U, so that their
// products never leave the cache of the thread that computes them. The same bits as both steps.
#include "base/check.h"
#include "kernels/kernel_lists.h"
#include "ops/cpu/activation.h"
#include "ops/cpu/cpu_weight.h"
#include "ops/cpu/matmul_epilogue.h"
#include "ops/cpu/matmul_state.h"
#include "ops/cpu/matmul_tasks.h"

namespace ruvllm {
namespace {

// Rows of y that are asked for ahead of those that are written.
constexpr int64_t kRowsAhead = 8;
constexpr int64_t kLine = 64 / sizeof(float);

// Whether the halves of the product are panels that go side by side.
bool are_twins(std::span<const WeightPart> parts) {
  return parts.size() == 2 && parts[0].form == PartForm::kQuantPanels &&
         parts[1].form == PartForm::kQuantPanels && parts[0].num_rows == parts[1].num_rows &&
         parts[0].panel_rows == parts[1].panel_rows;
}

}  // namespace

void CpuOps::gated_matmul(const MatmulArgs& args, Activation activation, MatrixF32 y) {
  RUVLLM_CHECK(args.weight != nullptr && args.residual.empty() && args.branch_scale == 1.0f);
  RUVLLM_CHECK(args.weight->rows() == 2 * y.cols && args.x.rows == y.rows);
  const CpuWeight& weight = as_cpu_weight(*args.weight);
  const int64_t most = matmul_->most_rows();
  // Where weights pass once, they are what counts, and halves of a task would be short streams. AMX
  // wants the panels of whole tasks (not measured otherwise).
  const kernels::QuantPanelKernel& kernel = matmul_->quant_panel;
  if (!are_twins(weight.parts()) || args.x.rows <= kernel.tile_rows ||
      kernel.quantize_tile != nullptr) {
    return Ops::gated_matmul(args, activation, y);
  }
  for (int64_t first = 0; first < args.x.rows; first += most) {
    gated_rows(args, activation, y, first, std::min(most, args.x.rows - first));
  }
}

void CpuOps::gated_rows(const MatmulArgs& args, Activation activation, MatrixF32 y, int64_t first,
                        int64_t count) {
  const CpuWeight& weight = as_cpu_weight(*args.weight);
  prepare_x(weight, args.x, first, count);
  const WeightPart& gate = weight.parts()[0];
  const WeightPart& up = weight.parts()[1];
  const RowBlocks blocks = row_blocks(weight, count);
  const TileTasks tasks({&gate, 1}, matmul_->float_dot.tile_w, matmul_->quant_panel.task_panels / 2,
                        pool_.num_threads() / static_cast<int>(blocks.count));
  const kernels::ElementwiseKernels& kernels = kernels::elementwise_kernels(isa_);
  const kernels::UnaryFunction function = unary_function(activation);
  const int64_t num_tasks = tasks.num_tasks();
  const auto multiply = [&](int64_t index, int worker) {
    const int64_t begin = index / num_tasks * blocks.rows;
    const int64_t rows = std::min(blocks.rows, count - begin);
    const int64_t task = index % num_tasks;
    const auto [part, first_w, num_w] = tasks.task(task);
    const Epilogue epilogue{args, first + begin, kernels};
    const int64_t stride = round_up(num_w, part->panel_rows);
    float* const data =
        matmul_->workers[static_cast<size_t>(worker)].sums.get<float>(2 * rows * stride);
    const Sums of_gate{data, stride, 1};
    const Sums of_up{data + rows * stride, stride, 1};
    multiply_panels(weight, {&gate, first_w, num_w}, begin, rows, up.panel(first_w / up.panel_rows),
                    of_gate);
    multiply_panels(weight, {&up, first_w, num_w}, begin, rows, tasks.next_panels(task), of_up);
    for (int64_t t = 0; t < rows; ++t) {
      if (t + kRowsAhead < rows) {
        const float* const ahead = y.row(epilogue.first_x + t + kRowsAhead) + first_w;
        for (int64_t n = 0; n < num_w; n += kLine) __builtin_prefetch(ahead + n, 1, 3);
      }
      float* const gates = of_gate.data + t * stride;
      float* const ups = of_up.data + t * stride;
      if (!epilogue.adds_nothing()) {
        epilogue.finish_at(gates, epilogue.first_x + t, first_w, num_w);
        epilogue.finish_at(ups, epilogue.first_x + t, gate.num_rows + first_w, num_w);
      }
      kernels.apply_multiply(function, gates, ups, y.row(epilogue.first_x + t) + first_w, num_w);
    }
  };
  pool_.parallel_shares(blocks.count * num_tasks, static_cast<int>(blocks.count), multiply);
}

}  // namespace ruvllm
