// The two register-tiled products of attention over any vector type V: scores = q k^T and
// out += p v. What a tile's shape may change is speed only: every score is summed along D in
// V::kLanes partial sums and one fixed tree, every output element key after key.
//
// See simd/vec_generic.h for the unnamed namespace.
#pragma once

#include "kernels/attention/attention.h"
#include "kernels/simd/unroll.h"

namespace ruvllm::kernels {
namespace {

// scores[r * kKeyTile + j] for kRows rows of q (vectors * kLanes apart) and kKeys keys; kKeys is a
// multiple of 4.
template <class V, int kRows, int kKeys>
void dot_tile(const float* q, const float* const* keys, int vectors, float* scores) {
  using F = typename V::F;
  const int64_t q_stride = int64_t{vectors} * V::kLanes;
  F sums[kRows][kKeys];
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
    RUVLLM_UNROLL for (int j = 0; j < kKeys; ++j) sums[r][j] = V::zero();
  }
  for (int i = 0; i < vectors; ++i) {
    F rows[kRows];
    RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) rows[r] =
        V::load(q + r * q_stride + i * V::kLanes);
    RUVLLM_UNROLL for (int j = 0; j < kKeys; ++j) {
      F key = V::load(keys[j] + i * V::kLanes);
      V::keep(key);
      RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) sums[r][j] = V::fma(rows[r], key, sums[r][j]);
    }
  }
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
    RUVLLM_UNROLL for (int j = 0; j < kKeys; j += 4) {
      V::reduce_add_4(sums[r][j], sums[r][j + 1], sums[r][j + 2], sums[r][j + 3],
                      scores + r * kKeyTile + j);
    }
  }
}

// Scores of rows [r, ...) in tiles of kRows by kKeys, as many as are whole; returns the next row.
template <class V, int kRows, int kKeys>
int dot_whole_tiles(const float* q, int r, int rows, const float* const* keys, int begin, int end,
                    int vectors, float* scores) {
  const int64_t q_stride = int64_t{vectors} * V::kLanes;
  const int stop = r + (rows - r) / kRows * kRows;
  if (stop == r) return r;
  for (int j = begin / kKeys * kKeys; j < end; j += kKeys) {
    for (int i = r; i < stop; i += kRows) {
      dot_tile<V, kRows, kKeys>(q + i * q_stride, keys + j, vectors, scores + i * kKeyTile + j);
    }
  }
  return stop;
}

// Scores of all rows against the keys [begin, end) of a tile and up to seven beside them; keys[j]
// is readable for all j.
template <class V>
void dot_rows(const float* q, int rows, const float* const* keys, int begin, int end, int vectors,
              float* scores) {
  int r = dot_whole_tiles<V, V::kDotRows, 4>(q, 0, rows, keys, begin, end, vectors, scores);
  r = dot_whole_tiles<V, 2, 4>(q, r, rows, keys, begin, end, vectors, scores);
  dot_whole_tiles<V, 1, 8>(q, r, rows, keys, begin, end, vectors, scores);
}

// out[r] = out[r] * decay[r] + sum over j in [begin, end) of weights[r * kKeyTile + j] * values[j],
// kVectors vectors of kRows rows.
template <class V, int kRows, int kVectors>
void accumulate_tile(const float* weights, const float* decay, const float* const* values,
                     int64_t offset, int begin, int end, float* out, int64_t out_stride) {
  using F = typename V::F;
  F sums[kRows][kVectors];
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
    const F factor = V::set1(decay[r]);
    RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) {
      sums[r][n] = V::mul(V::load(out + r * out_stride + offset + n * V::kLanes), factor);
    }
  }
  for (int j = begin; j < end; ++j) {
    const float* value = values[j] + offset;
    F weight[kRows];
    RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) weight[r] = V::set1(weights[r * kKeyTile + j]);
    RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) {
      const F v = V::load(value + n * V::kLanes);
      RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) sums[r][n] = V::fma(weight[r], v, sums[r][n]);
    }
  }
  RUVLLM_UNROLL for (int r = 0; r < kRows; ++r) {
    RUVLLM_UNROLL for (int n = 0; n < kVectors; ++n) {
      V::store(out + r * out_stride + offset + n * V::kLanes, sums[r][n]);
    }
  }
}

template <class V, int kRows>
void accumulate_rows(const float* weights, const float* decay, const float* const* values,
                     int vectors, int begin, int end, float* out, int64_t out_stride) {
  int n = 0;
  for (; n + V::kPvVectors <= vectors; n += V::kPvVectors) {
    accumulate_tile<V, kRows, V::kPvVectors>(weights, decay, values, int64_t{n} * V::kLanes, begin,
                                             end, out, out_stride);
  }
  for (; n < vectors; ++n) {
    accumulate_tile<V, kRows, 1>(weights, decay, values, int64_t{n} * V::kLanes, begin, end, out,
                                 out_stride);
  }
}

}  // namespace
}  // namespace ruvllm::kernels
