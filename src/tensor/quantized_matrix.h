// QuantizedMatrix: a weight matrix whose elements are small codes with scales, whoever made it.
// GPTQ, AWQ, compressed-tensors and this project's own quantizers all become this one value; what
// is made of it (kernel panels, plain floats) never asks for the brand.
//
// The matrix means y = Q t(x) with an input transform t, in this order: each input times
// input_scale, then the permutation, then a block Hadamard rotation. Column j of Q stands in group
// j / group_size; the last group of a row may be shorter. Element [n, j] of Q is
//     scale[n, group] * (value(code[n, j]) - zero[n, group])
// where value is the code itself, or for fp8 what the byte means (and zero is 0).
//
// Plain data: copyable, no invariants beyond the sizes said here (is_valid); any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ruvllm/result.h"

namespace ruvllm {

enum class CodeKind : uint8_t { kInteger, kF8E4M3 };

// t(x) of the top comment. Empty: x itself.
struct InputTransform {
  std::vector<float> input_scale;    // [K] in the order of x, or empty: all 1
  std::vector<int32_t> permutation;  // [K] or empty: column j of Q reads input permutation[j]
  // 0: none. Else a power of two that divides K: each run of that many columns is multiplied by
  // `hadamard_signs` and by the Hadamard matrix (natural order) / sqrt(hadamard_block).
  int32_t hadamard_block = 0;
  std::vector<int8_t> hadamard_signs;  // [K] of +1, -1; empty: all +1

  bool empty() const { return input_scale.empty() && permutation.empty() && hadamard_block == 0; }
  bool operator==(const InputTransform&) const = default;
};

struct QuantizedMatrix {
  int64_t rows = 0;  // N, outputs
  int64_t cols = 0;  // K, inputs
  CodeKind kind = CodeKind::kInteger;
  int32_t bits = 8;        // 2, 3, 4 or 8
  int64_t group_size = 0;  // columns under one scale; `cols`: one scale per row
  // Integer activations were chosen for: int8 with one scale per row of x (W8A8). A fast path may
  // use it; the exact one does not round activations.
  bool int8_activations = false;

  std::vector<uint8_t> codes;  // [N, K], one byte each
  std::vector<float> scales;   // [N, groups]
  // [N, groups], or empty: `zero` everywhere. May lie outside the range of the codes.
  std::vector<int16_t> zeros;
  int32_t zero = 0;

  InputTransform transform;

  int64_t num_groups() const { return (cols + group_size - 1) / group_size; }
  float scale_at(int64_t row, int64_t group) const {
    return scales[static_cast<size_t>(row * num_groups() + group)];
  }
  int32_t zero_at(int64_t row, int64_t group) const {
    return zeros.empty() ? zero : zeros[static_cast<size_t>(row * num_groups() + group)];
  }
};

// Whether sizes agree and codes fit their bits (nothing is said of the values of scales).
bool is_valid(const QuantizedMatrix& matrix);

// Row n of Q, without the transform: [K].
void dequantize_codes(const QuantizedMatrix& matrix, int64_t row, float* out);
// Row n of the matrix W with W x = Q t(x), in the order of x: [K]. Without scale and rotation each
// element is one product, rounded once.
void dequantize_row(const QuantizedMatrix& matrix, int64_t row, float* out);
// The same with another transform than the matrix's own.
void dequantize_row(const QuantizedMatrix& matrix, const InputTransform& transform, int64_t row,
                    float* out);

// t(x) for one row [K]; `out` is other memory than x. The oracle of every fast one.
void apply_transform(const InputTransform& transform, const float* x, float* out, int64_t cols);

// In place: each block of `block` (a power of two) by the Hadamard matrix / sqrt(block).
void hadamard_blocks(float* x, int64_t count, int32_t block);

// A quantized matrix in a file or in memory that is read when it is needed.
class QuantizedSource {
 public:
  virtual ~QuantizedSource() = default;
  // Fails with kBadFile when the stored numbers contradict themselves.
  virtual Result<QuantizedMatrix> read() const = 0;

  // A source that can make some rows without the others says what read() would give but for codes,
  // scales and zeros, which are left empty; others nothing, and are read whole.
  virtual std::optional<QuantizedMatrix> form() const { return std::nullopt; }
  // Rows [first, first + count) as the rows of `out`, without the transform. `out`: empty, or as an
  // earlier call of the same source left it, whose memory is used again. Several threads may call,
  // each with an `out` of its own. Only where form() says something; fails as read() does.
  virtual Status read_rows(int64_t /*first*/, int64_t /*count*/, QuantizedMatrix& /*out*/) const {
    return fail(ErrorCode::kInternal, "this source is read whole");
  }

  virtual std::string_view layout() const = 0;  // "gptq4", "awq4": a static string
  virtual uint64_t stored_bytes() const = 0;
};

}  // namespace ruvllm
