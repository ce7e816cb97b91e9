#include <arm_neon.h>

#include "kernels/roofs/peak_loops.h"
#include "kernels/roofs/peak_loops_impl.h"

namespace ruvllm::kernels::neon_i8mm {
namespace {

float run_int8(int64_t rounds) {
  const int8x16_t a = vdupq_n_s8(3);
  const auto step = [&](int32x4_t sum) { return vmmlaq_s32(sum, a, a); };
  const int32x4_t sums = run_chains<int32x4_t, 16>(rounds, vdupq_n_s32(0), step);
  return (float)vgetq_lane_s32(sums, 0);
}

}  // namespace

const PeakLoop kPeakInt8 = {"int8", 16 * 32, run_int8};

}  // namespace ruvllm::kernels::neon_i8mm
