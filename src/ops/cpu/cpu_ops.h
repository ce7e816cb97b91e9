// CpuOps: the Ops of a CPU with threads and vector kernels. One object, its methods spread over the
// files of this folder: matmul.cc, matmul_gated.cc, moe.cc, lora.cc, weight.cc, norm.cc, rope.cc,
// embed.cc, kv_write.cc, attention.cc, elementwise.cc. Each checks shapes, splits the rows or
// columns into tasks that write disjoint memory and lets kernels/ do the arithmetic; how the work
// is split never changes a bit of the result. Kernels are picked once, for `isa()`.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "base/thread_pool.h"
#include "kernels/cpu_isa.h"
#include "kernels/matmul/bf16_dot.h"
#include "kernels/quantize/quantize_rows.h"
#include "ops/cpu/scratch_buffer.h"
#include "ops/ops.h"

namespace ruvllm {

class CpuWeight;
struct MatmulTask;
struct RowBlocks;
struct Sums;
struct WeightPart;

class CpuOps final : public Ops {
 public:
  // `isa` must be supported here (pick_isa says so). `bf16`: the kernel of bf16 weights in fast
  // mode instead of that of `isa` (null): tests give a model of one that the machine has not.
  CpuOps(int num_threads, kernels::IsaLevel isa, const kernels::Bf16DotKernel* bf16 = nullptr);
  ~CpuOps() override;

  std::string_view name() const override { return "cpu"; }
  std::string_view kernels() const override { return kernels::isa_name(isa_); }
  void reserve(const StepLimits& limits) override;

  Result<std::unique_ptr<Weight>> make_weight(std::span<const WeightSource> sources,
                                              const WeightOptions& options) override;

  void embed(const Weight& table, std::span<const int32_t> ids, float scale,
             MatrixF32 out) override;
  void rms_norm(const NormArgs& args) override;
  void layer_norm(const NormArgs& args) override;
  void matmul(const MatmulArgs& args) override;
  void gated_matmul(const MatmulArgs& args, Activation activation, MatrixF32 y) override;
  void lora_delta(const LoraArgs& args) override;
  void rope(const RopeArgs& args) override;
  void kv_write(const KvWriteArgs& args) override;
  void attention(const AttentionArgs& args) override;
  void activate_and_multiply(ConstMatrixF32 gate_up, Activation activation, MatrixF32 y) override;
  void activate(MatrixF32 x, Activation activation) override;
  void add(MatrixF32 x, ConstMatrixF32 y, float scale) override;
  void moe(const MoeArgs& args) override;
  void finish_logits(MatrixF32 logits, float scale, float softcap) override;

  kernels::IsaLevel isa() const { return isa_; }

  struct MatmulState;  // matmul_state.h: the kernels in use and scratch

 private:
  // matmul.cc
  void matmul_rows(const MatmulArgs& args, int64_t first, int64_t count);
  const float* prepare_x(const CpuWeight& weight, ConstMatrixF32 x, int64_t first, int64_t count);
  const float* pack_x(ConstMatrixF32 x, int64_t first, int64_t count);
  const uint32_t* pack_bf16_x(ConstMatrixF32 x, int64_t first, int64_t count);
  const uint32_t* quantize_x(const CpuWeight& weight, const WeightPart& part, ConstMatrixF32 x,
                             int64_t first, int64_t count);
  RowBlocks row_blocks(const CpuWeight& weight, int64_t count) const;
  void multiply_panels(const CpuWeight& weight, const MatmulTask& task, int64_t first,
                       int64_t count, const uint8_t* next_panels, const Sums& sums);
  void reserve_matmul(const StepLimits& limits);
  // matmul_gated.cc
  void gated_rows(const MatmulArgs& args, Activation activation, MatrixF32 y, int64_t first,
                  int64_t count);

  // attention.cc: scratch of reserve()'s limits.
  void reserve_attention(const StepLimits& limits);

  kernels::IsaLevel isa_;
  ThreadPool pool_;
  std::unique_ptr<MatmulState> matmul_;
  ScratchBuffer attention_scratch_;
  ScratchBuffer attention_plan_;
  ScratchBuffer moe_scratch_;

  // lora.cc
  struct LoraWork;
  ScratchBuffer lora_entries_;
  ScratchBuffer lora_entry_of_;
  ScratchBuffer lora_tasks_;
  ScratchBuffer lora_low_;
  ScratchBuffer lora_x_;
};

// The row `row` of a weight that CpuOps::make_weight made, dequantized exactly: `out` has cols()
// elements. For embed(). Defined in weight.cc.
void dequantize_weight_row(const Weight& weight, int64_t row, float* out);

}  // namespace ruvllm
