// A counter-based random generator: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy
// as 1, 2, 3", 2011). The numbers at (seed, stream, position) do not depend on what was drawn
// before, so a sequence that is preempted, resumed or computed on another machine draws the same
// ones. No state; any thread.
#pragma once

#include <array>
#include <cstdint>

namespace ruvllm {

using PhiloxBlock = std::array<uint32_t, 4>;

inline PhiloxBlock philox4x32(PhiloxBlock counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9u;  // golden ratio
    key[1] += 0xBB67AE85u;  // sqrt(3) - 1
  }
  return counter;
}

// 64 random bits of (seed, stream, position).
inline uint64_t random_bits(uint64_t seed, uint64_t stream, uint64_t position) {
  const PhiloxBlock block =
      philox4x32({static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32),
                  static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)},
                 {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return (uint64_t{block[1]} << 32) | block[0];
}

// Uniform in [0, 1), 53 bits.
inline double random_uniform(uint64_t seed, uint64_t stream, uint64_t position) {
  return static_cast<double>(random_bits(seed, stream, position) >> 11) * 0x1p-53;
}

}  // namespace ruvllm
