// Tests only: quantized matrices of random codes.
#pragma once

#include <cstdint>

#include "base/rng.h"
#include "tensor/quantized_matrix.h"

namespace ruvllm::test {

// Codes alone: scales and zero points are the caller's.
inline QuantizedMatrix random_codes(int32_t bits, int64_t rows, int64_t cols, int64_t group_size,
                                    uint64_t seed) {
  QuantizedMatrix matrix;
  matrix.rows = rows;
  matrix.cols = cols;
  matrix.bits = bits;
  matrix.group_size = group_size;
  for (int64_t i = 0; i < rows * cols; ++i) {
    const uint64_t word = random_bits(seed, 1, static_cast<uint64_t>(i));
    matrix.codes.push_back(static_cast<uint8_t>(word & ((1U << bits) - 1)));
  }
  return matrix;
}

// The same with scales that f16 holds, and with `zeros` zero points of the codes' range (else the
// middle of it for all).
inline QuantizedMatrix random_matrix(int32_t bits, int64_t rows, int64_t cols, int64_t group_size,
                                     bool zeros) {
  QuantizedMatrix matrix = random_codes(bits, rows, cols, group_size, 1);
  for (int64_t i = 0; i < rows * matrix.num_groups(); ++i) {
    matrix.scales.push_back(0.25f + static_cast<float>(i));
    if (!zeros) continue;
    const uint64_t word = random_bits(1, 2, static_cast<uint64_t>(i));
    matrix.zeros.push_back(static_cast<int16_t>(word & ((1U << bits) - 1)));
  }
  matrix.zero = zeros ? 0 : 1 << (bits - 1);
  return matrix;
}

}  // namespace ruvllm::test
