#include "kernels/roofs/peak_loops.h"
#include "kernels/roofs/peak_loops_impl.h"

namespace ruvllm::kernels::generic {
namespace {

using F = float __attribute__((vector_size(16)));

float run_f32(int64_t rounds) {
  const F a = {0.999f, 0.999f, 0.999f, 0.999f};
  const F b = {0.001f, 0.001f, 0.001f, 0.001f};
  F s0 = b, s1 = b, s2 = b, s3 = b, s4 = b, s5 = b, s6 = b, s7 = b;
  for (int64_t r = 0; r < rounds; ++r) {
    s0 = s0 * a + b;
    s1 = s1 * a + b;
    s2 = s2 * a + b;
    s3 = s3 * a + b;
    s4 = s4 * a + b;
    s5 = s5 * a + b;
    s6 = s6 * a + b;
    s7 = s7 * a + b;
  }
  const F sum = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7));
  return sum[0];
}

using Words = uint64_t __attribute__((vector_size(16)));

Words load(const char* p) {
  return *(const Words*)p;
}
uint32_t read_one_stream(const void* data, int64_t bytes) {
  return (uint32_t)read_one<Words>(data, bytes, load)[0];
}
uint32_t read_four_streams(const void* data, int64_t bytes) {
  return (uint32_t)read_four<Words>(data, bytes, load)[0];
}

}  // namespace

const PeakLoop kPeakF32 = {"f32", 8 * 4, run_f32};
const ReadLoop kRead = {read_one_stream, read_four_streams};

}  // namespace ruvllm::kernels::generic
