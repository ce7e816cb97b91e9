// What tests of quantizers share.
#pragma once

#include <cstdint>
#include <vector>

#include "base/rng.h"

namespace ruvllm {

// Between -1 and 1, most near 0 (the sum of two uniform ones); the same for the same seed.
inline std::vector<float> random_values(int64_t count, uint64_t seed) {
  std::vector<float> out;
  for (int64_t i = 0; i < count; ++i) {
    out.push_back(static_cast<float>(random_uniform(seed, 0, static_cast<uint64_t>(i)) +
                                     random_uniform(seed, 1, static_cast<uint64_t>(i)) - 1.0));
  }
  return out;
}

}  // namespace ruvllm
