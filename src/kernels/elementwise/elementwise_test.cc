#include "kernels/elementwise/elementwise.h"

#include "kernels/kernel_test_util.h"

namespace ruvllm::kernels {
namespace {

using ElementwiseTest = test::KernelTest<ElementwiseKernels>;
INSTANTIATE_TEST_SUITE_P(Isa, ElementwiseTest, test::rows_of(elementwise_kernel_list()),
                         test::row_name<ElementwiseKernels>);

using test::kInf;
using test::kNan;

std::vector<float> apply(const ElementwiseKernels& k, UnaryFunction f,
                         const std::vector<float>& x) {
  std::vector<float> y(x.size());
  k.apply(f, x.data(), y.data(), static_cast<int64_t>(x.size()));
  return y;
}

// Evenly in value and evenly in bits between -limit and limit.
std::vector<float> sweep(float limit) {
  std::vector<float> x;
  for (int i = -200000; i <= 200000; ++i) x.push_back(limit * (static_cast<float>(i) / 200000.0f));
  for (uint32_t bits = 0; bits < std::bit_cast<uint32_t>(limit); bits += 9973) {
    x.push_back(std::bit_cast<float>(bits));
    x.push_back(-std::bit_cast<float>(bits));
  }
  return x;
}

struct Worst {
  double error = 0;
  float at = 0;
  void see(double value, float x) {
    if (value > error) {
      error = value;
      at = x;
    }
  }
};

TEST_P(ElementwiseTest, ExpWithinTwoUlps) {
  const std::vector<float> x = sweep(87.3f);
  const ElementwiseKernels& k = kernels();
  const std::vector<float> y = apply(k, UnaryFunction::kExp, x);
  Worst worst;
  for (size_t i = 0; i < x.size(); ++i) {
    worst.see(test::ulps(y[i], std::exp(static_cast<double>(x[i]))), x[i]);
  }
  EXPECT_LE(worst.error, 2.0) << "at " << worst.at;
}

TEST_P(ElementwiseTest, ExpAtTheEnds) {
  const ElementwiseKernels& k = kernels();
  const std::vector<float> y =
      apply(k, UnaryFunction::kExp,
            {0.0f, -0.0f, -kInf, -87.4f, -1e30f, -87.33f, 88.37f, 88.5f, 1e30f, kInf, kNan});
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], 1.0f);
  EXPECT_EQ(std::bit_cast<uint32_t>(y[2]), 0u);
  EXPECT_EQ(y[3], 0.0f);  // no subnormals
  EXPECT_EQ(y[4], 0.0f);
  EXPECT_GT(y[5], 0.0f);
  EXPECT_LT(y[6], kInf);
  EXPECT_EQ(y[7], kInf);
  EXPECT_EQ(y[8], kInf);
  EXPECT_EQ(y[9], kInf);
  EXPECT_TRUE(std::isnan(y[10]));
}

TEST_P(ElementwiseTest, TanhWithinThreeUlps) {
  std::vector<float> x = sweep(12.0f);
  x.insert(x.end(), {100.0f, -100.0f, kInf, -kInf, kNan});
  const ElementwiseKernels& k = kernels();
  const std::vector<float> y = apply(k, UnaryFunction::kTanh, x);
  Worst worst;
  for (size_t i = 0; i < x.size(); ++i) {
    worst.see(test::ulps(y[i], std::tanh(static_cast<double>(x[i]))), x[i]);
  }
  EXPECT_LE(worst.error, 3.0) << "at " << worst.at;
}

