// What CpuOps::matmul keeps between calls: the kernels picked and its scratch. Private to ops/cpu.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <vector>

#include "kernels/matmul/matmul_kernels.h"
#include "kernels/matmul/quant_pack.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/huge_arena.h"
#include "ops/cpu/matmul_tasks.h"
#include "ops/cpu/scratch_buffer.h"

namespace ruvllm {

struct CpuOps::MatmulState {
  // bf16: the kernel of bf16 weights in fast mode; null: that of `isa`, if it has one.
  MatmulState(kernels::IsaLevel isa, int num_threads, const kernels::Bf16DotKernel* bf16)
      : float_dot(kernels::float_dot_kernel(isa)),
        quant_panel(kernels::quant_panel_kernel(isa)),
        quantize(kernels::quantize_kernel(isa)),
        bf16_dot(bf16 != nullptr ? bf16 : kernels::bf16_dot_kernel(isa)),
        workers(static_cast<size_t>(num_threads)) {}

  // Rows of x that are packed and multiplied at a time: their packed form stays in the last-level
  // cache while the weights pass by. Tiles multiply faster than weights are made ready for them.
  int64_t most_rows() const { return quant_panel.quantize_tile != nullptr ? 512 : 256; }

  // Room for the inputs of a weight with so many transforms.
  void reserve_inputs(size_t transforms) {
    while (quantized_x.size() < transforms + 1) quantized_x.emplace_back();
  }

  struct Worker {
    ScratchBuffer transformed;  // a tile of rows of x
    ScratchBuffer panel;        // widened rows of w
    ScratchBuffer decoded;      // dequantized rows of w
    ScratchBuffer sums;         // products before the epilogue, [rows of w][rows of x]
    ScratchBuffer rows;         // rows of products of bf16_dot.h before the epilogue
  };

  const kernels::FloatDotKernel& float_dot;
  const kernels::QuantPanelKernel& quant_panel;
  const kernels::QuantizeKernel& quantize;
  const int64_t stream_ahead_bytes = kernels::stream_ahead_bytes();
  const kernels::Bf16DotKernel* bf16_dot;  // null: bf16 weights are float rows like others
  // Rows of x as the kernels want them.
  ScratchBuffer packed_x;
  ScratchBuffer bf16_x;
  const uint32_t* made_bf16_x = nullptr;  // in the product under way
  // One for plain x (the first), one for each transform of a weight; with a scale per block of
  // columns, and with one a row (WeightPart::one_x_scale).
  struct QuantizedX {
    ScratchBuffer words[2];
    const uint32_t* made[2] = {};  // in the product under way
  };
  std::array<bool, 2> wants_x = {};  // those that weights want
  std::deque<QuantizedX> quantized_x = std::deque<QuantizedX>(1);
  std::vector<Worker> workers;
  // Of products with one row:
  std::vector<MatmulTask> stream_tasks;
  WeightOrder order;
  HugeArena weight_memory;
};

}  // namespace ruvllm
