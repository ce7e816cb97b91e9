// Loops that do nothing but one kind of multiply-add, or nothing but read memory, as fast as an
// instruction set can: with their time, the roofs that matmul is measured against. No threads.
#pragma once

#include <stdint.h>

namespace ruvllm::kernels {

struct PeakLoop {
  // "f32"; "bf16"; "int8": four products of bytes a lane; "int4": the same in sums of 16 bits,
  // which suffice for codes of up to 6 bits, where an instruction set has no dot product of bytes.
  const char* unit;
  int64_t macs_per_round;        // multiply-adds
  float (*run)(int64_t rounds);  // the value only keeps the loop alive
};

// Reads `bytes` (a multiple of 16 KB) at `data`, 64-byte aligned, once: as one stream, or as four
// streams that lie a page apart, those to come prefetched (how a product with several rows reads).
// The value only keeps the reading alive.
struct ReadLoop {
  uint32_t (*one_stream)(const void* data, int64_t bytes);
  uint32_t (*four_streams)(const void* data, int64_t bytes);
};

namespace neon {
extern const PeakLoop kPeakF32;
extern const PeakLoop kPeakInt8;
extern const ReadLoop kRead;
}  // namespace neon
namespace neon_dotprod {
extern const PeakLoop kPeakInt8;
}
namespace neon_i8mm {
extern const PeakLoop kPeakInt8;
}
namespace avx2 {
extern const PeakLoop kPeakF32;
extern const PeakLoop kPeakInt8;
extern const PeakLoop kPeakInt4;
extern const ReadLoop kRead;
}  // namespace avx2
namespace avxvnni {
extern const PeakLoop kPeakInt8;
}
namespace avx512 {
extern const PeakLoop kPeakF32;
extern const ReadLoop kRead;
}  // namespace avx512
namespace avx512vnni {
extern const PeakLoop kPeakInt8;
}
namespace avx512bf16 {
extern const PeakLoop kPeakBf16;
}
namespace amx {
extern const PeakLoop kPeakInt8;  // tiles, as the next
extern const PeakLoop kPeakBf16;
}  // namespace amx
namespace generic {
extern const PeakLoop kPeakF32;
extern const ReadLoop kRead;
}  // namespace generic

}  // namespace ruvllm::kernels
