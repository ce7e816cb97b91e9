#include "base/line_vector.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>

namespace ruvllm {
namespace {

TEST(LineVector, BeginsAtALine) {
  for (const size_t count : {1u, 3u, 17u, 1000u, 100000u}) {
    LineVector<float> values(count, 2.0f);
    LineVector<double> others(count);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(values.data()) % 64, 0u) << count;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(others.data()) % 64, 0u) << count;
    values.push_back(3.0f);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(values.data()) % 64, 0u) << count;
    EXPECT_EQ(values.front(), 2.0f);
    EXPECT_EQ(values.back(), 3.0f);
  }
}

TEST(LineVector, MovesItsMemory) {
  LineVector<float> from(40, 1.0f);
  const float* const data = from.data();
  const LineVector<float> to = std::move(from);
  EXPECT_EQ(to.data(), data);
}

}  // namespace
}  // namespace ruvllm
