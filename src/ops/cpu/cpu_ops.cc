#include "ops/cpu/cpu_ops.h"

#include "ops/cpu/matmul_state.h"

namespace ruvllm {

CpuOps::CpuOps(int num_threads, kernels::IsaLevel isa, const kernels::Bf16DotKernel* bf16)
    : isa_(isa),
      pool_(num_threads),
      matmul_(std::make_unique<MatmulState>(isa, num_threads, bf16)) {}

CpuOps::~CpuOps() = default;

void CpuOps::reserve(const StepLimits& limits) {
  reserve_matmul(limits);
  reserve_attention(limits);
}

Result<std::unique_ptr<Ops>> make_cpu_ops(int num_threads) {
  if (num_threads < 0) {
    return fail(ErrorCode::kInvalidArgument, concat("threads = ", num_threads));
  }
  RUVLLM_ASSIGN(const kernels::IsaLevel isa, kernels::pick_isa());
  if (num_threads == 0) num_threads = default_num_threads();
  return std::make_unique<CpuOps>(num_threads, isa);
}

}  // namespace ruvllm
