// The integer formats as compile-time constants, for the kernels' templates. The same facts as
// tensor/quant_layout.cc (a test compares them).
#pragma once

namespace ruvllm::kernels {
namespace {

template <int kBitsV, int kZeroLog2V, bool kMinimumV, bool kTwoLevelV, bool kHalvesV>
struct Format {
  static constexpr int kBits = kBitsV;
  static constexpr int kZeroLog2 = kZeroLog2V;  // zero = 2^this; -1: zero = 0
  static constexpr bool kMinimum = kMinimumV;
  static constexpr bool kTwoLevel = kTwoLevelV;
  static constexpr bool kHalves = kHalvesV;
  static constexpr bool kGrouped = false;
  static constexpr bool kBytes = kBits == 8;  // a byte for each code

  // Bytes of a group's record, and of what precedes eight groups, for `rows` rows.
  static constexpr int group_bytes(int rows) {
    const int scale = kTwoLevel ? (kHalves ? 2 : 1) : 2;
    const int minimum = kMinimum ? (kTwoLevel ? 1 : 2) : 0;
    const int high = kBits == 5 ? 4 : kBits == 6 ? 8 : 0;
    return rows * (scale + minimum + high + (kBits == 8 ? 32 : 16));
  }
  static constexpr int super_bytes(int rows) { return kTwoLevel ? rows * (kMinimum ? 4 : 2) : 0; }
};

// Codes of QuantizedMatrix: a scale and a zero point before every `scale_groups` groups, or, with
// half scales, two of each before every group.
template <int kBitsV, bool kHalvesV = false>
struct Grouped {
  static constexpr int kBits = kBitsV;
  static constexpr int kZeroLog2 = -1;
  static constexpr bool kMinimum = false;
  static constexpr bool kTwoLevel = false;
  static constexpr bool kHalves = kHalvesV;
  static constexpr bool kGrouped = true;
  static constexpr bool kBytes = kBits == 8;

  static constexpr int group_bytes(int rows) { return rows * kBits * 4; }
  static constexpr int super_bytes(int) { return 0; }
  // compact: QuantPanelArgs::compact_scales.
  static constexpr int header_bytes(int rows, bool compact) {
    constexpr int kScales = kHalves ? 2 : 1;
    if (!compact) return rows * 6 * kScales;
    constexpr bool kBytes = kHalves ? kBits > 2 : kBits == 8;  // of zero points; else nibbles
    return rows * 2 * kScales + (kBytes ? rows : rows / 2);
  }
};

using Q8_0 = Format<8, 7, false, false, false>;
using Q4_0 = Format<4, 3, false, false, false>;
using Q4_1 = Format<4, -1, true, false, false>;
using Q5_0 = Format<5, 4, false, false, false>;
using Q5_1 = Format<5, -1, true, false, false>;
using Q4_K = Format<4, -1, true, true, false>;
using Q5_K = Format<5, -1, true, true, false>;
using Q6_K = Format<6, 5, false, true, true>;
using I8 = Grouped<8>;
using I4 = Grouped<4>;
using I3 = Grouped<3>;
using I2 = Grouped<2>;
using I4H = Grouped<4, true>;
using I3H = Grouped<3, true>;
using I2H = Grouped<2, true>;

}  // namespace
}  // namespace ruvllm::kernels
