// Loops that do nothing but one kind of multiply-add, as fast as an instruction set can: with their
// time, the arithmetic roof that matmul is measured against. No memory, no threads.
#pragma once

#include <stdint.h>

namespace ruvllm::kernels {

struct PeakLoop {
  const char* unit;              // "f32" or "int8"
  int64_t macs_per_round;        // multiply-adds
  float (*run)(int64_t rounds);  // the value only keeps the loop alive
};

namespace avx2 {
extern const PeakLoop kPeakF32;
extern const PeakLoop kPeakInt8;
}  // namespace avx2
namespace avxvnni {
extern const PeakLoop kPeakInt8;
}
namespace avx512 {
extern const PeakLoop kPeakF32;
}
namespace avx512vnni {
extern const PeakLoop kPeakInt8;
}
namespace generic {
extern const PeakLoop kPeakF32;
}

}  // namespace ruvllm::kernels
