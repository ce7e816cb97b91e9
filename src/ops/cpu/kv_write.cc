#include <algorithm>
#include <cstring>

#include "kernels/kernel_lists.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/kv_pages.h"
#include "ops/cpu/parallel_rows.h"

namespace ruvllm {
namespace {

// Elements of a row converted at a time.
constexpr int64_t kPiece = 256;

template <typename Element>
void place(const Element* elements, std::byte* page, const KvRowPlace& where, int64_t begin,
           int64_t n) {
  Element* to = reinterpret_cast<Element*>(page) + where.first + begin * where.stride;
  if (where.stride == 1) {
    std::memcpy(to, elements, static_cast<size_t>(n) * sizeof(Element));
  } else {
    for (int64_t i = 0; i < n; ++i) to[i * where.stride] = elements[i];
  }
}

void store_row(const kernels::ConvertKernels& convert, const KvLayerView& kv, const float* src,
               std::byte* page, const KvRowPlace& where) {
  if (kv.dtype == DType::kF32) return place(src, page, where, 0, kv.head_dim);
  uint16_t piece[kPiece];
  for (int64_t begin = 0; begin < kv.head_dim; begin += kPiece) {
    const int64_t n = std::min(kPiece, kv.head_dim - begin);
    if (kv.dtype == DType::kBF16) {
      convert.f32_to_bf16(src + begin, piece, n);
    } else {
      convert.f32_to_f16(src + begin, piece, n);
    }
    place(piece, page, where, begin, n);
  }
}

void store_int8_row(const KvLayerView& kv, const float* src, std::byte* page, int64_t slot,
                    const KvRowPlace& where) {
  int8_t* codes = reinterpret_cast<int8_t*>(page) + where.first;
  const uint16_t scale = quantize_kv_row(src, kv.head_dim, codes, where.stride);
  std::memcpy(page + kv_scale_offset(kv, slot), &scale, sizeof scale);
}

}  // namespace

void CpuOps::kv_write(const KvWriteArgs& args) {
  const KvLayerView& kv = args.kv;
  check_kv(kv, args.sequences, args.k.rows);
  RUVLLM_CHECK(args.k.cols == int64_t{kv.num_kv_heads} * kv.head_dim &&
                   args.v.cols == args.k.cols && args.v.rows == args.k.rows,
               args.k.cols, " ", args.v.cols);
  const kernels::ConvertKernels& convert = kernels::convert_kernels(isa_);
  const auto write_token = [&](const SequenceSpan& sequence, int64_t t) {
    const int64_t position = sequence.first_position + t;
    const int64_t slot = position % kv.block_tokens;
    const KvRowPlace key_place = kv_key_place(kv, slot);
    const KvRowPlace value_place = kv_value_place(kv, slot);
    for (int64_t h = 0; h < kv.num_kv_heads; ++h) {
      const float* k = args.k.row(sequence.first_row + t) + h * kv.head_dim;
      const float* v = args.v.row(sequence.first_row + t) + h * kv.head_dim;
      std::byte* k_page = kv_head_page(kv, kv.k_offset_bytes, sequence.block_table, position, h);
      std::byte* v_page = kv_head_page(kv, kv.v_offset_bytes, sequence.block_table, position, h);
      if (kv.dtype == DType::kI8) {
        store_int8_row(kv, k, k_page, slot, key_place);
        store_int8_row(kv, v, v_page, slot, value_place);
      } else {
        store_row(convert, kv, k, k_page, key_place);
        store_row(convert, kv, v, v_page, value_place);
      }
    }
  };
  for (const SequenceSpan& sequence : args.sequences) {
    for_row_ranges(pool_, sequence.num_tokens, 2 * args.k.cols, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) write_token(sequence, t);
    });
  }
}

}  // namespace ruvllm
