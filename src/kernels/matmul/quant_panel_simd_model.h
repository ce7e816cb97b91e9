// The vectors of quant_panel_simd_avx512.h in plain C++, 16 lanes with a dot product, so that the
// tile kernels run on any machine. For tests; see there for what the functions mean.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/float_types.h"

namespace ruvllm::kernels::model {

struct Simd {
  struct I {
    uint32_t lane[16];
  };
  struct F {
    float lane[16];
  };
  static constexpr int kRows = 16;
  static constexpr int kTileX = 8;
  static constexpr bool kHasDot = true;
  static constexpr bool kSignedCodes = false;
  static constexpr int kRegisters = 32;
  static constexpr bool kFourStreams = false;
  static constexpr bool kPairsOfRows = false;

  template <class Vector>
  static Vector read(const void* p) {
    Vector v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  template <class Vector, class Lane>
  static Vector lanes(Lane lane) {
    Vector v;
    for (int i = 0; i < 16; ++i) v.lane[i] = lane(i);
    return v;
  }
  // On each 16 bits of a lane, and on each byte.
  template <class Half>
  static uint32_t halves(Half half) {
    return (half(0) & 0xffffU) | half(16) << 16;
  }
  template <class Byte>
  static uint32_t bytes(Byte byte) {
    return (byte(0) & 0xffU) | (byte(8) & 0xffU) << 8 | (byte(16) & 0xffU) << 16 | byte(24) << 24;
  }
  static int32_t low_half(uint32_t v) { return static_cast<int16_t>(v); }
  static int32_t high_half(uint32_t v) { return static_cast<int16_t>(v >> 16); }

  static I zero() { return I{}; }
  static F zero_f32() { return F{}; }
  static I load(const uint8_t* p) { return read<I>(p); }
  static void store(void* p, I v) { std::memcpy(p, &v, sizeof v); }
  static I broadcast_4(const void* p) {
    uint32_t word;
    std::memcpy(&word, p, 4);
    return lanes<I>([&](int) { return word; });
  }
  static F broadcast_f32(const void* p) {
    float word;
    std::memcpy(&word, p, 4);
    return lanes<F>([&](int) { return word; });
  }
  static I and_bytes(I a, int mask) {
    const uint32_t four = static_cast<uint32_t>(mask) * 0x01010101U;
    return lanes<I>([&](int i) { return a.lane[i] & four; });
  }
  static I or_bits(I a, I b) {
    return lanes<I>([&](int i) { return a.lane[i] | b.lane[i]; });
  }
  static I shift_left_16(I a, int n) {
    return lanes<I>(
        [&](int i) { return halves([&](int at) { return (a.lane[i] >> at & 0xffffU) << n; }); });
  }
  static I shift_right_16(I a, int n) {
    return lanes<I>(
        [&](int i) { return halves([&](int at) { return (a.lane[i] >> at & 0xffffU) >> n; }); });
  }
  static I shift_left_32(I a, int n) {
    return lanes<I>([&](int i) { return a.lane[i] << n; });
  }
  static I shift_right_32(I a, int n) {
    return lanes<I>(
        [&](int i) { return static_cast<uint32_t>(static_cast<int32_t>(a.lane[i]) >> n); });
  }
  static I set1_8(int v) {
    return and_bytes(lanes<I>([](int) { return ~0U; }), v & 0xff);
  }
  static I sub_8(I a, I b) {
    return lanes<I>([&](int i) {
      return bytes([&](int at) { return (a.lane[i] >> at) - (b.lane[i] >> at); });
    });
  }
  static I add_32(I a, I b) {
    return lanes<I>([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  static I sub_32(I a, I b) {
    return lanes<I>([&](int i) { return a.lane[i] - b.lane[i]; });
  }
  static I add_16(I a, I b) {
    return lanes<I>([&](int i) {
      return halves([&](int at) { return (a.lane[i] >> at) + (b.lane[i] >> at); });
    });
  }
  static I sub_16(I a, I b) {
    return lanes<I>([&](int i) {
      return halves([&](int at) { return (a.lane[i] >> at) - (b.lane[i] >> at); });
    });
  }
  static I dot_pairs_16(I w, I x) {
    return lanes<I>([&](int i) {
      return static_cast<uint32_t>(low_half(w.lane[i]) * low_half(x.lane[i]) +
                                   high_half(w.lane[i]) * high_half(x.lane[i]));
    });
  }
  static I widen_pairs(I a) {
    return lanes<I>(
        [&](int i) { return static_cast<uint32_t>(low_half(a.lane[i]) + high_half(a.lane[i])); });
  }
  static I dot_fours(I sum, I w, I x) {
    return lanes<I>([&](int i) {
      uint32_t total = sum.lane[i];
      for (int at = 0; at < 32; at += 8) {
        const auto weight = static_cast<int32_t>(w.lane[i] >> at & 0xff);
        total += static_cast<uint32_t>(weight * static_cast<int8_t>(x.lane[i] >> at));
      }
      return total;
    });
  }
  static F to_f32(I a) {
    return lanes<F>([&](int i) { return static_cast<float>(static_cast<int32_t>(a.lane[i])); });
  }
  static F mul(F a, F b) {
    return lanes<F>([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  static F fma(F a, F b, F c) {
    return lanes<F>([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
  }
  static F negate(F a) {
    return lanes<F>([&](int i) { return -a.lane[i]; });
  }
  static F load_f16(const uint8_t* p) {
    return lanes<F>([&](int i) {
      uint16_t bits;
      std::memcpy(&bits, p + 2 * i, sizeof bits);
      return f16_to_f32(bits);
    });
  }
  static F load_u8(const uint8_t* p) {
    return lanes<F>([&](int i) { return static_cast<float>(p[i]); });
  }
  static F load_i8(const uint8_t* p) {
    return lanes<F>([&](int i) { return static_cast<float>(static_cast<int8_t>(p[i])); });
  }
  static I load_i16(const uint8_t* p) {
    return lanes<I>([&](int i) {
      uint16_t bits;
      std::memcpy(&bits, p + 2 * i, sizeof bits);
      return uint32_t{bits};
    });
  }
  static I load_bytes(const uint8_t* p) {
    return lanes<I>([&](int i) { return uint32_t{p[i]}; });
  }
  static I load_nibbles(const uint8_t* p) {
    return lanes<I>(
        [&](int i) { return uint32_t{p[i % (kRows / 2)]} >> (i / (kRows / 2) * 4) & 15U; });
  }
  static F load_f32(const float* p) { return read<F>(p); }
  static void store_f32(float* p, F v) { std::memcpy(p, &v, sizeof v); }
};

}  // namespace ruvllm::kernels::model
