// The loop of peak_loops.h: kChains independent sums hide the latency. `step` adds one product; the
// empty asm keeps the compiler from folding steps.
#pragma once

namespace ruvllm::kernels {
namespace {

template <class Vector, int kChains, class Step>
inline __attribute__((always_inline)) Vector run_chains(int64_t rounds, Vector start, Step step) {
  Vector sum[kChains];
#pragma GCC unroll 16
  for (int i = 0; i < kChains; ++i) sum[i] = start;
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) {
      sum[i] = step(sum[i]);
      __asm__("" : "+x"(sum[i]));
    }
  }
  Vector total = sum[0];
#pragma GCC unroll 16
  for (int i = 1; i < kChains; ++i) total = (Vector)(total + sum[i]);
  return total;
}

}  // namespace
}  // namespace ruvllm::kernels
