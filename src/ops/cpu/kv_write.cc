#include <cstring>

#include "kernels/kernel_lists.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/kv_pages.h"
#include "ops/cpu/parallel_rows.h"

namespace ruvllm {
namespace {

void store_row(const kernels::ConvertKernels& convert, DType dtype, const float* src,
               std::byte* dst, int64_t n) {
  if (dtype == DType::kF32) {
    std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(float));
  } else if (dtype == DType::kBF16) {
    convert.f32_to_bf16(src, reinterpret_cast<uint16_t*>(dst), n);
  } else {
    convert.f32_to_f16(src, reinterpret_cast<uint16_t*>(dst), n);
  }
}

}  // namespace

void CpuOps::kv_write(const KvWriteArgs& args) {
  const KvLayerView& kv = args.kv;
  check_kv(kv, args.sequences, args.k.rows);
  RUVLLM_CHECK(args.k.cols == int64_t{kv.num_kv_heads} * kv.head_dim &&
                   args.v.cols == args.k.cols && args.v.rows == args.k.rows,
               args.k.cols, " ", args.v.cols);
  const kernels::ConvertKernels& convert = kernels::convert_kernels(isa_);
  const int64_t row_bytes = kv.head_dim * kv_element_bytes(kv.dtype);
  for (const SequenceSpan& sequence : args.sequences) {
    for_row_ranges(pool_, sequence.num_tokens, 2 * args.k.cols, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const int64_t position = sequence.first_position + t;
        const int64_t offset = position % kv.block_tokens * row_bytes;
        const float* k = args.k.row(sequence.first_row + t);
        const float* v = args.v.row(sequence.first_row + t);
        for (int64_t h = 0; h < kv.num_kv_heads; ++h) {
          store_row(convert, kv.dtype, k + h * kv.head_dim,
                    kv_head_page(kv, kv.k_offset_bytes, sequence, position, h) + offset,
                    kv.head_dim);
          store_row(convert, kv.dtype, v + h * kv.head_dim,
                    kv_head_page(kv, kv.v_offset_bytes, sequence, position, h) + offset,
                    kv.head_dim);
        }
      }
    });
  }
}

}  // namespace ruvllm
