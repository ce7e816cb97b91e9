// Conversions over any vector type V; see simd/vec_generic.h for the unnamed namespace. The last,
// incomplete vector goes through a buffer: the instructions are the same as for the others.
#pragma once

#include <string.h>

#include "kernels/convert/convert.h"

namespace ruvllm::kernels {
namespace {

template <class V, class Src, class Dst, class Body>
void convert_vectors(const Src* src, Dst* dst, int64_t n, Body body) {
  int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) body(src + i, dst + i);
  if (const size_t rest = static_cast<size_t>(n - i); rest > 0) {
    Src in[V::kLanes] = {};
    Dst out[V::kLanes];
    memcpy(in, src + i, rest * sizeof(Src));
    body(in, out);
    memcpy(dst + i, out, rest * sizeof(Dst));
  }
}

template <class V>
void bf16_to_f32_row(const uint16_t* src, float* dst, int64_t n) {
  convert_vectors<V>(src, dst, n,
                     [](const uint16_t* s, float* d) { V::store(d, V::load_bf16(s)); });
}

template <class V>
void f16_to_f32_row(const uint16_t* src, float* dst, int64_t n) {
  convert_vectors<V>(src, dst, n, [](const uint16_t* s, float* d) { V::store(d, V::load_f16(s)); });
}

template <class V>
void f32_to_bf16_row(const float* src, uint16_t* dst, int64_t n) {
  convert_vectors<V>(src, dst, n,
                     [](const float* s, uint16_t* d) { V::store_bf16(d, V::load(s)); });
}

template <class V>
void f32_to_f16_row(const float* src, uint16_t* dst, int64_t n) {
  convert_vectors<V>(src, dst, n, [](const float* s, uint16_t* d) { V::store_f16(d, V::load(s)); });
}

}  // namespace
}  // namespace ruvllm::kernels
