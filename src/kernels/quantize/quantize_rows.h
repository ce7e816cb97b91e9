// Activations to int8, one scale per row and block of groups of 32 columns: the left side of
// products with integer weights.
//
// For each block: a = the largest magnitude. If a < 2^-100, all codes and the scale are 0. If a is
// not finite, all codes are 0 and the scale is NaN. Otherwise scale = a / 127, and
// code = x * (127 / a) rounded to the nearest integer, ties to even: in [-127, 127].
// Every instruction set computes the same bits.
//
// Tiles. A group of a row is a record of 32-bit words, and T rows that are multiplied together
// stand interleaved: word i of row t of group g is word (g * words + i) * T + t of the tile, so
// that a kernel walks one pointer for all of its rows. The words of a record:
//   codes   eight words, columns 4i ... 4i + 3 in word i
//   scale   f32, of its block
//   offset  i32, -128 times the sum of the codes: what has to be added to a dot with weights whose
//           codes are 128 too large
//   lanes   one word for the first 16 columns, one for the last: two i16, minus the sum of the
//           codes of the columns 4j and 4j + 1, and of 4j + 2 and 4j + 3: what an 8-bit
//           multiply-add leaves in its 16-bit lanes for a weight of -1
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace ruvllm::kernels {

// Words of a record.
enum { kRecordWords = 12 };

struct QuantizeKernel {
  // `groups` groups of 32 elements of x, `block` of them (the last ones: what is left) under a
  // scale, as row t of a tile of `tile_rows` rows; `words` points at word t of the tile.
  void (*to_int8)(const float* x, int64_t groups, int64_t block, int64_t tile_rows,
                  uint32_t* words);
  // The same of the first num_rows <= tile_rows rows of the tile that `words` begins.
  void (*rows_to_int8)(const float* const* rows, int64_t num_rows, int64_t groups, int64_t block,
                       int64_t tile_rows, uint32_t* words);
};

namespace generic {
extern const QuantizeKernel kQuantize;
}
namespace neon {
extern const QuantizeKernel kQuantize;
}
namespace avx2 {
extern const QuantizeKernel kQuantize;
}
namespace avx512 {
extern const QuantizeKernel kQuantize;
}

}  // namespace ruvllm::kernels
