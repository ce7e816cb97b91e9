#include "kernels/matmul/bf16_lanes_impl.h"
#include "kernels/simd/vec_avx512.h"

namespace ruvllm::kernels::avx512bf16 {
namespace {

struct Dot : avx512::V {
  using P = __m512bh;
  static P load(const void* p) { return (__m512bh)_mm512_loadu_si512(p); }
  static F dot(F sum, P x, P w) { return _mm512_dpbf16_ps(sum, x, w); }
};

}  // namespace

const Bf16DotKernel kBf16Dot = make_bf16_lanes<Dot>();

}  // namespace ruvllm::kernels::avx512bf16
