#include "kernels/rope/rope.h"

#include "kernels/kernel_test_util.h"

namespace ruvllm::kernels {
namespace {

using RopeTest = test::KernelTest<RopeKernels>;
INSTANTIATE_TEST_SUITE_P(Isa, RopeTest, test::rows_of(rope_kernel_list()),
                         test::row_name<RopeKernels>);

TEST_P(RopeTest, AgainstDouble) {
  struct Shape {
    int32_t heads, dim, rotary;
  };
  const Shape shapes[] = {{1, 2, 2},   {3, 6, 4},   {2, 24, 24},  {4, 32, 32},
                          {5, 64, 64}, {2, 80, 32}, {2, 96, 72},  {3, 128, 128},
                          {1, 20, 0},  {2, 36, 34}, {1, 256, 256}};
  test::Random random(1);
  const RopeKernels& k = kernels();
  for (const bool halves : {true, false}) {
    for (const Shape& s : shapes) {
      const std::vector<float> x = random.vector(int64_t{s.heads} * s.dim, 3.0f);
      std::vector<float> cosine, sine;
      for (int i = 0; i < s.rotary / 2; ++i) {
        const float angle = random.uniform(3.14f);
        cosine.push_back(std::cos(angle));
        sine.push_back(std::sin(angle));
      }
      std::vector<float> y = x;
      (halves ? k.halves
              : k.interleaved)({y.data(), cosine.data(), sine.data(), s.heads, s.dim, s.rotary});
      for (int h = 0; h < s.heads; ++h) {
        for (int i = 0; i < s.dim; ++i) {
          const size_t at = static_cast<size_t>(h * s.dim + i);
          if (i >= s.rotary) {
            ASSERT_EQ(y[at], x[at]);
            continue;
          }
          const int pair = halves ? i % (s.rotary / 2) : i / 2;
          const bool first = halves ? i < s.rotary / 2 : i % 2 == 0;
          const int partner = halves ? (first ? i + s.rotary / 2 : i - s.rotary / 2) : i ^ 1;
          const double other = x[static_cast<size_t>(h * s.dim + partner)];
          const double c = cosine[static_cast<size_t>(pair)];
          const double n = sine[static_cast<size_t>(pair)];
          const double exact = x[at] * c + (first ? -other * n : other * n);
          const double size = std::fabs(x[at] * c) + std::fabs(other * n);
          ASSERT_NEAR(y[at], exact, 3 * test::kEps * size) << s.dim << " " << s.rotary << " " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace ruvllm::kernels
