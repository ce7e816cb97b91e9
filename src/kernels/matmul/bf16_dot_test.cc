// Products of bf16 weights and x in bf16: the kernels (over models of the instructions on any
// machine, over the instructions where there are any) against the sums that bf16_dot.h describes,
// bit for bit, and against the exact product.
#include "kernels/matmul/bf16_dot.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/float_types.h"
#include "kernels/kernel_test_util.h"
#include "kernels/matmul/bf16_lanes_impl.h"
#include "kernels/matmul/bf16_tiles_impl.h"

namespace ruvllm::kernels {
namespace {

struct Problem {
  Problem(int64_t x_rows, int64_t w_rows, int64_t columns, uint64_t seed, bool extreme)
      : num_x(x_rows), num_w(w_rows), cols(columns), row_bytes(2 * columns + 6) {
    test::Random random(seed);
    x = random.vector(num_x * cols, 2.0f);
    w.resize(static_cast<size_t>(num_w * row_bytes), 0xff);  // NaNs between the rows
    for (int64_t n = 0; n < num_w; ++n) {
      for (int64_t k = 0; k < cols; ++k) {
        const bool any = extreme && random.next() % 50 == 0;
        const uint16_t bits =
            any ? static_cast<uint16_t>(random.next() >> 9) : f32_to_bf16(random.uniform(1.0f));
        std::memcpy(w.data() + n * row_bytes + 2 * k, &bits, 2);
        if (any) x[random.next() % x.size()] *= random.next() % 2 == 0 ? 0x1p-126f : 0x1p120f;
      }
    }
  }
  float weight(int64_t n, int64_t k) const {
    uint16_t bits;
    std::memcpy(&bits, w.data() + n * row_bytes + 2 * k, 2);
    return bf16_to_f32(bits);
  }
  int64_t num_x, num_w, cols, row_bytes;
  std::vector<float> x;
  std::vector<uint8_t> w;
};

// [num_w][num_x]
std::vector<float> product(const Bf16DotKernel& kernel, const Problem& problem, int64_t first_x,
                           int64_t num_x) {
  std::vector<uint32_t> packed(static_cast<size_t>(bf16_packed_words(num_x, problem.cols)));
  for (int64_t t = 0; t < num_x; t += kBf16DotX) {
    const float* rows[kBf16DotX];
    const int64_t count = std::min<int64_t>(kBf16DotX, num_x - t);
    for (int64_t i = 0; i < count; ++i) {
      rows[i] = problem.x.data() + (first_x + t + i) * problem.cols;
    }
    kernel.pack_x(rows, count, problem.cols, packed.data() + bf16_packed_words(t, problem.cols));
  }
  std::vector<float> sums(static_cast<size_t>(bf16_sum_floats(problem.num_w, num_x)), 77.0f);
  const Bf16DotArgs args{problem.w.data(), problem.row_bytes,       problem.num_w,
                         problem.cols,     packed.data(),           num_x,
                         sums.data(),      problem.num_w % 2 * 4096};  // fetching changes nothing
  kernel.product(&args);
  const int64_t written = (problem.num_w + 15) / 16 * 16;  // of a row, at most
  const int64_t stride = written + 3;
  std::vector<float> out(static_cast<size_t>(problem.num_w * num_x));
  for (int64_t t = 0; t < num_x; t += kBf16DotX) {
    const int64_t count = std::min<int64_t>(kBf16DotX, num_x - t);
    std::vector<float> rows(static_cast<size_t>(kBf16DotX * stride), 77.0f);
    kernel.take_rows(&args, t, count, rows.data(), stride);
    for (int64_t i = 0; i < kBf16DotX; ++i) {
      const float* const row = rows.data() + i * stride;
      for (int64_t n = i < count ? written : 0; n < stride; ++n) EXPECT_EQ(row[n], 77.0f);
      for (int64_t n = 0; n < problem.num_w && i < count; ++n) {
        out[static_cast<size_t>(n * num_x + t + i)] = row[n];
      }
    }
  }
  return out;
}

float flushed(float v) {
  return std::fabs(v) < 0x1p-126f ? std::copysign(0.0f, v) : v;
}

// As the header says it.
float x_at(const Problem& problem, int64_t t, int64_t k) {
  if (k >= problem.cols) return 0.0f;
  return bf16_to_f32(f32_to_bf16(problem.x[static_cast<size_t>(t * problem.cols + k)]));
}
float w_at(const Problem& problem, int64_t n, int64_t k) {
  return k < problem.cols ? problem.weight(n, k) : 0.0f;
}

float described_tiles(const Problem& problem, int64_t n, int64_t t) {
  float sum = 0.0f;
  for (int64_t k = 0; k < problem.cols; k += kBf16Step) {
    float chain[2] = {0.0f, 0.0f};
    for (int64_t i = k; i < k + kBf16Step; ++i) {
      float& to = chain[i % 2];
      to = ModelTiles::fused(x_at(problem, t, i), w_at(problem, n, i), to);
    }
    sum = flushed(sum + flushed(chain[0] + chain[1]));
  }
  return sum;
}

float described_lanes(const Problem& problem, int64_t n, int64_t t) {
  float sum = 0.0f;
  for (int64_t begin = 0; begin < problem.cols; begin += kBf16Block) {
    std::vector<float> lanes(16, 0.0f);
    for (int64_t k = begin;
         k < std::min<int64_t>(begin + int64_t{kBf16Block}, (problem.cols + 31) / 32 * 32);
         k += 2) {
      float& lane = lanes[static_cast<size_t>(k / 2 % 16)];
      for (const int64_t i : {k + 1, k}) {
        lane = ModelTiles::fused(x_at(problem, t, i), w_at(problem, n, i), lane);
      }
    }
    for (size_t l = 0; l < 8; ++l) lanes[l] += lanes[l + 8];
    for (size_t count = 8; count > 1; count /= 2) {
      for (size_t l = 0; l < count / 2; ++l) lanes[l] = lanes[2 * l] + lanes[2 * l + 1];
    }
    sum = begin == 0 ? lanes[0] : sum + lanes[0];
  }
  return sum;
}

// VDPBF16PS in plain C++.
struct DotModel {
  struct F {
    float lane[16];
  };
  struct P {
    uint16_t element[32];
  };
  static F zero() { return F{}; }
  static P load(const void* p) {
    P out;
    std::memcpy(&out, p, sizeof out);
    return out;
  }
  static F dot(F sum, P x, P w) {
    for (size_t l = 0; l < 16; ++l) {
      for (const size_t i : {2 * l + 1, 2 * l}) {
        sum.lane[l] =
            ModelTiles::fused(bf16_to_f32(x.element[i]), bf16_to_f32(w.element[i]), sum.lane[l]);
      }
    }
    return sum;
  }
  static float reduce_add(F a) {
    float s[8];
    for (size_t l = 0; l < 8; ++l) s[l] = a.lane[l] + a.lane[l + 8];
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
  }
  static void reduce_add_4(F a, F b, F c, F d, float* out) {
    const float sums[4] = {reduce_add(a), reduce_add(b), reduce_add(c), reduce_add(d)};
    std::memcpy(out, sums, sizeof sums);
  }
};

constexpr Bf16DotKernel kTilesModel = make_bf16_tiles<ModelTiles>();
constexpr Bf16DotKernel kLanesModel = make_bf16_lanes<DotModel>();

struct Named {
  std::string name;
  const Bf16DotKernel* kernel;
  float (*described)(const Problem& problem, int64_t n, int64_t t);
};

std::vector<Named> kernels() {
  std::vector<Named> out = {{"amx (model)", &kTilesModel, described_tiles},
                            {"avx512bf16 (model)", &kLanesModel, described_lanes}};
#if defined(__x86_64__)
  if (isa_supported(IsaLevel::kAmx)) out.push_back({"amx", &amx::kBf16Dot, described_tiles});
  if (isa_supported(IsaLevel::kAvx512Bf16)) {
    out.push_back({"avx512bf16", &avx512bf16::kBf16Dot, described_lanes});
  }
#endif
  return out;
}

void expect_as_described(const Problem& problem) {
  for (const auto& [name, kernel, described] : kernels()) {
    const auto got = product(*kernel, problem, 0, problem.num_x);
    for (int64_t n = 0; n < problem.num_w; ++n) {
      for (int64_t t = 0; t < problem.num_x; ++t) {
        const float want = described(problem, n, t);
        const float have = got[static_cast<size_t>(n * problem.num_x + t)];
        ASSERT_TRUE((std::isnan(want) && std::isnan(have)) || std::memcmp(&want, &have, 4) == 0)
            << name << " [" << problem.num_x << ", " << problem.num_w << ", " << problem.cols
            << "] at " << t << ", " << n << ": " << have << ", expected " << want;
      }
    }
  }
}

TEST(Bf16Dot, AddAsDescribed) {
  for (const IsaLevel level : {IsaLevel::kAvx512Bf16, IsaLevel::kAmx}) {
    if (isa_supported(level)) continue;
    std::printf("not run here: %s\n", std::string(isa_name(level)).c_str());
  }
  for (const int64_t num_x : {1, 2, 15, 16, 17, 31, 32, 33, 49, 70}) {
    for (const int64_t num_w : {1, 16, 17, 32, 33, 50}) {
      const int64_t cols = 31 + (num_x * 7 + num_w) % 3 + 32 * ((num_x + num_w) % 4);
      expect_as_described(Problem(num_x, num_w, cols, static_cast<uint64_t>(num_x + num_w), false));
    }
  }
  // Several blocks of columns, the last not whole; of rows in place, more than are fetched ahead;
  // more than two blocks of rows of x.
  for (const int64_t num_x : {1, 40, 97}) expect_as_described(Problem(num_x, 100, 1100, 5, false));
  for (const int64_t num_x : {1, 7}) expect_as_described(Problem(num_x, 6, 4200, 9, false));
}

TEST(Bf16Dot, InfinitiesNansAndSubnormals) {
  for (const int64_t num_x : {1, 20, 35}) expect_as_described(Problem(num_x, 35, 95, 6, true));
}

TEST(Bf16Dot, RowsDoNotDependOnTheirNeighbours) {
  const Problem problem(67, 40, 600, 7, false);
  for (const auto& [name, kernel, described] : kernels()) {
    const auto all = product(*kernel, problem, 0, 67);
    for (const auto& [first, count] :
         {std::pair<int64_t, int64_t>{0, 1}, {66, 1}, {3, 30}, {20, 33}}) {
      const auto some = product(*kernel, problem, first, count);
      for (int64_t n = 0; n < problem.num_w; ++n) {
        for (int64_t t = 0; t < count; ++t) {
          ASSERT_EQ(some[static_cast<size_t>(n * count + t)],
                    all[static_cast<size_t>(n * 67 + first + t)])
              << name << " row " << first + t;
        }
      }
    }
  }
}

// Each x is off by at most 2^-9 of itself, and the sums by their roundings.
TEST(Bf16Dot, NearTheExactProduct) {
  const Problem problem(3, 20, 1000, 8, false);
  const double roundings = 64 + 8;  // the longest chain of a sum, and the tree
  for (const auto& [name, kernel, described] : kernels()) {
    const auto got = product(*kernel, problem, 0, 3);
    for (int64_t n = 0; n < problem.num_w; ++n) {
      for (int64_t t = 0; t < 3; ++t) {
        double want = 0.0;
        double magnitude = 0.0;
        for (int64_t k = 0; k < problem.cols; ++k) {
          const double term = double{problem.x[static_cast<size_t>(t * problem.cols + k)]} *
                              double{problem.weight(n, k)};
          want += term;
          magnitude += std::fabs(term);
        }
        EXPECT_NEAR(got[static_cast<size_t>(n * 3 + t)], want,
                    magnitude * (0x1p-9 + roundings * test::kEps))
            << name;
      }
    }
  }
}

}  // namespace
}  // namespace ruvllm::kernels
