#include "base/float_types.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace ruvllm {
namespace {

// The nearest value of a set of 16-bit floats, ties to the even pattern, found by trying them all:
// an independent statement of what rounding means.
template <typename ToFloat>
uint16_t nearest_by_search(float value, ToFloat to_f32) {
  uint16_t best = 0;
  double best_distance = std::numeric_limits<double>::infinity();
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float candidate = to_f32(static_cast<uint16_t>(bits));
    if (!std::isfinite(candidate) || std::signbit(candidate) != std::signbit(value)) continue;
    const double distance = std::fabs(static_cast<double>(candidate) - static_cast<double>(value));
    if (distance < best_distance || (distance == best_distance && (bits & 1) == 0)) {
      best_distance = distance;
      best = static_cast<uint16_t>(bits);
    }
  }
  return best;
}

TEST(FloatTypes, F16RoundTripsEveryPattern) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = f16_to_f32(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(value))));
    } else {
      ASSERT_EQ(f32_to_f16(value), bits);
    }
  }
}

TEST(FloatTypes, Bf16RoundTripsEveryPattern) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = bf16_to_f32(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(value))));
    } else {
      ASSERT_EQ(f32_to_bf16(value), bits);
    }
  }
}

TEST(FloatTypes, RoundsToNearestEven) {
  for (const float value :
       {1.0f, 1.0004883f, 1.0014648f, 0.1f, -3.14159f, 65504.0f, 6.1e-5f, 6.0e-5f, 5.9604645e-8f,
        8.9406967e-8f, -1.2345e-6f, 1023.5f, 2049.0f, 2051.0f}) {
    EXPECT_EQ(f32_to_f16(value), nearest_by_search(value, f16_to_f32)) << value;
    EXPECT_EQ(f32_to_bf16(value), nearest_by_search(value, bf16_to_f32)) << value;
  }
  EXPECT_EQ(f32_to_f16(65519.996f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(2.9802322e-8f), 0);  // exactly half of the smallest: to even
  EXPECT_EQ(f32_to_f16(2.9802326e-8f), 1);
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
}

TEST(FloatTypes, EightBitFloats) {
  EXPECT_EQ(f8e4m3_to_f32(0x7e), 448.0f);
  EXPECT_TRUE(std::isnan(f8e4m3_to_f32(0x7f)));
  EXPECT_EQ(f8e4m3_to_f32(0x01), 0x1p-9f);
  EXPECT_EQ(f8e4m3_to_f32(0x08), 0x1p-6f);
  EXPECT_EQ(f8e4m3_to_f32(0xb8), -1.0f);
  EXPECT_EQ(f8e5m2_to_f32(0x3c), 1.0f);
  EXPECT_EQ(f8e5m2_to_f32(0x7b), 57344.0f);
  EXPECT_TRUE(std::isinf(f8e5m2_to_f32(0xfc)));
}

}  // namespace
}  // namespace ruvllm
