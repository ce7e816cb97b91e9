// Eight lanes in the compilers' own vector notation: one 256-bit register or two of 128, whichever
// the including file's flags allow; with AVX-512 also sixteen, for two times eight at once. In an
// unnamed namespace: each instruction set's file gets its own copies. (Vectors are passed by
// reference: by value they have another ABI where registers are narrower.)
#pragma once

#include <stdint.h>

// g++ 12 takes its own _mm_undefined_si128 (`__m128i y = y`) for a mistake wherever it is inlined.
#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#ifdef __AVX__
#include <immintrin.h>
#endif

namespace ruvllm::kernels {
namespace {

using Lanes = float __attribute__((vector_size(32), aligned(4)));
using IntLanes = int32_t __attribute__((vector_size(32), aligned(4)));
using AllBytes = uint8_t __attribute__((vector_size(32)));
using ByteLanes = uint8_t __attribute__((vector_size(8), aligned(1)));
using HalfLanes = float __attribute__((vector_size(16)));
using UnalignedHalf = float __attribute__((vector_size(16), aligned(4)));
using WideLanes = double __attribute__((vector_size(32), aligned(8)));

inline const Lanes& lanes(const float* p) {
  return *reinterpret_cast<const Lanes*>(p);
}
inline Lanes& lanes(float* p) {
  return *reinterpret_cast<Lanes*>(p);
}

// Of each number its lowest byte (the first: little endian).
inline void store_bytes(const IntLanes& v, uint8_t* to) {
  const auto bytes = (AllBytes)v;
  *reinterpret_cast<ByteLanes*>(to) =
      __builtin_shufflevector(bytes, bytes, 0, 4, 8, 12, 16, 20, 24, 28);
}

// `wide` becomes the four numbers. (g++ makes several instructions of __builtin_convertvector.)
inline void widen(const HalfLanes& four, WideLanes& wide) {
#ifdef __AVX__
  wide = (WideLanes)_mm256_cvtps_pd((__m128)four);
#else
  wide = __builtin_convertvector(four, WideLanes);
#endif
}

#ifdef __AVX512F__
using Lanes16 = float __attribute__((vector_size(64), aligned(4)));
using WideLanes8 = double __attribute__((vector_size(64), aligned(8)));
using IntLanes16 = int32_t __attribute__((vector_size(64), aligned(4)));

inline void store_bytes(const IntLanes16& v, uint8_t* to) {
  _mm_storeu_si128((__m128i*)to, _mm512_cvtepi32_epi8((__m512i)v));
}
inline void halves(const Lanes16& v, Lanes& lower, Lanes& upper) {
  lower = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
  upper = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
}
#endif

// Adds each lane to a number of its own.
inline void add_lanes(const Lanes& v, WideLanes& lower, WideLanes& upper) {
  WideLanes wide;
  widen(__builtin_shufflevector(v, v, 0, 1, 2, 3), wide);
  lower += wide;
  widen(__builtin_shufflevector(v, v, 4, 5, 6, 7), wide);
  upper += wide;
}
inline void add_lanes(const Lanes& v, double* to) {
  auto* const sums = reinterpret_cast<WideLanes*>(to);
  add_lanes(v, sums[0], sums[1]);
}

#ifdef __AVX512F__
inline void add_lanes(const Lanes16& v, double* to) {
  auto* const sums = reinterpret_cast<WideLanes8*>(to);
  Lanes lower, upper;
  halves(v, lower, upper);
  sums[0] += (WideLanes8)_mm512_cvtps_pd((__m256)lower);
  sums[1] += (WideLanes8)_mm512_cvtps_pd((__m256)upper);
}
#endif

#if !defined(__FMA__) && !defined(__aarch64__)
// a b + c of four, rounded once: the product is exact in f64, the sum is rounded there to an odd
// last bit, which rounds to f32 as the exact sum does.
inline void fuse(const HalfLanes& a, const WideLanes& b, HalfLanes& c) {
  using Bits = int64_t __attribute__((vector_size(32), aligned(8)));
  const WideLanes product = __builtin_convertvector(a, WideLanes) * b;
  const WideLanes add = __builtin_convertvector(c, WideLanes);
  const WideLanes sum = product + add;
  const WideLanes added = sum - product;
  const WideLanes lost = (product - (sum - added)) + (add - added);
  const Bits bits = (Bits)sum, even = (bits & 1) - 1;
  const Bits changed = (lost > 0.0) | (lost < 0.0);
  const Bits by = (((lost > 0.0) ^ (sum > 0.0)) << 1) + 1;
  c = __builtin_convertvector((WideLanes)(bits + (by & even & changed)), HalfLanes);
}
#endif

// sum = a b + sum, rounded once.
inline void fuse(const Lanes& a, float b, Lanes& sum) {
#if defined(__FMA__)
  sum = (Lanes)_mm256_fmadd_ps((__m256)a, _mm256_set1_ps(b), (__m256)sum);
#elif defined(__aarch64__)
  for (int i = 0; i < 8; ++i) sum[i] = __builtin_fmaf(a[i], b, sum[i]);
#else
  const double wide = b;
  const WideLanes all = {wide, wide, wide, wide};
  auto* const halves_of_sum = reinterpret_cast<UnalignedHalf*>(&sum);
  for (int half = 0; half < 2; ++half) {
    const HalfLanes factor = reinterpret_cast<const UnalignedHalf*>(&a)[half];
    HalfLanes part = halves_of_sum[half];
    fuse(factor, all, part);
    halves_of_sum[half] = part;
  }
#endif
}

// sum = a b + sum, rounded once.
inline void fuse(const WideLanes& a, double b, WideLanes& sum) {
#if defined(__FMA__)
  sum = (WideLanes)_mm256_fmadd_pd((__m256d)a, _mm256_set1_pd(b), (__m256d)sum);
#else
  for (int i = 0; i < 4; ++i) sum[i] = __builtin_fma(a[i], b, sum[i]);
#endif
}
#ifdef __AVX512F__
inline void fuse(const WideLanes8& a, double b, WideLanes8& sum) {
  sum = (WideLanes8)_mm512_fmadd_pd((__m512d)a, _mm512_set1_pd(b), (__m512d)sum);
}
#endif

// sum += row * factor and sum -= row * factor, rounded once.
inline void add_product(const Lanes& row, float factor, Lanes& sum) {
  fuse(row, factor, sum);
}
inline void subtract_product(const Lanes& row, float factor, Lanes& sum) {
#ifdef __FMA__
  sum = (Lanes)_mm256_fnmadd_ps((__m256)row, _mm256_set1_ps(factor), (__m256)sum);
#else
  fuse(row, -factor, sum);
#endif
}
#ifdef __AVX512F__
inline void add_product(const Lanes16& row, float factor, Lanes16& sum) {
  sum = (Lanes16)_mm512_fmadd_ps((__m512)row, _mm512_set1_ps(factor), (__m512)sum);
}
inline void subtract_product(const Lanes16& row, float factor, Lanes16& sum) {
  sum = (Lanes16)_mm512_fnmadd_ps((__m512)row, _mm512_set1_ps(factor), (__m512)sum);
}
#endif

}  // namespace
}  // namespace ruvllm::kernels
