// Helpers of the kernel tests only.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/kernel_lists.h"

namespace ruvllm::kernels::test {

// Numbers that are the same on every machine and run.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint32_t next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    const auto mixed = static_cast<uint32_t>((state_ ^ (state_ >> 29)) >> 27);
    return mixed * 0x9e3779b1u ^ static_cast<uint32_t>(state_ >> 32);
  }
  // In [-limit, limit).
  float uniform(float limit) { return (static_cast<float>(next() >> 8) * 0x1p-23f - 1.0f) * limit; }
  std::vector<float> vector(int64_t n, float limit) {
    std::vector<float> out(static_cast<size_t>(n));
    for (float& value : out) value = uniform(limit);
    return out;
  }

 private:
  uint64_t state_;
};

// A test that runs once per kernel of a list. What this machine cannot run is compiled but reported
// as skipped, never as passed. Instantiate with INSTANTIATE_TEST_SUITE_P(Isa, ThatTest,
// test::rows_of(list), test::row_name<Kernels>).
template <typename Kernels>
class KernelTest : public testing::TestWithParam<KernelRow<Kernels>> {
 protected:
  void SetUp() override {
    const IsaLevel isa = this->GetParam().isa;
    if (!isa_supported(isa)) GTEST_SKIP() << "not run: this machine has no " << isa_name(isa);
  }
  const Kernels& kernels() const { return *this->GetParam().kernels; }
};

template <typename Kernels>
auto rows_of(std::span<const KernelRow<Kernels>> list) {
  return testing::ValuesIn(list.begin(), list.end());
}

template <typename Kernels>
std::string row_name(const testing::TestParamInfo<KernelRow<Kernels>>& info) {
  return std::string(isa_name(info.param.isa));
}

// Distance in units of the last place of the exact value, which is rounded to no format.
inline double ulps(float got, double exact) {
  if (std::isnan(got) || std::isnan(exact)) return std::isnan(got) && std::isnan(exact) ? 0 : 1e30;
  if (std::isinf(got) || std::isinf(exact)) return got == exact ? 0 : 1e30;
  const double magnitude = std::fmax(std::fabs(exact), 0x1p-126);
  const double ulp = std::ldexp(1.0, std::ilogb(magnitude) - 23);
  return std::fabs(static_cast<double>(got) - exact) / ulp;
}

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kEps = 0x1p-24;  // half an ulp of 1: one rounding

}  // namespace ruvllm::kernels::test
