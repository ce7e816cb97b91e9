// GPTQ's walk through columns, rows in the lanes of vectors F.
#pragma once

#include "kernels/quantizer/quantizer.h"
#include "kernels/quantizer/quantizer_columns_impl.h"
#include "kernels/quantizer/quantizer_impl.h"
#include "kernels/quantizer/quantizer_lanes.h"

namespace ruvllm::kernels {
namespace {

template <class F>
constexpr int kRowVectors = kLaneRows / kWidth<F>;

inline void store_codes(const Lanes& v, uint8_t* to) {
  store_bytes(__builtin_convertvector(v, IntLanes), to);
}
#ifdef __AVX512F__
inline void store_codes(const Lanes16& v, uint8_t* to) {
  store_bytes(__builtin_convertvector(v, IntLanes16), to);
}
#endif

// Column j of some rows.
template <class F>
inline void round_column(const ColumnWalk& walk, int64_t j, int64_t part, F& error) {
  const int64_t at = j * kLaneRows + part * kWidth<F>;
  const F value = vec<F>(walk.w + at), scale = vec<F>(walk.scales + at);
  const F zero = vec<F>(walk.zeros + at);
  const F low = -zero, high = static_cast<float>(walk.max_code) - zero;
  F x = value / scale;
  round_between(x, low, high);
  store_codes(x + zero, walk.codes + at);
  error = (value - x * scale) / walk.factor[j * walk.stride + j];
  vec<F>(walk.errors + at) = error;
}

// Columns [first, first + kColumns), and then what they change in those after them: each of these
// is read and written once for all.
template <class F, int kColumns>
inline void walk_some(const ColumnWalk& walk, int64_t first) {
  constexpr int kVectors = kRowVectors<F>;
  const float* factor[kColumns];
  F error[kColumns][kVectors];
#pragma GCC unroll 4
  for (int j = 0; j < kColumns; ++j) {
    factor[j] = walk.factor + (first + j) * walk.stride;
#pragma GCC unroll 2
    for (int part = 0; part < kVectors; ++part) {
      round_column<F>(walk, first + j, part, error[j][part]);
      for (int64_t k = first + j + 1; k < first + kColumns; ++k) {
        vec<F>(walk.w + k * kLaneRows + part * kWidth<F>) -= error[j][part] * factor[j][k];
      }
    }
  }
  for (int64_t k = first + kColumns; k < walk.num_columns; ++k) {
    float* const w = walk.w + k * kLaneRows;
    F v[kVectors];
#pragma GCC unroll 2
    for (int part = 0; part < kVectors; ++part) v[part] = vec<F>(w + part * kWidth<F>);
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) {
#pragma GCC unroll 2
      for (int part = 0; part < kVectors; ++part) v[part] -= error[j][part] * factor[j][k];
    }
#pragma GCC unroll 2
    for (int part = 0; part < kVectors; ++part) vec<F>(w + part * kWidth<F>) = v[part];
  }
}

template <class F>
void walk_columns(const ColumnWalk& walk) {
  int64_t j = 0;
  for (; j + 4 <= walk.num_rounded; j += 4) walk_some<F, 4>(walk, j);
  for (; j < walk.num_rounded; ++j) walk_some<F, 1>(walk, j);
}

}  // namespace
}  // namespace ruvllm::kernels
