// Attention with products of bf16: the kernels (over models of the instructions on any machine,
// over the instructions where there are any) against the sums that attention.h describes, bit for
// bit, and against sums in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/attention/attention_bf16_lanes_impl.h"
#include "kernels/attention/attention_bf16_test_util.h"
#include "kernels/attention/attention_bf16_tiles_impl.h"
#include "kernels/kernel_lists.h"

namespace ruvllm::kernels {
namespace {

// The dot product of AVX-512 BF16 in plain C++, and what brings its pairs.
struct ModelPairs : ModelLanes {
  struct P {
    uint16_t element[32];
  };
  static P keys(const uint16_t* p) {
    P out;
    for (int i = 0; i < 32; ++i) out.element[i] = p[i % 2 * 16 + i / 2];
    return out;
  }
  static void values(const uint16_t* a, const uint16_t* b, P& low, P& high) {
    for (int i = 0; i < 32; ++i) low.element[i] = (i % 2 == 0 ? a : b)[i / 2];
    for (int i = 0; i < 32; ++i) high.element[i] = (i % 2 == 0 ? a : b)[16 + i / 2];
  }
  static P word(const uint32_t* p) {
    P out;
    for (int i = 0; i < 16; ++i) std::memcpy(out.element + 2 * i, p, sizeof *p);
    return out;
  }
  static F dot(F sum, P x, P y) {
    for (int i = 0; i < 16; ++i) {
      for (const int j : {2 * i + 1, 2 * i}) {
        sum.lane[i] =
            ModelTiles::fused(bf16_to_f32(x.element[j]), bf16_to_f32(y.element[j]), sum.lane[i]);
      }
    }
    return sum;
  }
  static void store_pairs(uint32_t* to, F low, F high) {
    for (int i = 0; i < 16; ++i) {
      const F& from = i < 8 ? low : high;
      to[i] = bits(from.lane[i % 8 * 2]) >> 16 | (bits(from.lane[i % 8 * 2 + 1]) & 0xffff0000u);
    }
  }
};

constexpr AttentionKernels kTilesModel = {attend_tiles<ModelTiles, ModelLanes>, merge<ModelLanes>,
                                          finish<ModelLanes>, 64};
constexpr AttentionKernels kLanesModel = {attend_lanes<ModelPairs>, merge<ModelLanes>,
                                          finish<ModelLanes>, 64};

// The same, as the header says it.
float flushed(float x) {
  return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x;
}
template <typename Left, typename Right>
float product_of_tiles(int64_t begin, int64_t end, bool halves, Left left, Right right) {
  float sum = 0.0f;
  for (int64_t step = begin / 32 * 32; step < end; step += 32) {
    float chain[2] = {0.0f, 0.0f};
    for (int64_t i = 0; i < 16; ++i) {
      const int64_t pair[2] = {halves ? step + i : step + 2 * i,
                               halves ? step + 16 + i : step + 2 * i + 1};
      for (const int side : {0, 1}) {
        if (pair[side] < begin || pair[side] >= end) continue;
        chain[side] = ModelTiles::fused(left(pair[side]), right(pair[side]), chain[side]);
      }
    }
    sum = flushed(sum + flushed(chain[0] + chain[1]));
  }
  return sum + 0.0f;
}
template <typename Left, typename Right>
float product_of_lanes(int64_t begin, int64_t end, Left left, Right right) {
  float sum = 0.0f;
  for (int64_t pair = begin / 2; 2 * pair < end; ++pair) {
    for (const int64_t i : {2 * pair + 1, 2 * pair}) {
      const bool seen = i >= begin && i < end;
      sum = ModelTiles::fused(seen ? left(i) : 0.0f, seen ? right(i) : 0.0f, sum);
    }
  }
  return sum;
}

enum class Form { kTiles, kLanes };

template <typename Left, typename Right>
float product(Form form, int64_t begin, int64_t end, bool halves, Left left, Right right) {
  return form == Form::kTiles ? product_of_tiles(begin, end, halves, left, right)
                              : product_of_lanes(begin, end, left, right);
}

// 2^t by the polynomial, in multiples of 2^-7 of the power of two below.
float described_weight(float t) {
  if (std::isnan(t)) return t;
  if (t < -126.0f) return 0.0f;
  const float r = reduced(t);
  const float p =
      std::fma(r, std::fma(r, std::fma(r, 0.0780303578f, 0.226084062f), 0.695885580f), 98305.0f);
  return std::ldexp(p - 98304.0f, static_cast<int>(std::floor(t)));
}

void described(Form form, const Problem& problem, int32_t row, float* out, float* max, float* sum) {
  const auto [begin, end] = problem.seen(row);
  *max = -std::numeric_limits<float>::infinity();
  *sum = 0.0f;
  std::fill_n(out, problem.shape.dim, 0.0f);
  if (begin >= end) return;
  const float cap = problem.shape.softcap;
  const float scale = problem.scale();
  const float factor = cap != 0.0f ? 1.0f : scale;
  std::vector<float> x(kKeySegment);
  float largest = -std::numeric_limits<float>::infinity();
  for (int j = begin; j < end; ++j) {
    float& score = x[static_cast<size_t>(j)];
    score = product(
        form, 0, problem.shape.dim, false,
        [&](int64_t d) { return bf16_to_f32(f32_to_bf16(problem.query(row, d))); },
        [&](int64_t d) { return problem.key(j, d); });
    if (cap != 0.0f) {
      score = cap * tanh_ps<ModelLanes>(ModelLanes::set1(score * scale / cap)).lane[0];
    }
    largest = std::max(largest, score);
  }
  *max = largest * factor;
  std::vector<float> weights(kKeySegment, 0.0f);
  for (int j = begin; j < end; ++j) {
    const float t = (x[static_cast<size_t>(j)] - largest) * (factor * kLog2E);
    weights[static_cast<size_t>(j)] = described_weight(t);
  }
  ModelLanes::F lanes = ModelLanes::zero();
  for (int j = 0; j < kKeySegment; j += 32) {
    for (int lane = 0; lane < 16; ++lane) {
      const float* pair = weights.data() + j + lane;
      lanes.lane[lane] += pair[0] + pair[16];
    }
  }
  *sum = ModelLanes::reduce_add(lanes);
  for (int32_t d = 0; d < problem.shape.dim; ++d) {
    out[d] = product(
        form, begin, end, true, [&](int64_t j) { return weights[static_cast<size_t>(j)]; },
        [&](int64_t j) { return problem.value(j, d); });
  }
}

struct Named {
  std::string name;
  const AttentionKernels* kernels;
  Form form;
};
std::vector<Named> all_kernels() {
  std::vector<Named> out = {{"amx (model)", &kTilesModel, Form::kTiles},
                            {"avx512bf16 (model)", &kLanesModel, Form::kLanes}};
#if defined(__x86_64__)
  if (isa_supported(IsaLevel::kAmx)) out.push_back({"amx", &amx::kAttention, Form::kTiles});
  if (isa_supported(IsaLevel::kAvx512Bf16)) {
    out.push_back({"avx512bf16", &avx512bf16::kAttention, Form::kLanes});
  }
#endif
  return out;
}

bool same(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || ModelLanes::bits(a) == ModelLanes::bits(b);
}

void expect_as_described(const Problem& problem) {
  const Shape& s = problem.shape;
  const auto dim = static_cast<size_t>(s.dim);
  for (const auto& [name, kernels, form] : all_kernels()) {
    const State got = attend_with(*kernels, problem, 0, s.tokens);
    for (int32_t r = 0; r < problem.rows(); ++r) {
      std::vector<float> out(dim);
      float max, sum;
      described(form, problem, r, out.data(), &max, &sum);
      const auto row = static_cast<size_t>(r);
      // The largest of scores with a NaN among them is any; the sum says so.
      ASSERT_TRUE((same(got.max[row], max) || std::isnan(sum)) && same(got.sum[row], sum))
          << name << " D " << s.dim << " row " << r << ": max " << got.max[row] << ", expected "
          << max << "; sum " << got.sum[row] << ", expected " << sum;
      for (size_t d = 0; d < dim; ++d) {
        ASSERT_TRUE(same(got.out[row * dim + d], out[d]))
            << name << " D " << s.dim << " row " << r << " of " << problem.rows() << " element "
            << d << ": " << got.out[row * dim + d] << ", expected " << out[d];
      }
    }
  }
}

TEST(AttentionBf16, AddAsDescribed) {
  for (const IsaLevel level : {IsaLevel::kAvx512Bf16, IsaLevel::kAmx}) {
    if (isa_supported(level)) continue;
    std::printf("not run here: %s\n", std::string(isa_name(level)).c_str());
  }
  const Shape shapes[] = {
      {1, 1, 64, 16, 300},
      {1, 8, 64, 16, 511},
      {4, 8, 64, 16, 400},
      {1, 4, 128, 64, 700},      // sees all of the segment
      {17, 1, 20, 8, 495},       // rows of two tiles that overlap
      {33, 1, 48, 16, 300, 40},  // a window; later tiles see other blocks
      {3, 7, 80, 24, 420, 100, 8.0f},
      {2, 3, 40, 1, 256},       // the segment's first keys
      {5, 2, 24, 7, 508, 300},  // across the segment's end
      {2, 1, 256, 16, 290, 0, 30.0f},
      {1, 2, 33, 16, 330},
      {1, 2, 1, 16, 300},  // a group is less than a cache line
      {9, 8, 1, 16, 500},
      {3, 2, 64, 16, 600, 90},  // some see nothing of it
      // Few rows, which vectors multiply: all steps of a segment, some, with ends within them.
      {1, 1, 64, 16, 290},
      {1, 1, 128, 32, 600},
      {1, 2, 96, 16, 511, 200},
      {2, 1, 32, 16, 400, 33, 8.0f},
      {3, 1, 64, 48, 350},
      {2, 4, 64, 16, 430, 100},
      {1, 7, 128, 16, 300},
      {5, 1, 96, 16, 508, 260},
      // One tile of rows, all of them, wide heads.
      {1, 16, 64, 64, 600},
      {2, 8, 256, 32, 420, 100},
      {1, 3, 160, 16, 275, 0, 20.0f},
      // A window that begins in the second group of a step.
      {1, 8, 64, 16, 430, 155},
      {3, 4, 96, 16, 436, 155},
  };
  uint64_t seed = 1;
  for (const Shape& shape : shapes) {
    expect_as_described(Problem(shape, seed++));
    if (HasFatalFailure()) return;
  }
}

// Large scores, tiny weights and values, infinities and NaN: of keys and values, seen by some rows
// and not by others.
TEST(AttentionBf16, ExtremeNumbers) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const Shape& shape : {Shape{6, 3, 40, 16, 330}, Shape{20, 1, 24, 16, 300, 30},
                             Shape{4, 2, 32, 16, 330}, Shape{4, 1, 64, 16, 310, 30}}) {
    Problem problem(shape, 31);
    const auto at = [&](std::vector<uint16_t>& x, int64_t j, int64_t d) -> uint16_t& {
      return x[static_cast<size_t>(j * shape.dim + d)];
    };
    for (float& x : problem.q) x *= 30.0f;
    const int64_t last = problem.keys - 1;
    at(problem.v, last, 3) = f32_to_bf16(inf);  // the last row's alone
    at(problem.v, last - 2, 5) = 0x7fc0;
    at(problem.k, last - 1, 1) = f32_to_bf16(inf);
    at(problem.k, last - 3, 2) = 0x7fc0;
    at(problem.v, 50, 7) = 0x0001;
    for (int64_t j = 0; j < problem.keys; ++j) at(problem.v, j, 9) = f32_to_bf16(-1.2e-38f);
    expect_as_described(problem);
    if (HasFatalFailure()) return;
  }
  Problem large({2, 2, 64, 16, 400}, 32);
  for (float& x : large.q) x *= 1e30f;
  expect_as_described(large);
}

