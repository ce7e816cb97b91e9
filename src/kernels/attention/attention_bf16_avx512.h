// The lanes of attention_bf16_impl.h on AVX-512, but for how weights are paired. Included by the
// files of both forms; see simd/vec_generic.h for the unnamed namespace.
#pragma once

#include "kernels/simd/vec_avx512.h"

namespace ruvllm::kernels {
namespace {

struct WeighingLanes : avx512::V {
  static F reduce(F t) { return _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
  static F scale(F p, F t) { return _mm512_scalef_ps(p, t); }
  // While one lives the thread's control register has more of its bits set.
  template <unsigned kBits>
  class Control {
   public:
    Control() : before_(_mm_getcsr()) { _mm_setcsr(before_ | kBits); }
    ~Control() { _mm_setcsr(before_); }
    Control(const Control&) = delete;
    Control& operator=(const Control&) = delete;

   private:
    unsigned before_;
  };
  // Also: a subnormal result of vscalefps takes Intel's processors 200 cycles.
  using FlushSubnormals = Control<_MM_FLUSH_ZERO_ON>;
};

}  // namespace
}  // namespace ruvllm::kernels
