#include "base/check.h"
#include "kernels/kernel_lists.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/parallel_rows.h"

namespace ruvllm {
namespace {

void normalize(ThreadPool& pool, const NormArgs& args, void (*kernel)(const kernels::NormRow&)) {
  RUVLLM_CHECK(args.groups > 0 && args.x.cols % args.groups == 0, args.x.cols, " columns, ",
               args.groups, " groups");
  RUVLLM_CHECK(args.y.rows == args.x.rows && args.y.cols == args.x.cols, args.y.rows, "x",
               args.y.cols, " from ", args.x.rows, "x", args.x.cols);
  const int64_t n = args.x.cols / args.groups;
  for_row_ranges(pool, args.x.rows, args.x.cols, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t g = 0; g < args.groups; ++g) {
        kernel({.x = args.x.row(t) + g * n,
                .weight = args.weight,
                .bias = args.bias,
                .y = args.y.row(t) + g * n,
                .n = n,
                .eps = args.eps,
                .plus_one = args.plus_one});
      }
    }
  });
}

}  // namespace

void CpuOps::rms_norm(const NormArgs& args) {
  normalize(pool_, args, kernels::norm_kernels(isa_).rms_norm);
}

void CpuOps::layer_norm(const NormArgs& args) {
  normalize(pool_, args, kernels::norm_kernels(isa_).layer_norm);
}

}  // namespace ruvllm