void expect_alike(const Problem& problem) {
  const auto group = static_cast<size_t>(problem.shape.group);
  const auto dim = static_cast<size_t>(problem.shape.dim);
  for (const auto& [name, kernels, form] : all_kernels()) {
    const State all = attend_with(*kernels, problem, 0, 21);
    for (const auto& [first, count] :
         {std::pair{0, 1}, {7, 1}, {20, 1}, {9, 2}, {3, 6}, {10, 11}}) {
      const State some = attend_with(*kernels, problem, first, count);
      const size_t from = static_cast<size_t>(first) * group;
      EXPECT_EQ(0, std::memcmp(some.sum.data(), all.sum.data() + from, some.sum.size() * 4));
      EXPECT_EQ(0, std::memcmp(some.out.data(), all.out.data() + from * dim, some.out.size() * 4))
          << name << " tokens from " << first;
    }
  }
}
TEST(AttentionBf16, RowsDoNotDependOnTheirNeighbours) {
  expect_alike(Problem({21, 3, 40, 16, 400, 70}, 41));
  // One and two tokens' rows are few.
  Problem problem({21, 4, 64, 16, 400, 70}, 42);
  expect_alike(problem);
  // Sums of products that end up subnormal.
  for (float& x : problem.q) x *= 1e-19f;
  for (uint16_t& v : problem.v) v = f32_to_bf16(bf16_to_f32(v) * 1e-36f);
  for (uint16_t& k : problem.k) k = f32_to_bf16(bf16_to_f32(k) * 1e-19f);
  expect_alike(problem);
}

