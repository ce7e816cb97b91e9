#include "base/check.h"
#include "kernels/kernel_lists.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/parallel_rows.h"

namespace ruvllm {

void CpuOps::rope(const RopeArgs& args) {
  RUVLLM_CHECK(args.x.cols == int64_t{args.num_heads} * args.head_dim, args.x.cols, " columns, ",
               args.num_heads, " heads of ", args.head_dim);
  RUVLLM_CHECK(args.rotary_dim <= args.head_dim && args.rotary_dim % 2 == 0, args.rotary_dim);
  for (const ConstMatrixF32* angles : {&args.cos, &args.sin}) {
    RUVLLM_CHECK(angles->rows >= args.x.rows && angles->cols == args.rotary_dim / 2, angles->rows,
                 "x", angles->cols);
  }
  const kernels::RopeKernels& table = kernels::rope_kernels(isa_);
  const auto kernel = args.layout == RopeLayout::kHalves ? table.halves : table.interleaved;
  for_row_ranges(pool_, args.x.rows, args.x.cols, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      kernel({.x = args.x.row(t),
              .cos = args.cos.row(t),
              .sin = args.sin.row(t),
              .num_heads = args.num_heads,
              .head_dim = args.head_dim,
              .rotary_dim = args.rotary_dim});
    }
  });
}

}  // namespace ruvllm
