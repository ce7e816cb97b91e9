#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"

namespace ruvllm {
namespace {

// theta ^ (2i / dim) as f32, from the f32 exponent.
float wavelength(const RopeConfig& config, int64_t i) {
  const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.rotary_dim);
  return static_cast<float>(std::pow(config.theta, static_cast<double>(exponent)));
}

std::vector<float> plain_frequencies(const RopeConfig& config) {
  std::vector<float> inverse(static_cast<size_t>(config.rotary_dim / 2));
  for (size_t i = 0; i < inverse.size(); ++i) {
    inverse[i] = 1.0f / wavelength(config, static_cast<int64_t>(i));
  }
  return inverse;
}

std::vector<float> linear_frequencies(const RopeConfig& config) {
  std::vector<float> inverse = plain_frequencies(config);
  for (float& f : inverse) f /= static_cast<float>(config.factor);
  return inverse;
}

// Llama 3.1: long wavelengths are divided by the factor, short ones kept, a ramp between.
std::vector<float> llama3_frequencies(const RopeConfig& config) {
  std::vector<float> inverse = plain_frequencies(config);
  const auto original = static_cast<double>(config.original_max_positions);
  const auto low_wavelength = static_cast<float>(original / config.low_freq_factor);
  const auto high_wavelength = static_cast<float>(original / config.high_freq_factor);
  const auto factor = static_cast<float>(config.factor);
  const auto low = static_cast<float>(config.low_freq_factor);
  const auto span = static_cast<float>(config.high_freq_factor - config.low_freq_factor);
  for (float& f : inverse) {
    const float length = static_cast<float>(2.0 * std::numbers::pi) / f;
    if (length < high_wavelength) continue;
    if (length > low_wavelength) {
      f /= factor;
      continue;
    }
    const float smooth = (static_cast<float>(original) / length - low) / span;
    f = (1.0f - smooth) * f / factor + smooth * f;
  }
  return inverse;
}

// YaRN (arXiv 2309.00071): a ramp over the dimensions between the two numbers of rotations.
std::vector<float> yarn_frequencies(const RopeConfig& config) {
  const auto dim = static_cast<double>(config.rotary_dim);
  const auto original = static_cast<double>(config.original_max_positions);
  const auto correction_dim = [&](double rotations) {
    return dim * std::log(original / (rotations * 2.0 * std::numbers::pi)) /
           (2.0 * std::log(config.theta));
  };
  double low = correction_dim(config.beta_fast);
  double high = correction_dim(config.beta_slow);
  if (config.yarn_truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1.0);
  if (low == high) high += 0.001;

  std::vector<float> inverse(static_cast<size_t>(config.rotary_dim / 2));
  for (size_t i = 0; i < inverse.size(); ++i) {
    const float length = wavelength(config, static_cast<int64_t>(i));
    const float extrapolated = 1.0f / length;
    const float interpolated = 1.0f / (static_cast<float>(config.factor) * length);
    const float ramp = std::clamp(
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f,
        1.0f);
    const float keep = 1.0f - ramp;
    inverse[i] = interpolated * (1.0f - keep) + extrapolated * keep;
  }
  return inverse;
}

// 1 / (factor_i * theta^(2i/dim))
std::vector<float> divided_frequencies(const RopeConfig& config,
                                       const std::vector<float>& divisors) {
  RUVLLM_CHECK(divisors.size() == static_cast<size_t>(config.rotary_dim / 2), divisors.size());
  std::vector<float> inverse(divisors.size());
  for (size_t i = 0; i < inverse.size(); ++i) {
    inverse[i] = 1.0f / (divisors[i] * wavelength(config, static_cast<int64_t>(i)));
  }
  return inverse;
}

double yarn_magnitude(double factor, double multiplier) {
  return factor <= 1.0 ? 1.0 : 0.1 * multiplier * std::log(factor) + 1.0;
}

double attention_factor_of(const RopeConfig& config, int64_t max_positions) {
  if (config.attention_factor != 0.0) return config.attention_factor;
  if (config.scaling == RopeScaling::kYarn) {
    if (config.mscale != 0.0 && config.mscale_all_dim != 0.0) {
      return yarn_magnitude(config.factor, config.mscale) /
             yarn_magnitude(config.factor, config.mscale_all_dim);
    }
    return yarn_magnitude(config.factor, 1.0);
  }
  if (config.scaling == RopeScaling::kLongRope) {
    const auto original = static_cast<double>(config.original_max_positions);
    const double factor =
        config.factor != 1.0 ? config.factor : static_cast<double>(max_positions) / original;
    return factor <= 1.0 ? 1.0 : std::sqrt(1.0 + std::log(factor) / std::log(original));
  }
  return 1.0;
}

}  // namespace

RopeTable::RopeTable(const RopeConfig& config, int64_t max_positions)
    : pairs_(config.rotary_dim / 2),
      original_max_positions_(config.original_max_positions),
      attention_factor_(static_cast<float>(attention_factor_of(config, max_positions))) {
  switch (config.scaling) {
    case RopeScaling::kNone:
      inverse_frequencies_.push_back(config.freq_divisors.empty()
                                         ? plain_frequencies(config)
                                         : divided_frequencies(config, config.freq_divisors));
      break;
    case RopeScaling::kLinear:
      inverse_frequencies_.push_back(linear_frequencies(config));
      break;
    case RopeScaling::kLlama3:
      inverse_frequencies_.push_back(llama3_frequencies(config));
      break;
    case RopeScaling::kYarn:
      inverse_frequencies_.push_back(yarn_frequencies(config));
      break;
    case RopeScaling::kLongRope:
      inverse_frequencies_.push_back(divided_frequencies(config, config.short_factors));
      inverse_frequencies_.push_back(divided_frequencies(config, config.long_factors));
      break;
  }
}

void RopeTable::fill(int64_t position, uint8_t regime, float* cos, float* sin) const {
  RUVLLM_CHECK(regime < num_regimes(), static_cast<int>(regime));
  const std::vector<float>& inverse = inverse_frequencies_[regime];
  const auto place = static_cast<float>(position);
  for (size_t i = 0; i < inverse.size(); ++i) {
    const auto angle = static_cast<double>(place * inverse[i]);  // the f32 product
    cos[i] = static_cast<float>(std::cos(angle)) * attention_factor_;
    sin[i] = static_cast<float>(std::sin(angle)) * attention_factor_;
  }
}

}  // namespace ruvllm