double silu(double x) {
  return x / (1.0 + std::exp(-x));
}
double gelu_tanh(double x) {
  return 0.5 * x * (1.0 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}
double gelu_erf(double x) {
  return 0.5 * x * std::erfc(-x * 0.7071067811865476);
}

// Activations: a few roundings of x itself (the tails are products of a tiny factor with x, which
// the formulas in f32 also round there).
TEST_P(ElementwiseTest, ActivationsWithinRoundingOfTheirArgument) {
  const std::vector<float> x = sweep(20.0f);
  struct Case {
    UnaryFunction f;
    double (*exact)(double);
    double limit;  // in roundings (2^-24) of |x|
  };
  const Case cases[] = {{UnaryFunction::kSilu, silu, 4},
                        {UnaryFunction::kGeluTanh, gelu_tanh, 6},
                        {UnaryFunction::kGeluErf, gelu_erf, 4},
                        {UnaryFunction::kRelu, [](double v) { return v > 0 ? v : 0; }, 0}};
  const ElementwiseKernels& k = kernels();
  for (const Case& c : cases) {
    const std::vector<float> y = apply(k, c.f, x);
    Worst worst;
    for (size_t i = 0; i < x.size(); ++i) {
      const double scale = test::kEps * std::fmax(std::fabs(static_cast<double>(x[i])), 0x1p-102);
      worst.see(std::fabs(y[i] - c.exact(x[i])) / scale, x[i]);
    }
    EXPECT_LE(worst.error, c.limit) << static_cast<int>(c.f) << " at " << worst.at;
  }
}

TEST_P(ElementwiseTest, ActivationsAtTheEnds) {
  const ElementwiseKernels& k = kernels();
  for (const UnaryFunction f : {UnaryFunction::kSilu, UnaryFunction::kGeluTanh,
                                UnaryFunction::kGeluErf, UnaryFunction::kRelu}) {
    const std::vector<float> y = apply(k, f, {0.0f, 1e30f, -1e30f, kInf, kNan, 1e-42f});
    EXPECT_EQ(y[0], 0.0f);
    EXPECT_EQ(y[1], 1e30f) << static_cast<int>(f);
    EXPECT_EQ(y[2], 0.0f) << static_cast<int>(f);
    EXPECT_EQ(y[3], kInf) << static_cast<int>(f);
    EXPECT_TRUE(std::isnan(y[4])) << static_cast<int>(f);
    EXPECT_NEAR(y[5], f == UnaryFunction::kRelu ? 1e-42f : 5e-43f, 2e-45f) << static_cast<int>(f);
  }
}

// A value must not depend on where in a vector it stands, nor anything beyond the n elements
// change.
TEST_P(ElementwiseTest, EveryLengthAndPlace) {
  test::Random random(1);
  const std::vector<float> gate = random.vector(70, 4.0f);
  const std::vector<float> up = random.vector(70, 4.0f);
  const ElementwiseKernels& k = kernels();
  std::vector<float> whole(70);
  k.apply_multiply(UnaryFunction::kGeluErf, gate.data(), up.data(), whole.data(), 70);
  std::vector<float> alone(70);
  k.apply(UnaryFunction::kGeluErf, gate.data(), alone.data(), 70);
  for (size_t i = 0; i < 70; ++i) EXPECT_EQ(whole[i], alone[i] * up[i]);
  for (int64_t start = 0; start < 17; ++start) {
    for (int64_t n = 0; n <= 40; ++n) {
      std::vector<float> y(70, -7.0f);
      k.apply_multiply(UnaryFunction::kGeluErf, gate.data() + start, up.data() + start,
                       y.data() + start, n);
      for (int64_t i = 0; i < 70; ++i) {
        const bool written = i >= start && i < start + n;
        const auto at = static_cast<size_t>(i);
        ASSERT_EQ(y[at], written ? whole[at] : -7.0f) << start << " " << n << " " << i;
      }
    }
  }
}

TEST_P(ElementwiseTest, LinearOnes) {
  test::Random random(2);
  const ElementwiseKernels& k = kernels();
  for (const int64_t n : {0, 1, 3, 4, 7, 8, 15, 16, 17, 33, 100}) {
    const std::vector<float> x = random.vector(n, 2.0f);
    const std::vector<float> y = random.vector(n, 2.0f);
    std::vector<float> sum = x;
    k.add_scaled(sum.data(), y.data(), 0.22f, n);
    std::vector<float> product(static_cast<size_t>(n));
    k.multiply(x.data(), 1.7f, product.data(), n);
    std::vector<float> capped = x;
    k.softcap(capped.data(), 3.0f, 2.5f, n);
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = x[i] + 0.22f * static_cast<double>(y[i]);
      EXPECT_NEAR(sum[i], exact, 2 * test::kEps * 2.44) << n;
      EXPECT_EQ(product[i], x[i] * 1.7f) << n;
      EXPECT_NEAR(capped[i], 2.5 * std::tanh(3.0 * x[i] / 2.5), 8 * test::kEps * 2.5) << n;
    }
  }
}

TEST_P(ElementwiseTest, FinishesProductsInOneOrder) {
  test::Random random(5);
  const ElementwiseKernels& k = kernels();
  for (const int64_t n : {0, 1, 3, 4, 8, 15, 16, 17, 33, 100}) {
    const std::vector<float> sums = random.vector(n, 2.0f);
    const std::vector<float> delta = random.vector(n, 2.0f);
    const std::vector<float> bias = random.vector(n, 2.0f);
    const std::vector<float> residual = random.vector(n, 2.0f);
    for (int terms = 0; terms < 8; ++terms) {
      std::vector<float> y(static_cast<size_t>(n) + 1, 7.0f);
      FinishRow row{sums.data(), nullptr, nullptr, nullptr, 0.3f, y.data()};
      if ((terms & 1) != 0) row.delta = delta.data();
      if ((terms & 2) != 0) row.bias = bias.data();
      if ((terms & 4) != 0) row.residual = residual.data();
      k.finish(row, n);
      for (size_t i = 0; i < sums.size(); ++i) {
        float expected = sums[i];
        if (row.delta != nullptr) expected += delta[i];
        if (row.bias != nullptr) expected += bias[i];
        expected *= 0.3f;
        if (row.residual != nullptr) expected = residual[i] + expected;
        ASSERT_EQ(y[i], expected) << n << " " << terms << " " << i;
      }
      ASSERT_EQ(y.back(), 7.0f) << n;
    }
  }
}

TEST_P(ElementwiseTest, Softmax) {
  test::Random random(3);
  const ElementwiseKernels& k = kernels();
  for (const int64_t n : {1, 2, 7, 8, 9, 31, 64, 1000}) {
    std::vector<float> x = random.vector(n, 30.0f);
    if (n > 2) x[1] = -kInf;
    double largest = -1e30;
    for (const float value : x) largest = std::fmax(largest, value);
    double sum = 0;
    for (const float value : x) sum += std::exp(value - largest);
    std::vector<float> y = x;
    k.softmax(y.data(), n);
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = std::exp(x[i] - largest) / sum;
      // The argument x - max is rounded once: up to 60 * eps of the value.
      EXPECT_NEAR(y[i], exact, (64 + 8) * test::kEps * exact + 1e-38) << n;
    }
    if (n > 2) {
      EXPECT_EQ(y[1], 0.0f);
    }
  }
}

}  // namespace
}  // namespace ruvllm::kernels
