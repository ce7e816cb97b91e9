// Turning round of 16 by 16 words of 32 bits, in vectors of any instruction set that has some.
#pragma once

#include <stdint.h>

namespace ruvllm::kernels {
namespace {

typedef uint32_t Words16 __attribute__((vector_size(64)));

// to[2 i], to[2 i + 1]: the words of from[i] and from[i + 8] in turn. Of the place of a word, 4
// bits of its row before 4 of its column, that takes the first bit to the end.
inline void interleave_rows(const Words16 (&from)[16], Words16 (&to)[16]) {
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    to[2 * i] = __builtin_shufflevector(from[i], from[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5,
                                        21, 6, 22, 7, 23);
    to[2 * i + 1] = __builtin_shufflevector(from[i], from[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12,
                                            28, 13, 29, 14, 30, 15, 31);
  }
}

// Word j of row i of `from` becomes word i of row j of `to`. Strides are in words; rows of `from`
// may overlap, those of `to` may not.
inline void turn_16x16(const void* from, int64_t from_stride, void* to, int64_t to_stride) {
  Words16 a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) __builtin_memcpy(&a[i], (const char*)from + 4 * i * from_stride, 64);
  interleave_rows(a, b);
  interleave_rows(b, a);
  interleave_rows(a, b);
  interleave_rows(b, a);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) __builtin_memcpy((char*)to + 4 * i * to_stride, &a[i], 64);
}

}  // namespace
}  // namespace ruvllm::kernels
