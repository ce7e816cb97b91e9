// Tests only, of the forms of attention that multiply pairs of bf16 (attention.h: "Tiles",
// "Lanes"): the lanes of AVX-512 in plain C++, and a segment of random keys and values in pages.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/float_types.h"
#include "kernels/attention/attention_pages.h"
#include "kernels/kernel_test_util.h"
#include "kernels/simd/amx_tile.h"

namespace ruvllm::kernels {
namespace {

// t - floor(t), rounded down.
float reduced(float t) {
  if (std::isinf(t)) return 0.0f;
  const float floor = std::floor(t);
  const float r = t - floor;
  return double{r} + double{floor} > double{t} ? std::nextafter(r, 0.0f) : r;
}
// p * 2^floor(t), or 0 where that is subnormal.
float scaled(float p, float t) {
  if (std::isnan(t)) return t;
  const float w = std::ldexp(p, static_cast<int>(std::clamp(std::floor(t), -1000.0f, 1000.0f)));
  return std::fabs(w) < 0x1p-126f ? 0.0f : w;
}

// The lanes of AVX-512 in plain C++.
struct ModelLanes {
  struct F {
    float lane[16];
  };
  static constexpr int kLanes = 16;

  template <typename Function>
  static F each(Function function) {
    F out;
    for (int i = 0; i < kLanes; ++i) out.lane[i] = function(i);
    return out;
  }
  static uint32_t bits(float x) {
    uint32_t word;
    std::memcpy(&word, &x, sizeof word);
    return word;
  }
  static float value(uint32_t word) {
    float x;
    std::memcpy(&x, &word, sizeof x);
    return x;
  }
  static F load(const float* p) {
    return each([&](int i) { return p[i]; });
  }
  static F load_first(const float* p, int n) {
    return each([&](int i) { return i < n ? p[i] : 0.0f; });
  }
  static void store(float* p, F v) { std::memcpy(p, v.lane, sizeof v.lane); }
  static void store_first(float* p, F v, int n) { std::copy_n(v.lane, n, p); }
  static F zero() { return set1(0.0f); }
  static F set1(float x) {
    return each([&](int) { return x; });
  }
  static F add(F a, F b) {
    return each([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  static F sub(F a, F b) {
    return each([&](int i) { return a.lane[i] - b.lane[i]; });
  }
  static F mul(F a, F b) {
    return each([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  static F div(F a, F b) {
    return each([&](int i) { return a.lane[i] / b.lane[i]; });
  }
  static F fma(F a, F b, F c) {
    return each([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
  }
  static F fnma(F a, F b, F c) {
    return each([&](int i) { return std::fma(-a.lane[i], b.lane[i], c.lane[i]); });
  }
  static F max(F a, F b) {
    return each([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static F min(F a, F b) {
    return each([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static F abs(F a) {
    return each([&](int i) { return std::fabs(a.lane[i]); });
  }
  static F copy_sign(F magnitude, F sign) {
    return each([&](int i) { return std::copysign(magnitude.lane[i], sign.lane[i]); });
  }
  static F select_less(F a, F b, F x, F y) {
    return each([&](int i) { return a.lane[i] < b.lane[i] ? x.lane[i] : y.lane[i]; });
  }
  static F pow2_of_magic(F t) {
    return each([&](int i) { return value((bits(t.lane[i]) + 127u) << 23); });
  }
  static float reduce_add(F a) {
    float s[8];
    for (int i = 0; i < 8; ++i) s[i] = a.lane[i] + a.lane[i + 8];
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
  }
  static float reduce_max(F a) { return *std::max_element(a.lane, a.lane + kLanes); }
  static void store_bf16(uint16_t* p, F v) {
    for (int i = 0; i < kLanes; ++i) p[i] = f32_to_bf16(v.lane[i]);
  }
  static F reduce(F t) {
    return each([&](int i) { return reduced(t.lane[i]); });
  }
  static F scale(F p, F t) {
    return each([&](int i) { return scaled(p.lane[i], t.lane[i]); });
  }
  class FlushSubnormals {
   public:
    FlushSubnormals() {}
  };
  using TileArithmetic = FlushSubnormals;
  static F chain(F a, F b, F sum) {
    return each([&](int i) { return ModelTiles::fused(a.lane[i], b.lane[i], sum.lane[i]); });
  }
  static F sum(F a, F b) {
    return each([&](int i) { return flushed(flushed(a.lane[i]) + flushed(b.lane[i])); });
  }
  static float flushed(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }
  static void widen(const uint16_t* p, F& low, F& high) {
    low = each([&](int i) { return bf16_to_f32(p[i]); });
    high = each([&](int i) { return bf16_to_f32(p[16 + i]); });
  }
  static void store_pairs(uint32_t* to, F low, F high) {
    for (int i = 0; i < kLanes; ++i) to[i] = bits(low.lane[i]) >> 16 | bits(high.lane[i]);
  }
  static void interleave(const uint16_t* a, const uint16_t* b, uint32_t* to) {
    for (int i = 0; i < kLanes; ++i) to[i] = a[i] | uint32_t{b[i]} << 16;
  }
  static void interleave_halves(const uint16_t* a, uint32_t* to) { interleave(a, a + kLanes, to); }
  static bool any_special(const uint32_t* words) {
    return std::any_of(words, words + kLanes, [](uint32_t w) {
      return (w & 0x7f80u) == 0x7f80u || (w & 0x7f800000u) == 0x7f800000u;
    });
  }
};

struct Shape {
  int32_t tokens, group, dim;
  int32_t page_tokens = 16;
  int64_t first_position = 0;  // of the tokens, which follow each other
  int32_t window = 0;
  float softcap = 0.0f;
};

constexpr int64_t kBegin = kKeySegment;  // the segment begins here

class Problem {
 public:
  Problem(const Shape& of, uint64_t seed) : shape(of) {
    test::Random random(seed);
    keys = std::min<int64_t>(of.first_position + of.tokens - kBegin, kKeySegment);
    q = random.vector(int64_t{of.tokens} * of.group * of.dim, 2.0f);
    k = bf16(random.vector(keys * of.dim, 2.0f));
    v = bf16(random.vector(keys * of.dim, 1.0f));
  }
  int32_t rows() const { return shape.tokens * shape.group; }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(shape.dim)); }
  // The keys that a row sees, counted from the segment's first.
  KeyRange seen(int32_t row) const {
    const int64_t position = shape.first_position + row / shape.group - kBegin;
    const int64_t begin = shape.window > 0 ? std::max<int64_t>(position - shape.window + 1, 0) : 0;
    return {static_cast<int>(std::min(begin, keys)),
            static_cast<int>(std::clamp<int64_t>(position + 1, 0, keys))};
  }
  float key(int64_t j, int64_t d) const {
    return d < shape.dim ? bf16_to_f32(k[static_cast<size_t>(j * shape.dim + d)]) : 0.0f;
  }
  float value(int64_t j, int64_t d) const {
    return bf16_to_f32(v[static_cast<size_t>(j * shape.dim + d)]);
  }
  float query(int32_t row, int64_t d) const {
    return d < shape.dim ? q[static_cast<size_t>(row * shape.dim + d)] : 0.0f;
  }

  Shape shape;
  int64_t keys;
  std::vector<float> q;
  std::vector<uint16_t> k, v;  // [keys, D]

 private:
  static std::vector<uint16_t> bf16(const std::vector<float>& x) {
    std::vector<uint16_t> out(x.size());
    std::transform(x.begin(), x.end(), out.begin(), f32_to_bf16);
    return out;
  }
};

struct State {
  std::vector<float> out;  // [rows, D]
  std::vector<float> max, sum;
};

// The kernel over tokens [first, first + count) of the problem. Slots of pages that hold no key are
// NaN.
State attend_with(const AttentionKernels& kernels, const Problem& problem, int32_t first,
                  int32_t count) {
  const Shape& s = problem.shape;
  const int64_t end = std::min<int64_t>(s.first_position + first + count, kBegin + kKeySegment);
  const int64_t first_page = kBegin / s.page_tokens;
  const int64_t num_pages = (end - 1) / s.page_tokens - first_page + 1;
  const auto page_elements = static_cast<size_t>(s.page_tokens * s.dim);
  std::vector<std::vector<uint16_t>> pages(static_cast<size_t>(2 * num_pages),
                                           std::vector<uint16_t>(page_elements, 0xffff));
  std::vector<const void*> k_pages, v_pages;
  for (int64_t i = 0; i < num_pages; ++i) {
    k_pages.push_back(pages[static_cast<size_t>(2 * i)].data());
    v_pages.push_back(pages[static_cast<size_t>(2 * i + 1)].data());
  }
  for (int64_t j = 0; j < end - kBegin; ++j) {
    const auto page = static_cast<size_t>(2 * ((kBegin + j) / s.page_tokens - first_page));
    const int64_t slot = (kBegin + j) % s.page_tokens;
    for (int32_t d = 0; d < s.dim; ++d) {
      const auto from = static_cast<size_t>(j * s.dim + d);
      pages[page][static_cast<size_t>(key_element(s.page_tokens, s.dim, slot, d))] =
          problem.k[from];
      pages[page + 1][static_cast<size_t>(slot * s.dim + d)] = problem.v[from];
    }
  }
  const int32_t rows = count * s.group;
  const int64_t stride = attention_stride(s.dim);
  std::vector<float> memory(static_cast<size_t>(attention_state_floats(rows, s.dim)), 77.0f);
  std::vector<float> scratch(static_cast<size_t>(attention_scratch_floats(rows, s.dim)) + 1,
                             std::numeric_limits<float>::quiet_NaN());
  scratch.back() = 77.0f;
  std::vector<const float*> q;
  std::vector<int64_t> positions;
  for (int32_t t = first; t < first + count; ++t) {
    q.push_back(problem.q.data() + int64_t{t} * s.group * s.dim);
    positions.push_back(s.first_position + t);
  }
  AttentionSegment segment = {};
  segment.q = q.data();
  segment.positions = positions.data();
  segment.tokens = count;
  segment.group = s.group;
  segment.head_dim = s.dim;
  segment.k_pages = k_pages.data();
  segment.v_pages = v_pages.data();
  segment.page_tokens = s.page_tokens;
  segment.format = KvFormat::kBf16;
  segment.key_begin = kBegin;
  segment.key_end = end;
  segment.window = s.window;
  segment.scale = problem.scale();
  segment.softcap = s.softcap;
  float* max = memory.data() + rows * stride;
  segment.state = {memory.data(), max, max + rows};
  segment.scratch = scratch.data();
  kernels.attend(segment);
  EXPECT_EQ(scratch.back(), 77.0f);
  State state;
  for (int32_t r = 0; r < rows; ++r) {
    const float* row = memory.data() + r * stride;
    state.out.insert(state.out.end(), row, row + s.dim);
  }
  state.max.assign(max, max + rows);
  state.sum.assign(max + rows, max + 2 * rows);
  return state;
}

}  // namespace
}  // namespace ruvllm::kernels
