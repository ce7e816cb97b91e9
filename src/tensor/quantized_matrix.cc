#include "tensor/quantized_matrix.h"

#include <bit>
#include <cmath>

#include "base/float_types.h"

namespace ruvllm {
namespace {

bool has_size(size_t size, int64_t rows, int64_t per_row) {
  return size == static_cast<uint64_t>(rows) * static_cast<uint64_t>(per_row);
}

bool is_permutation(const std::vector<int32_t>& order, int64_t count) {
  std::vector<bool> seen(static_cast<size_t>(count), false);
  for (const int32_t i : order) {
    if (i < 0 || i >= count || seen[static_cast<size_t>(i)]) return false;
    seen[static_cast<size_t>(i)] = true;
  }
  return true;
}

bool is_valid(const InputTransform& transform, int64_t cols) {
  const auto count = static_cast<size_t>(cols);
  if (!transform.input_scale.empty() && transform.input_scale.size() != count) return false;
  if (!transform.permutation.empty() &&
      (transform.permutation.size() != count || !is_permutation(transform.permutation, cols))) {
    return false;
  }
  const int32_t block = transform.hadamard_block;
  if (block == 0) return transform.hadamard_signs.empty();
  return block > 0 && std::has_single_bit(static_cast<uint32_t>(block)) && cols % block == 0 &&
         (transform.hadamard_signs.empty() || transform.hadamard_signs.size() == count);
}

}  // namespace

bool is_valid(const QuantizedMatrix& matrix) {
  if (matrix.rows <= 0 || matrix.cols <= 0 || matrix.group_size <= 0) return false;
  if (matrix.bits != 2 && matrix.bits != 3 && matrix.bits != 4 && matrix.bits != 8) return false;
  if (matrix.kind == CodeKind::kF8E4M3 && matrix.bits != 8) return false;
  if (!has_size(matrix.codes.size(), matrix.rows, matrix.cols)) return false;
  if (!has_size(matrix.scales.size(), matrix.rows, matrix.num_groups())) return false;
  if (!matrix.zeros.empty() && matrix.zeros.size() != matrix.scales.size()) return false;
  uint8_t all = 0;
  for (const uint8_t code : matrix.codes) all |= code;
  return (all >> matrix.bits) == 0 && is_valid(matrix.transform, matrix.cols);
}

void dequantize_codes(const QuantizedMatrix& matrix, int64_t row, float* out) {
  const uint8_t* codes = matrix.codes.data() + row * matrix.cols;
  const int64_t groups = matrix.num_groups();
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t end = std::min(matrix.cols, (g + 1) * matrix.group_size);
    const float scale = matrix.scale_at(row, g);
    const int32_t zero = matrix.zero_at(row, g);
    for (int64_t k = g * matrix.group_size; k < end; ++k) {
      out[k] = matrix.kind == CodeKind::kF8E4M3
                   ? f8e4m3_to_f32(codes[k]) * scale
                   : static_cast<float>(static_cast<int32_t>(codes[k]) - zero) * scale;
    }
  }
}

void hadamard_blocks(float* x, int64_t count, int32_t block) {
  const float norm = 1.0f / std::sqrt(static_cast<float>(block));
  for (int64_t begin = 0; begin < count; begin += block) {
    float* v = x + begin;
    for (int32_t half = 1; half < block; half *= 2) {
      for (int32_t i = 0; i < block; i += 2 * half) {
        for (int32_t j = i; j < i + half; ++j) {
          const float a = v[j];
          const float b = v[j + half];
          v[j] = a + b;
          v[j + half] = a - b;
        }
      }
    }
    for (int32_t i = 0; i < block; ++i) v[i] *= norm;
  }
}

void dequantize_row(const QuantizedMatrix& matrix, int64_t row, float* out) {
  dequantize_row(matrix, matrix.transform, row, out);
}

void dequantize_row(const QuantizedMatrix& matrix, const InputTransform& t, int64_t row,
                    float* out) {
  dequantize_codes(matrix, row, out);
  if (t.empty()) return;
  // The transposed transform, last step first. The Hadamard matrix is its own transpose.
  if (t.hadamard_block != 0) {
    hadamard_blocks(out, matrix.cols, t.hadamard_block);
    for (size_t k = 0; k < t.hadamard_signs.size(); ++k) {
      out[k] *= static_cast<float>(t.hadamard_signs[k]);
    }
  }
  if (!t.permutation.empty()) {
    const std::vector<float> stored(out, out + matrix.cols);
    for (size_t j = 0; j < stored.size(); ++j) out[t.permutation[j]] = stored[j];
  }
  for (size_t k = 0; k < t.input_scale.size(); ++k) out[k] *= t.input_scale[k];
}

void apply_transform(const InputTransform& t, const float* x, float* out, int64_t cols) {
  for (int64_t j = 0; j < cols; ++j) {
    const auto from =
        static_cast<size_t>(t.permutation.empty() ? j : t.permutation[static_cast<size_t>(j)]);
    out[j] = t.input_scale.empty() ? x[from] : x[from] * t.input_scale[from];
  }
  if (t.hadamard_block == 0) return;
  for (size_t k = 0; k < t.hadamard_signs.size(); ++k) {
    out[k] *= static_cast<float>(t.hadamard_signs[k]);
  }
  hadamard_blocks(out, cols, t.hadamard_block);
}

}  // namespace ruvllm
