// The truth about every element format: plain scalar code, one element after the other. Fast
// kernels and repackers are tested against these functions; they are also the generic path for
// formats without a kernel. Formulas: the GGUF block formats as ggml defines them.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace ruvllm {

// Whether dequantize_row knows the format.
bool can_dequantize(DType dtype);

// n elements (a multiple of the block) at `src` to f32, exactly: out[i] is the value the format
// defines, each product of a scale and a code rounded once as the reference does. `src` needs no
// alignment and must hold row_bytes(dtype, n).
void dequantize_row(DType dtype, const void* src, float* out, int64_t n);

// Whether quantize_row knows the format (f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, ...).
bool can_quantize(DType dtype);

// n f32 elements (a multiple of the block) to `dst`, bit for bit as ggml's reference quantizer.
void quantize_row(DType dtype, const float* src, void* dst, int64_t n);

}  // namespace ruvllm
