// QuantizeKernel::rows_to_int8 by the row, for every instruction set.
#pragma once

#include "kernels/quantize/quantize_rows.h"

namespace ruvllm::kernels {
namespace {

// A few columns of all rows after the other where scales permit it: they share the cache lines of
// their tile.
template <auto kToInt8>
void each_row_to_int8(const float* const* rows, int64_t num_rows, int64_t groups, int64_t block,
                      int64_t tile_rows, uint32_t* words) {
  const int64_t step = (block + 15) / block * block;
  for (int64_t g = 0; g < groups; g += step) {
    const int64_t count = step < groups - g ? step : groups - g;
    for (int64_t t = 0; t < num_rows; ++t) {
      kToInt8(rows[t] + 32 * g, count, block, tile_rows, words + g * kRecordWords * tile_rows + t);
    }
  }
}

}  // namespace
}  // namespace ruvllm::kernels
