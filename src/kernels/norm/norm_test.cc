#include "kernels/norm/norm.h"

#include "kernels/kernel_test_util.h"

namespace ruvllm::kernels {
namespace {

using NormTest = test::KernelTest<NormKernels>;
INSTANTIATE_TEST_SUITE_P(Isa, NormTest, test::rows_of(norm_kernel_list()),
                         test::row_name<NormKernels>);

struct Case {
  int64_t n;
  bool weight, bias, plus_one;
  float scale;   // of the values
  float offset;  // added to all
  float eps;
};

const Case kCases[] = {
    {1, true, true, false, 1, 0, 1e-5f},    {2, true, false, true, 1, 0, 1e-6f},
    {7, false, false, false, 1, 0, 1e-6f},  {8, true, true, false, 1, 3, 1e-5f},
    {15, true, true, true, 1, 0, 1e-5f},    {16, true, false, false, 1, 0, 1e-5f},
    {17, true, true, false, 1, -2, 1e-5f},  {33, true, true, false, 1e-10f, 0, 1e-6f},
    {64, true, true, false, 1e10f, 0, 0},   {100, true, true, true, 1, 10, 1e-5f},
    {128, true, false, true, 1, 0, 1e-6f},  {2048, true, true, false, 1, 0.5f, 1e-5f},
    {4099, true, true, false, 3, 0, 1e-5f},
};

struct Data {
  std::vector<float> x, weight, bias;
};

Data make_data(const Case& c, test::Random& random) {
  Data data{random.vector(c.n, c.scale), random.vector(c.n, 2.0f), random.vector(c.n, 2.0f)};
  for (float& value : data.x) value += c.offset;
  return data;
}

NormRow make_row(const Case& c, const Data& data, float* y) {
  return {.x = data.x.data(),
          .weight = c.weight ? data.weight.data() : nullptr,
          .bias = c.bias ? data.bias.data() : nullptr,
          .y = y,
          .n = c.n,
          .eps = c.eps,
          .plus_one = c.plus_one};
}

double weight_at(const Case& c, const Data& data, size_t i) {
  if (!c.weight) return 1.0;
  return data.weight[i] + (c.plus_one ? 1.0 : 0.0);
}

// Sums of n non-negative terms in at least four lanes: the relative error is below n/4 + 4
// roundings at worst; sqrt(n) is what random signs give, and 8 covers the rest of the formula.
double sum_error(int64_t n) {
  return (8 + std::sqrt(static_cast<double>(n))) * test::kEps;
}

TEST_P(NormTest, RmsAgainstDouble) {
  test::Random random(1);
  const NormKernels& k = kernels();
  for (const Case& c : kCases) {
    const Data data = make_data(c, random);
    double squares = 0;
    for (const float value : data.x) squares += static_cast<double>(value) * value;
    const double factor = 1.0 / std::sqrt(squares / static_cast<double>(c.n) + c.eps);
    std::vector<float> y(data.x.size());
    NormRow row = make_row(c, data, y.data());
    row.bias = nullptr;
    k.rms_norm(row);
    for (size_t i = 0; i < y.size(); ++i) {
      const double exact = data.x[i] * factor * weight_at(c, data, i);
      const double slack = std::fabs(data.x[i] * factor) * test::kEps * 2;  // of 1 + w near 0
      ASSERT_NEAR(y[i], exact, std::fabs(exact) * sum_error(c.n) + slack) << c.n << " " << i;
    }
  }
}

TEST_P(NormTest, LayerAgainstDouble) {
  test::Random random(2);
  const NormKernels& k = kernels();
  for (const Case& c : kCases) {
    const Data data = make_data(c, random);
    double mean = 0;
    double largest = 0;
    for (const float value : data.x) {
      mean += value / static_cast<double>(c.n);
      largest = std::fmax(largest, std::fabs(static_cast<double>(value)));
    }
    double variance = 0;
    for (const float value : data.x) {
      variance += (value - mean) * (value - mean) / static_cast<double>(c.n);
    }
    const double factor = 1.0 / std::sqrt(variance + c.eps);
    std::vector<float> y(data.x.size());
    k.layer_norm(make_row(c, data, y.data()));
    for (size_t i = 0; i < y.size(); ++i) {
      const double w = weight_at(c, data, i);
      const double b = c.bias ? data.bias[i] : 0.0;
      const double exact = (data.x[i] - mean) * factor * w + b;
      // The mean is off by roundings of the largest value, and that shifts every element.
      const double shift = largest * factor * std::fabs(w) * sum_error(c.n);
      const double rounding = (std::fabs(exact - b) + std::fabs(b)) * sum_error(c.n);
      ASSERT_NEAR(y[i], exact, shift + rounding + 1e-37) << c.n << " " << i;
    }
  }
}

TEST_P(NormTest, InPlaceAndNothingElse) {
  test::Random random(3);
  const NormKernels& k = kernels();
  for (const auto kernel : {k.rms_norm, k.layer_norm}) {
    for (const Case& c : kCases) {
      const Data data = make_data(c, random);
      std::vector<float> y(data.x.size() + 1, -7.0f);
      kernel(make_row(c, data, y.data()));
      EXPECT_EQ(y.back(), -7.0f);
      Data in_place = data;
      kernel(make_row(c, in_place, in_place.x.data()));
      y.pop_back();
      EXPECT_EQ(y, in_place.x) << c.n;
    }
  }
}

TEST_P(NormTest, ZerosGiveZeros) {
  const NormKernels& k = kernels();
  const std::vector<float> x(19, 0.0f);
  std::vector<float> y(19, 1.0f);
  const NormRow row{x.data(), nullptr, nullptr, y.data(), 19, 1e-6f, false};
  k.rms_norm(row);
  EXPECT_EQ(y, x);
  k.layer_norm(row);
  EXPECT_EQ(y, x);
}

}  // namespace
}  // namespace ruvllm::kernels
