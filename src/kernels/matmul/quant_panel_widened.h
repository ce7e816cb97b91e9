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
    float scale[2][kRows];  // grouped formats: in the first group under it
    int16_t codes[kPairs][2][2 * kRows];
  };
  alignas(64) Group groups[kGroups];

  // w: where the groups begin in the two panels; a whole scale of a grouped format.
  void widen(const uint8_t* const (&w)[2], int64_t count, int64_t scale_groups) {
    for (int n = 0; n < 2; ++n) {
      const uint8_t* from = w[n];
      I zero = S::set1_16(128);  // of Q8_0
      int64_t left = 0;
      for (int64_t g = 0; g < count; ++g) {
        Group& to = groups[g];
        if constexpr (Fmt::kGrouped) {
          if (left == 0) {
            S::store_f32(to.scale[n], S::load_f32((const float*)from));
            const I low = S::load_i16(from + 4 * kRows);
            zero = S::or_bits(low, S::shift_left_32(low, 16));
            from += Fmt::header_bytes(kRows);
            left = scale_groups;
          }
          --left;
        } else {
          S::store_f32(to.scale[n], S::load_f16(from));
        }
        const uint8_t* codes = Fmt::kGrouped ? from : from + 2 * kRows;
        for (int j = 0; j < 8; ++j) {
          const I four = S::load(codes + j * kRows * 4);
          S::store(to.codes[2 * j][n], S::sub_16(S::even_bytes(four), zero));
          S::store(to.codes[2 * j + 1][n], S::sub_16(S::odd_bytes(four), zero));
        }
        from += Fmt::group_bytes(kRows);
      }
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

  // Adds the groups of the range, which are all here, to sums: [MX][2][R]. x: the tile, at the
  // first of them.
  template <int MX>
  void add(const uint32_t* x, const GroupRange& range, float* sums) const {
    if constexpr (Fmt::kGrouped) return add_grouped<MX>(x, range, sums);
    for (int64_t g = 0; g < range.count; ++g, x += kWords * MX) {
      I dot[MX][2];
      dots(groups[g], x, dot);
      const F scale[2] = {S::load_f32(groups[g].scale[0]), S::load_f32(groups[g].scale[1])};
#pragma GCC unroll 8
      for (int t = 0; t < MX; ++t) {
        const F scale_x = S::broadcast_f32(x + kPairs * MX + t);
#pragma GCC unroll 2
        for (int n = 0; n < 2; ++n) {
          float* sum = sums + (t * 2 + n) * kRows;
          S::store_f32(sum,
                       S::fma(S::to_f32(dot[t][n]), S::mul(scale[n], scale_x), S::load_f32(sum)));
        }
      }
      __asm__ volatile("" ::: "memory");  // the sums stay in memory
    }
  }

  template <int MX>
  void add_grouped(const uint32_t* x, const GroupRange& range, float* sums) const {
    alignas(64) float parts[MX * 2 * kRows];
    for (int64_t first = 0; first < range.count; first += range.scale_groups) {
      const int64_t left = range.count - first;
      const int64_t last = first + (range.scale_groups < left ? range.scale_groups : left);
      for (int i = 0; i < MX * 2; ++i) S::store_f32(parts + i * kRows, S::zero_f32());
      for (int64_t g = first; g < last; g += range.x_groups) {
        const int64_t block = range.x_groups < last - g ? range.x_groups : last - g;
        add_block<MX>(&groups[g], x, block, parts);
        x += block * kWords * MX;
        __asm__ volatile("" ::: "memory");
      }
      for (int i = 0; i < MX * 2; ++i) {
        const F scale = S::load_f32(groups[first].scale[i % 2]);
        float* sum = sums + i * kRows;
        S::store_f32(sum, S::fma(S::load_f32(parts + i * kRows), scale, S::load_f32(sum)));
      }
    }
  }

  // `count` groups under one scale of x.
  template <int MX>
  static RUVLLM_INLINE void add_block(const Group* w, const uint32_t* x, int64_t count,
                                      float* parts) {
    I dot[MX][2];
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
#pragma GCC unroll 8
    for (int t = 0; t < MX; ++t) {
      const F scale_x = S::broadcast_f32(x + kPairs * MX + t);
#pragma GCC unroll 2
      for (int n = 0; n < 2; ++n) {
        float* part = parts + (t * 2 + n) * kRows;
        S::store_f32(part, S::fma(S::to_f32(dot[t][n]), scale_x, S::load_f32(part)));
      }
    }
  }
};

}  // namespace
}  // namespace ruvllm::kernels
