// A pair of panels with 8-bit codes made ready for many rows of x, where the instruction set has no
// dot product of bytes: codes as 16-bit numbers counted from zero, scales as f32. Every tile of x
// would otherwise do that again. A few groups at a time, so that they and a tile of x stay in the
// first-level cache. The arithmetic is that of quant_panel.h, bit for bit.
#pragma once

#include "kernels/matmul/quant_panel.h"
#include "kernels/matmul/quant_panel_formats.h"
#include "kernels/matmul/quant_panel_tile.h"

namespace ruvllm::kernels {
namespace {

template <class S, class Fmt>
struct WidenedPair {
  using I = typename S::I;
  using F = typename S::F;
  static constexpr int kRows = S::kRows;
  static constexpr int kGroups = 128 / kRows;                 // 17 KB
  static constexpr int kPairs = DotForm<S, Fmt>::kCodeWords;  // of a group of a row
  static constexpr int kWords = DotForm<S, Fmt>::kWords;      // of a record of x

  struct Group {
    float scale[2][kRows];
    int16_t codes[kPairs][2][2 * kRows];
  };
  alignas(64) Group groups[kGroups];

  // The groups of the range.
  void widen(const uint8_t* const (&panels)[2], const GroupRange& range) {
    PanelBlocks<S, Fmt, 2> w(panels, range);
    for (int64_t first = 0; first < range.count; first += kXBlock) {
      const int64_t left = range.count - first;
      const int64_t count = kXBlock < left ? int64_t{kXBlock} : left;
      w.next(count);
      for (int64_t i = 0; i < count; ++i) {
        for (int n = 0; n < 2; ++n) widen_group(w, i, n, groups[first + i]);
      }
    }
  }

  static void widen_group(const PanelBlocks<S, Fmt, 2>& w, int64_t i, int n, Group& to) {
    I minus_zero = S::set1_16(-128);  // of Q8_0
    if constexpr (Fmt::kGrouped) {
      const I low = w.zero_point(i, n);
      minus_zero = S::sub_16(S::zero(), S::or_bits(low, S::shift_left_32(low, 16)));
    }
    S::store_f32(to.scale[n], w.scale(i, n, 0));
    const uint8_t* const codes = w.codes(i, n);
    for (int j = 0; j < 8; ++j) {
      const I four = S::load(codes + j * kRows * 4);
      S::store(to.codes[2 * j][n], S::add_16(S::even_bytes(four), minus_zero));
      S::store(to.codes[2 * j + 1][n], S::add_16(S::odd_bytes(four), minus_zero));
    }
  }

  // The integer dots of one group with MX rows.
  template <int MX>
  static RUVLLM_INLINE void dots(const Group& w, const uint32_t* x, I (&dot)[MX][2]) {
#pragma GCC unroll 16
    for (int step = 0; step < kPairs; ++step) {
      const I w0 = S::load((const uint8_t*)w.codes[step][0]);
      const I w1 = S::load((const uint8_t*)w.codes[step][1]);
#pragma GCC unroll 8
      for (int t = 0; t < MX; ++t) {
        const I pair = S::broadcast_4(x + step * MX + t);
        if (step == 0) {
          dot[t][0] = S::dot_pairs_16(w0, pair);
          dot[t][1] = S::dot_pairs_16(w1, pair);
        } else {
          S::add_dot_pairs_16(dot[t][0], w0, pair);
          S::add_dot_pairs_16(dot[t][1], w1, pair);
        }
      }
    }
  }

  // Adds the groups of the range, which are all here, to sums: [MX][2][R], as PanelTile::run()
  // does. x: the tile, at the first of them.
  template <int MX>
  void add(const uint32_t* x, const GroupRange& range, float* sums) const {
    const int64_t unit = Fmt::kGrouped ? unit_groups(range.scale_groups, range.all) : 1;
    const bool exact = Fmt::kGrouped && range.one_x_scale;
    for (int64_t first = 0; first < range.count; first += kXBlock) {
      const int64_t left = range.count - first;
      const int64_t count = kXBlock < left ? int64_t{kXBlock} : left;
      if (exact) {
        add_exact<MX>(&groups[first], x, count, sums);
      } else {
        add_block<MX>(&groups[first], x, count, unit, sums);
      }
      x += count * kWords * MX;
      __asm__ volatile("" ::: "memory");  // the sums stay in memory
    }
    if (exact && range.first + range.count == range.all) {
      end_exact<MX>(x - kWords * MX, sums);
    }
  }

  // The dots of `count` groups under one scale.
  template <int MX>
  static RUVLLM_INLINE void unit_dots(const Group* w, const uint32_t* x, int64_t count,
                                      I (&dot)[MX][2]) {
    dots(*w, x, dot);
    for (int64_t g = 1; g < count; ++g) {
      I more[MX][2];
      dots(w[g], x + g * kWords * MX, more);
#pragma GCC unroll 8
      for (int t = 0; t < MX; ++t) {
        dot[t][0] = S::add_32(dot[t][0], more[t][0]);
        dot[t][1] = S::add_32(dot[t][1], more[t][1]);
      }
    }
  }

  template <int MX>
  static RUVLLM_INLINE void add_block(const Group* w, const uint32_t* x, int64_t count,
                                      int64_t unit, float* sums) {
    F part[MX][2];
#pragma GCC unroll 8
    for (int t = 0; t < MX; ++t) part[t][0] = part[t][1] = S::zero_f32();
    for (int64_t i = 0; i < count; i += unit) {
      __asm__ volatile("" : "+m"(part));  // dots need the registers
      I dot[MX][2];
      unit_dots(w + i, x + i * kWords * MX, unit < count - i ? unit : count - i, dot);
      const F scale[2] = {S::load_f32(w[i].scale[0]), S::load_f32(w[i].scale[1])};
#pragma GCC unroll 8
      for (int t = 0; t < MX; ++t) {
        part[t][0] = S::fma(S::to_f32(dot[t][0]), scale[0], part[t][0]);
        part[t][1] = S::fma(S::to_f32(dot[t][1]), scale[1], part[t][1]);
      }
    }
#pragma GCC unroll 8
    for (int t = 0; t < MX; ++t) {
      const F scale_x = S::broadcast_f32(x + kPairs * MX + t);
#pragma GCC unroll 2
      for (int n = 0; n < 2; ++n) {
        float* const sum = sums + (t * 2 + n) * kRows;
        S::store_f32(sum, S::fma(part[t][n], scale_x, S::load_f32(sum)));
      }
    }
  }

  template <int MX>
  static RUVLLM_INLINE void add_exact(const Group* w, const uint32_t* x, int64_t count,
                                      float* sums) {
    I dot[MX][2];
    unit_dots(w, x, count, dot);
#pragma GCC unroll 16
    for (int i = 0; i < MX * 2; ++i) {
      float* const sum = sums + i * kRows;
      S::store(sum, S::add_32(S::load((const uint8_t*)sum), dot[i / 2][i % 2]));
    }
  }
  template <int MX>
  void end_exact(const uint32_t* x, float* sums) const {
    for (int i = 0; i < MX * 2; ++i) {
      float* const sum = sums + i * kRows;
      const F total = S::to_f32(S::load((const uint8_t*)sum));
      const F part = S::fma(total, S::load_f32(groups[0].scale[i % 2]), S::zero_f32());
      S::store_f32(sum, S::fma(part, S::broadcast_f32(x + kPairs * MX + i / 2), S::zero_f32()));
    }
  }
};

}  // namespace
}  // namespace ruvllm::kernels
