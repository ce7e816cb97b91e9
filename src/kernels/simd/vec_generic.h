// The vector type of kernels for any machine: four lanes in the compilers' own vector notation
// (SSE2, NEON or plain code, as the target has it). Multiply-add is two roundings here.
//
// Every vec_<isa>.h defines the same `V`, from which the *_impl.h of an op builds its kernels once.
// V stands in an unnamed namespace on purpose: each instruction set's file gets its own copies of
// everything made from it, with internal linkage, so the linker cannot share code between
// instruction sets.
#pragma once

#include <stdint.h>
#include <string.h>

#include "base/float_types.h"

namespace ruvllm::kernels::generic {
namespace {

struct V {
  using F = float __attribute__((vector_size(16)));
  using I = int32_t __attribute__((vector_size(16)));
  using U = uint32_t __attribute__((vector_size(16)));
  static constexpr int kLanes = 4;
  // Register tiles of the attention kernels: rows of q by groups of 16 keys, groups at a time, and
  // rows of weights (by 4 vectors of values).
  static constexpr int kDotRows = 2;
  static constexpr int kDotGroups = 1;
  static constexpr int kKeyBlock = 4;
  static constexpr int kPvRows = 2;

  static F load(const float* p) {
    F v;
    memcpy(&v, p, sizeof v);
    return v;
  }
  static void store(float* p, F v) { memcpy(p, &v, sizeof v); }
  // The first n lanes, 0 < n < kLanes; the others are zero.
  static F load_first(const float* p, int n) {
    F v = zero();
    for (int i = 0; i < n; ++i) v[i] = p[i];
    return v;
  }
  static void store_first(float* p, F v, int n) {
    for (int i = 0; i < n; ++i) p[i] = v[i];
  }
  // Keeps a value in a register: compilers like to load it again for each use, and loads are what
  // the register tiles have few of.
  static void keep(F&) {}
  static F zero() { return set1(0.0f); }
  static F set1(float x) { return F{x, x, x, x}; }
  static F add(F a, F b) { return a + b; }
  static F sub(F a, F b) { return a - b; }
  static F mul(F a, F b) { return a * b; }
  static F div(F a, F b) { return a / b; }
  static F fma(F a, F b, F c) { return a * b + c; }
  static F fnma(F a, F b, F c) { return c - a * b; }
  // b where either is NaN.
  static F max(F a, F b) { return a > b ? a : b; }
  static F min(F a, F b) { return a < b ? a : b; }
  static F abs(F a) { return bits((U)a & 0x7fffffffu); }
  static F copy_sign(F magnitude, F sign) {
    return bits(((U)magnitude & 0x7fffffffu) | ((U)sign & 0x80000000u));
  }
  // a < b ? x : y
  static F select_less(F a, F b, F x, F y) { return a < b ? x : y; }
  // 2^n from the bits of t = n + 1.5 * 2^23.
  static F pow2_of_magic(F t) { return bits(((U)t + 127u) << 23); }

  static float reduce_add(F a) { return (a[0] + a[1]) + (a[2] + a[3]); }
  static float reduce_max(F a) {
    const float low = a[0] > a[1] ? a[0] : a[1];
    const float high = a[2] > a[3] ? a[2] : a[3];
    return low > high ? low : high;
  }
  // out[i] = reduce_add of the i-th.
  static void reduce_add_4(F a, F b, F c, F d, float* out) {
    out[0] = reduce_add(a);
    out[1] = reduce_add(b);
    out[2] = reduce_add(c);
    out[3] = reduce_add(d);
  }

  static F load_bf16(const uint16_t* p) {
    return bits(
        U{uint32_t{p[0]} << 16, uint32_t{p[1]} << 16, uint32_t{p[2]} << 16, uint32_t{p[3]} << 16});
  }
  static constexpr bool kMixesBf16 = false;  // see vec_avx2.h
  static F load_f16(const uint16_t* p) {
    return F{f16_to_f32(p[0]), f16_to_f32(p[1]), f16_to_f32(p[2]), f16_to_f32(p[3])};
  }
  static F load_i8(const int8_t* p) {
    return F{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]),
             static_cast<float>(p[3])};
  }
  static void store_bf16(uint16_t* p, F v) {
    for (int i = 0; i < kLanes; ++i) p[i] = f32_to_bf16(v[i]);
  }
  static void store_f16(uint16_t* p, F v) {
    for (int i = 0; i < kLanes; ++i) p[i] = f32_to_f16(v[i]);
  }

  // Pairs: {p0, p0, p1, p1, ...}; lanes exchanged within pairs; a * b - c in even lanes and
  // a * b + c in odd ones.
  static F load_pairs(const float* p) { return F{p[0], p[0], p[1], p[1]}; }
  static F swap_pairs(F a) { return F{a[1], a[0], a[3], a[2]}; }
  static F fma_sub_add(F a, F b, F c) { return a * b + F{-c[0], c[1], -c[2], c[3]}; }

 private:
  static F bits(U u) { return (F)u; }
};

}  // namespace
}  // namespace ruvllm::kernels::generic
