// The factor that GPTQ walks along: for a symmetric positive definite H [n, n] the upper triangular
// U with U^T U = H^-1, in f64, without forming the inverse: H = R R^T (a Cholesky factorization
// from the last row up), U = R^-1. Blocked and on all threads of the pool; the result does not
// depend on their number.
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"

namespace ruvllm {

// In place: `h` (row-major, both triangles) becomes U, zeros below the diagonal. False when H is
// not positive definite; `h` is then spoiled.
bool invert_to_upper_factor(std::vector<double>& h, int64_t n, ThreadPool& pool);

}  // namespace ruvllm
