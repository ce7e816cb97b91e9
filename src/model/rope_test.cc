#include "model/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace ruvllm {
namespace {

RopeConfig config_of(RopeScaling scaling) {
  RopeConfig config;
  config.rotary_dim = 8;
  config.scaling = scaling;
  return config;
}

TEST(RopeTable, PlainAndLinear) {
  const RopeTable plain(config_of(RopeScaling::kNone), 100);
  const float want[] = {1.0f, 0.1f, 0.01f, 0.001f};
  RopeConfig linear = config_of(RopeScaling::kLinear);
  linear.factor = 4.0;
  const RopeTable scaled(linear, 100);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(plain.inverse_frequencies(0)[i], want[i]);
    EXPECT_FLOAT_EQ(scaled.inverse_frequencies(0)[i], want[i] / 4);
  }
  float cos[4];
  float sin[4];
  plain.fill(7, 0, cos, sin);
  EXPECT_FLOAT_EQ(cos[1], std::cos(0.7f));
  EXPECT_FLOAT_EQ(sin[0], std::sin(7.0f));
}

TEST(RopeTable, FrequencyDivisors) {
  RopeConfig config = config_of(RopeScaling::kNone);
  config.freq_divisors = {1.0f, 2.0f, 4.0f, 8.0f};
  const RopeTable table(config, 100);
  EXPECT_FLOAT_EQ(table.inverse_frequencies(0)[3], 0.001f / 8);
}

TEST(RopeTable, Llama3KeepsShortAndDividesLongWavelengths) {
  RopeConfig config = config_of(RopeScaling::kLlama3);
  config.factor = 8.0;
  config.original_max_positions = 256;
  const RopeTable table(config, 2048);
  // Wavelengths 6.3, 63, 628, 6283 against 256/4 = 64 and 256/1 = 256.
  EXPECT_FLOAT_EQ(table.inverse_frequencies(0)[0], 1.0f);
  EXPECT_FLOAT_EQ(table.inverse_frequencies(0)[1], 0.1f);
  EXPECT_FLOAT_EQ(table.inverse_frequencies(0)[2], 0.01f / 8);
  EXPECT_FLOAT_EQ(table.inverse_frequencies(0)[3], 0.001f / 8);
}

TEST(RopeTable, LongRopeChangesRegimeBeyondTheOriginalLength) {
  RopeConfig config = config_of(RopeScaling::kLongRope);
  config.original_max_positions = 64;
  config.short_factors = {1, 1, 1, 1};
  config.long_factors = {1, 2, 3, 4};
  const RopeTable table(config, 256);
  EXPECT_EQ(table.regime(64), 0);
  EXPECT_EQ(table.regime(65), 1);
  EXPECT_FLOAT_EQ(table.inverse_frequencies(1)[3], 0.001f / 4);
  EXPECT_FLOAT_EQ(table.attention_factor(),
                  static_cast<float>(std::sqrt(1.0 + std::log(4.0) / std::log(64.0))));
}

TEST(RopeTable, YarnMagnitude) {
  RopeConfig config = config_of(RopeScaling::kYarn);
  config.factor = 4.0;
  config.original_max_positions = 64;
  EXPECT_FLOAT_EQ(RopeTable(config, 256).attention_factor(),
                  static_cast<float>(0.1 * std::log(4.0) + 1.0));
  config.mscale = 2.0;
  config.mscale_all_dim = 1.0;
  EXPECT_FLOAT_EQ(RopeTable(config, 256).attention_factor(),
                  static_cast<float>((0.2 * std::log(4.0) + 1.0) / (0.1 * std::log(4.0) + 1.0)));
  config.attention_factor = 0.75;
  EXPECT_FLOAT_EQ(RopeTable(config, 256).attention_factor(), 0.75f);
}

}  // namespace
}  // namespace ruvllm