// q is off by 2^-9 of itself, so a score by 2^-9 of the sum of magnitudes; a weight by twice that,
// 2^-9 and the polynomial.
TEST(AttentionBf16, NearTheExactMean) {
  const Problem problem({4, 4, 64, 16, 500}, 51);
  for (const auto& [name, kernels, form] : all_kernels()) {
    const State got = attend_with(*kernels, problem, 0, 4);
    double worst = 0.0;
    double squares = 0.0;
    for (int32_t r = 0; r < problem.rows(); ++r) {
      const auto [begin, end] = problem.seen(r);
      std::vector<double> scores;
      double terms = 0.0;
      for (int j = begin; j < end; ++j) {
        double score = 0.0;
        double magnitude = 0.0;
        for (int64_t d = 0; d < 64; ++d) {
          const double term = double{problem.query(r, d)} * problem.key(j, d) * problem.scale();
          score += term;
          magnitude += std::fabs(term);
        }
        scores.push_back(score);
        terms = std::max(terms, magnitude);
      }
      const double largest = *std::max_element(scores.begin(), scores.end());
      double sum = 0.0;
      for (double& score : scores) sum += score = std::exp(score - largest);
      for (int64_t d = 0; d < 64; ++d) {
        double want = 0.0;
        for (int j = begin; j < end; ++j) {
          want += scores[static_cast<size_t>(j - begin)] / sum * problem.value(j, d);
        }
        const auto row = static_cast<size_t>(r);
        const double have = double{got.out[row * 64 + static_cast<size_t>(d)]} / got.sum[row];
        const double bound = std::expm1(2 * 0x1p-9 * terms) + 2 * (0x1p-9 + 1.1e-4) + 1e-5;
        ASSERT_NEAR(have, want, bound) << name << " row " << r;
        worst = std::max(worst, std::fabs(have - want));
        squares += (have - want) * (have - want);
      }
    }
    std::printf("%s: off by %.1e at most, %.1e in the mean, of values up to 1\n", name.c_str(),
                worst, std::sqrt(squares / (64.0 * problem.rows())));
  }
}

}  // namespace
}  // namespace ruvllm::kernels
