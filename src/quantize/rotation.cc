#include "quantize/rotation.h"

#include <cmath>

#include "base/rng.h"

namespace ruvllm {
namespace {

constexpr uint64_t kSignStream = 0x5167;

// One row by signs and Hadamard blocks, in f64.
void rotate(double* x, int64_t cols, const InputTransform& rotation) {
  const int64_t block = rotation.hadamard_block;
  for (int64_t k = 0; k < cols; ++k) {
    x[k] *= static_cast<double>(rotation.hadamard_signs[static_cast<size_t>(k)]);
  }
  const double norm = 1.0 / std::sqrt(static_cast<double>(block));
  for (int64_t begin = 0; begin < cols; begin += block) {
    double* v = x + begin;
    for (int64_t half = 1; half < block; half *= 2) {
      for (int64_t i = 0; i < block; i += 2 * half) {
        for (int64_t j = i; j < i + half; ++j) {
          const double a = v[j];
          const double b = v[j + half];
          v[j] = a + b;
          v[j + half] = a - b;
        }
      }
    }
    for (int64_t i = 0; i < block; ++i) v[i] *= norm;
  }
}

}  // namespace

InputTransform make_rotation(int64_t cols, int32_t max_block, uint64_t seed) {
  InputTransform rotation;
  int32_t block = 1;
  while (block * 2 <= max_block && cols % (block * 2) == 0) block *= 2;
  if (block < 2) return rotation;
  rotation.hadamard_block = block;
  for (int64_t k = 0; k < cols; ++k) {
    const bool negative = (random_bits(seed, kSignStream, static_cast<uint64_t>(k)) & 1u) != 0;
    rotation.hadamard_signs.push_back(negative ? int8_t{-1} : int8_t{1});
  }
  return rotation;
}

std::vector<float> rotate_rows(ConstMatrixF32 w, const InputTransform& rotation) {
  std::vector<float> out(static_cast<size_t>(w.rows * w.cols));
  std::vector<double> line(static_cast<size_t>(w.cols));
  for (int64_t n = 0; n < w.rows; ++n) {
    line.assign(w.row(n), w.row(n) + w.cols);
    rotate(line.data(), w.cols, rotation);
    for (int64_t k = 0; k < w.cols; ++k) {
      out[static_cast<size_t>(n * w.cols + k)] = static_cast<float>(line[static_cast<size_t>(k)]);
    }
  }
  return out;
}

void rotate_hessian(std::vector<double>& hessian, int64_t cols, const InputTransform& rotation) {
  const auto n = static_cast<size_t>(cols);
  // Rows, then columns: H is symmetric, so turning between gives the same.
  for (int pass = 0; pass < 2; ++pass) {
    for (size_t i = 0; i < n; ++i) rotate(hessian.data() + i * n, cols, rotation);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = i + 1; j < n; ++j) std::swap(hessian[i * n + j], hessian[j * n + i]);
    }
  }
}

}  // namespace ruvllm
