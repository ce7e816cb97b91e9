#include <arm_neon.h>

#include "kernels/roofs/peak_loops.h"
#include "kernels/roofs/peak_loops_impl.h"

namespace ruvllm::kernels::neon {
namespace {

float run_f32(int64_t rounds) {
  const float32x4_t a = vdupq_n_f32(0.999f);
  const float32x4_t b = vdupq_n_f32(0.001f);
  const auto step = [&](float32x4_t sum) { return vfmaq_f32(b, sum, a); };
  const float32x4_t sums = run_chains<float32x4_t, 16>(rounds, b, step);
  return vgetq_lane_f32(sums, 0);
}

// As the products do it: bytes to 16 bits, neighbours added, and those added to 32 bits. In
// assembly, as the products of constants would leave the loop.
float run_int8(int64_t rounds) {
  const int8x16_t a = vdupq_n_s8(3);
  const auto step = [&](int32x4_t sum) {
    int16x8_t low;
    int16x8_t high;
    __asm__(
        "smull %1.8h, %3.8b, %3.8b\n\tsmull2 %2.8h, %3.16b, %3.16b\n\t"
        "addp %1.8h, %1.8h, %2.8h\n\tsadalp %0.4s, %1.8h"
        : "+w"(sum), "=&w"(low), "=&w"(high)
        : "w"(a));
    return sum;
  };
  const int32x4_t sums = run_chains<int32x4_t, 10>(rounds, vdupq_n_s32(0), step);
  return (float)vgetq_lane_s32(sums, 0);
}

int8x16_t load(const char* p) {
  return vld1q_s8((const int8_t*)p);
}
uint32_t first(int8x16_t v) {
  return vgetq_lane_u32(vreinterpretq_u32_s8(v), 0);
}
uint32_t read_one_stream(const void* data, int64_t bytes) {
  return first(read_one<int8x16_t>(data, bytes, load));
}
uint32_t read_four_streams(const void* data, int64_t bytes) {
  return first(read_four<int8x16_t>(data, bytes, load));
}

}  // namespace

const PeakLoop kPeakF32 = {"f32", 16 * 4, run_f32};
const PeakLoop kPeakInt8 = {"int8", 10 * 16, run_int8};
const ReadLoop kRead = {read_one_stream, read_four_streams};

}  // namespace ruvllm::kernels::neon
