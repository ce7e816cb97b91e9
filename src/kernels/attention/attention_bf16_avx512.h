// The lanes of attention_bf16_impl.h on AVX-512, but for how weights are paired. Included by the
// files of both forms; see simd/vec_generic.h for the unnamed namespace.
#pragma once

#include "kernels/simd/vec_avx512.h"

namespace ruvllm::kernels {
namespace {

struct WeighingLanes : avx512::V {
  static F reduce(F t) { return _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
  static F scale(F p, F t) { return _mm512_scalef_ps(p, t); }
  // Also: a subnormal result of vscalefps takes Intel's processors 200 cycles.
  class FlushSubnormals {
   public:
    FlushSubnormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | _MM_FLUSH_ZERO_ON); }
    ~FlushSubnormals() { _mm_setcsr(before_); }
    FlushSubnormals(const FlushSubnormals&) = delete;
    FlushSubnormals& operator=(const FlushSubnormals&) = delete;

   private:
    unsigned before_;
  };
};

}  // namespace
}  // namespace ruvllm::kernels
