// SipHash-1-3 of 64-bit words (J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input
// PRF", 2012; one compression and three finalization rounds): without the key, nobody can choose
// inputs that collide. Values are the same on every machine. No state; any thread.
#pragma once

#include <bit>
#include <cstdint>

namespace ruvllm {

class SipHash {
 public:
  SipHash(uint64_t key0, uint64_t key1)
      : v0_(key0 ^ 0x736f6d6570736575u),
        v1_(key1 ^ 0x646f72616e646f6du),
        v2_(key0 ^ 0x6c7967656e657261u),
        v3_(key1 ^ 0x7465646279746573u) {}

  void add(uint64_t word) {
    v3_ ^= word;
    round();
    v0_ ^= word;
    ++num_words_;
  }

  uint64_t finish() {
    add(num_words_ << 59);  // the length in bytes, in the last word's top byte
    v2_ ^= 0xff;
    for (int i = 0; i < 3; ++i) round();
    return v0_ ^ v1_ ^ v2_ ^ v3_;
  }

 private:
  void round() {
    v0_ += v1_;
    v1_ = std::rotl(v1_, 13) ^ v0_;
    v0_ = std::rotl(v0_, 32);
    v2_ += v3_;
    v3_ = std::rotl(v3_, 16) ^ v2_;
    v0_ += v3_;
    v3_ = std::rotl(v3_, 21) ^ v0_;
    v2_ += v1_;
    v1_ = std::rotl(v1_, 17) ^ v2_;
    v2_ = std::rotl(v2_, 32);
  }

  uint64_t v0_;
  uint64_t v1_;
  uint64_t v2_;
  uint64_t v3_;
  uint64_t num_words_ = 0;
};

}  // namespace ruvllm
