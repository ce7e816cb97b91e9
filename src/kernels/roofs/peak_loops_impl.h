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
#if defined(__x86_64__)
      __asm__("" : "+x"(sum[i]));
#elif defined(__aarch64__)
      __asm__("" : "+w"(sum[i]));
#endif
    }
  }
  Vector total = sum[0];
#pragma GCC unroll 16
  for (int i = 1; i < kChains; ++i) {
    if constexpr (requires { total ^ total; }) {
      total ^= sum[i];  // integers: a sum of chains may overflow
    } else {
      total += sum[i];
    }
  }
  return total;
}

// ReadLoop, over `load` and a bitwise sum of vectors.
template <class Vector, class Load>
inline __attribute__((always_inline)) Vector read_one(const void* data, int64_t bytes, Load load) {
  const char* p = (const char*)data;
  constexpr int kStep = 4 * sizeof(Vector);
  Vector sum[4] = {};
  for (const char* end = p + bytes; p < end; p += kStep) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sum[i] |= load(p + i * sizeof(Vector));
  }
  return (sum[0] | sum[1]) | (sum[2] | sum[3]);
}

template <class Vector, class Load>
inline __attribute__((always_inline)) Vector read_four(const void* data, int64_t bytes, Load load) {
  constexpr int kPage = 4096;
  const char* p = (const char*)data;
  Vector sum[4] = {};
  for (const char* end = p + bytes; p < end; p += 3 * kPage) {
    const char* ahead = p + 4 * kPage < end ? p + 4 * kPage : p;
    for (const char* row = p + kPage; p < row; p += 64, ahead += 64) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        __builtin_prefetch(ahead + i * kPage, 0, 2);
#pragma GCC unroll 4
        for (int at = 0; at < 64; at += (int)sizeof(Vector)) sum[i] |= load(p + i * kPage + at);
      }
    }
  }
  return (sum[0] | sum[1]) | (sum[2] | sum[3]);
}

}  // namespace
}  // namespace ruvllm::kernels
