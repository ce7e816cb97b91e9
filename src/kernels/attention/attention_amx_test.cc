// Attention on tiles: the kernel (over models of the instructions on any machine, over the
// instructions where there are any) against the sums that attention.h describes, bit for bit, and
// against sums in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/float_types.h"
#include "kernels/attention/attention_bf16_tiles_impl.h"
#include "kernels/kernel_lists.h"
#include "kernels/kernel_test_util.h"

namespace ruvllm::kernels {
namespace {

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
  static F weight(F p, F z, F t) {
    return each([&](int i) {
      const uint32_t word = bits(p.lane[i]) + (bits(z.lane[i]) << 23) + 0x8000u;
      return t.lane[i] < -126.0f ? 0.0f : value(word & 0xffff0000u);
    });
  }
  static void store_pairs(uint32_t* to, F low, F high) {
    for (int i = 0; i < kLanes; ++i) to[i] = bits(low.lane[i]) >> 16 | bits(high.lane[i]);
  }
  static void interleave(const uint16_t* a, const uint16_t* b, uint32_t* to) {
    for (int i = 0; i < kLanes; ++i) to[i] = a[i] | uint32_t{b[i]} << 16;
  }
  static bool any_special(const uint32_t* words) {
    return std::any_of(words, words + kLanes, [](uint32_t w) {
      return (w & 0x7f80u) == 0x7f80u || (w & 0x7f800000u) == 0x7f800000u;
    });
  }
};

constexpr AttentionKernels kModel = {attend_tiles<ModelTiles, ModelLanes>, merge<ModelLanes>,
                                     finish<ModelLanes>};

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

// The same, as the header says it.
float flushed(float x) {
  return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x;
}
template <typename Left, typename Right>
float product(int64_t begin, int64_t end, bool halves, Left left, Right right) {
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
void described(const Problem& problem, int32_t row, float* out, float* max, float* sum) {
  const auto [begin, end] = problem.seen(row);
  *max = -std::numeric_limits<float>::infinity();
  *sum = 0.0f;
  std::fill_n(out, problem.shape.dim, 0.0f);
  if (begin >= end) return;
  const float cap = problem.shape.softcap;
  const float scale = problem.scale();
  constexpr float kLog2E = 1.44269504f;
  std::vector<float> x(kKeySegment);
  float largest = -std::numeric_limits<float>::infinity();
  for (int j = begin; j < end; ++j) {
    const float dot = product(
        0, problem.shape.dim, false,
        [&](int64_t d) { return bf16_to_f32(f32_to_bf16(problem.query(row, d))); },
        [&](int64_t d) { return problem.key(j, d); });
    float score = dot * scale;
    if (cap != 0.0f) {
      score = cap * tanh_ps<ModelLanes>(ModelLanes::set1(score / cap)).lane[0];
      x[static_cast<size_t>(j)] = score * kLog2E;
    } else {
      x[static_cast<size_t>(j)] = dot * (scale * kLog2E);
    }
    *max = std::max(*max, score);
    largest = std::max(largest, x[static_cast<size_t>(j)]);
  }
  std::vector<float> weights(kKeySegment, 0.0f);
  ModelLanes::F lanes = ModelLanes::zero();
  for (int j = begin; j < end; ++j) {
    const float t = x[static_cast<size_t>(j)] - largest;
    if (t < -126.0f) continue;
    if (std::isnan(t)) {
      weights[static_cast<size_t>(j)] = lanes.lane[j % 16] = t;
      continue;
    }
    const float n = std::nearbyint(t);
    const float r = t - n;
    const float p =
        std::fma(r, std::fma(r, std::fma(r, 0.0550073353f, 0.242211186f), 0.693283124f), 1.0f);
    const uint32_t word = ModelLanes::bits(std::ldexp(p, static_cast<int>(n)));
    float& weight = weights[static_cast<size_t>(j)];
    weight = ModelLanes::value((word + 0x8000u) & 0xffff0000u);
    lanes.lane[j % 16] += weight;
  }
  *sum = ModelLanes::reduce_add(lanes);
  for (int32_t d = 0; d < problem.shape.dim; ++d) {
    out[d] = product(
        begin, end, true, [&](int64_t j) { return weights[static_cast<size_t>(j)]; },
        [&](int64_t j) { return problem.value(j, d); });
  }
}

struct Named {
  std::string name;
  const AttentionKernels* kernels;
};
std::vector<Named> all_kernels() {
  std::vector<Named> out = {{"amx (model)", &kModel}};
  if (isa_supported(IsaLevel::kAmx)) {
    out.push_back({"amx", &attention_kernels(IsaLevel::kAmx, KvFormat::kBf16)});
  }
  return out;
}

bool same(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || ModelLanes::bits(a) == ModelLanes::bits(b);
}

void expect_as_described(const Problem& problem) {
  const Shape& s = problem.shape;
  const auto dim = static_cast<size_t>(s.dim);
  for (const auto& [name, kernels] : all_kernels()) {
    const State got = attend_with(*kernels, problem, 0, s.tokens);
    for (int32_t r = 0; r < problem.rows(); ++r) {
      std::vector<float> out(dim);
      float max, sum;
      described(problem, r, out.data(), &max, &sum);
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

TEST(AttentionTiles, AddAsDescribed) {
  if (!isa_supported(IsaLevel::kAmx)) std::printf("not run here: amx\n");
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
      {3, 2, 64, 16, 600, 90},  // some see nothing of it
  };
  uint64_t seed = 1;
  for (const Shape& shape : shapes) {
    expect_as_described(Problem(shape, seed++));
    if (HasFatalFailure()) return;
  }
}

// Large scores, tiny weights and values, infinities and NaN: of keys and values, seen by some rows
// and not by others.
TEST(AttentionTiles, ExtremeNumbers) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const Shape& shape : {Shape{6, 3, 40, 16, 330}, Shape{20, 1, 24, 16, 300, 30}}) {
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

TEST(AttentionTiles, RowsDoNotDependOnTheirNeighbours) {
  const Problem problem({21, 3, 40, 16, 400, 70}, 41);
  for (const auto& [name, kernels] : all_kernels()) {
    const State all = attend_with(*kernels, problem, 0, 21);
    for (const auto& [first, count] : {std::pair{0, 1}, {7, 1}, {20, 1}, {3, 6}, {10, 11}}) {
      const State some = attend_with(*kernels, problem, first, count);
      const auto from = static_cast<size_t>(first * 3);
      EXPECT_EQ(0, std::memcmp(some.sum.data(), all.sum.data() + from, some.sum.size() * 4));
      EXPECT_EQ(0, std::memcmp(some.out.data(), all.out.data() + from * 40, some.out.size() * 4))
          << name << " tokens from " << first;
    }
  }
}

// q is off by 2^-9 of itself, so a score by 2^-9 of the sum of magnitudes; a weight by twice that,
// 2^-9 and the polynomial.
TEST(AttentionTiles, NearTheExactMean) {
  const Problem problem({4, 4, 64, 16, 500}, 51);
  for (const auto& [name, kernels] : all_kernels()) {
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
