// The kernels of quant_panel.h, once, over an instruction set's `Simd` (see quant_panel_avx2.cc for
// what it must have). Lanes are rows of w, so that nothing is added across lanes and every
// instruction set sums in the same order.
//
// A tile is MX rows of x times NV panels. Without a dot product instruction (Simd::kHasDot) codes
// of up to 6 bits use 8-bit multiply-adds whose 16-bit sums are widened before they can overflow: a
// pair adds at most 2 * 2^bits * 127, so 8, 4 and 2 pairs of 4, 5 and 6 bits fit; 8-bit codes are
// split into even and odd columns and multiplied as 16-bit pairs, which cannot overflow.
#pragma once

#include "kernels/matmul/quant_panel.h"
#include "kernels/matmul/quant_panel_formats.h"

namespace ruvllm::kernels {
namespace {

#define RUVLLM_INLINE inline __attribute__((always_inline))

// Codes of the columns 4j ... 4j + 3 of a group. `high` and `codes`: its planes.
template <class S, class Fmt>
RUVLLM_INLINE typename S::I load_codes(const uint8_t* high, const uint8_t* codes, int j) {
  constexpr int kVector = S::kRows * 4;
  if constexpr (Fmt::kBits == 8) return S::load(codes + j * kVector);
  const typename S::I both = S::load(codes + (j & 3) * kVector);
  const typename S::I low = S::and_bytes(j < 4 ? both : S::shift_right_16(both, 4), 15);
  if constexpr (Fmt::kBits == 4) return low;
  if constexpr (Fmt::kBits == 5) {
    const typename S::I plane = S::load(high);
    const typename S::I bit =
        j < 4 ? S::shift_left_16(plane, 4 - j) : S::shift_right_16(plane, j - 4);
    return S::or_bits(low, S::and_bytes(bit, 16));
  }
  const typename S::I plane = S::load(high + (j / 4) * kVector);
  const int at = 2 * (j & 3);
  const typename S::I bits =
      at < 4 ? S::shift_left_16(plane, 4 - at) : S::shift_right_16(plane, at - 4);
  return S::or_bits(low, S::and_bytes(bits, 48));
}

// Integer dots of the fours [kFirst, kFirst + kCount) of one group: [MX][NV].
template <class S, class Fmt, int MX, int NV>
struct GroupDot {
  using I = typename S::I;
  static constexpr bool kWide = Fmt::kBits == 8 && !S::kHasDot;  // Int16Group
  using Group = typename S::template Select<kWide, Int16Group, Int8Group>::Type;
  // Fours whose 16-bit sums fit.
  static constexpr int kFlush = Fmt::kBits == 4 ? 8 : Fmt::kBits == 5 ? 4 : 2;

  // One half of the columns at a time: all else would not fit the registers.
  static RUVLLM_INLINE void run_wide(const uint8_t* const* codes, const Group* const* x,
                                     I (&dot)[MX][NV]) {
#pragma GCC unroll 16
    for (int step = 0; step < 16; ++step) {
      I w[NV];
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) {
        const I four = S::load(codes[n] + step / 2 * S::kRows * 4);
        w[n] = step % 2 == 0 ? S::even_bytes(four) : S::odd_bytes(four);
      }
#pragma GCC unroll 8
      for (int t = 0; t < MX; ++t) {
        const I pair = S::broadcast_4(x[t]->codes + 2 * step);
#pragma GCC unroll 4
        for (int n = 0; n < NV; ++n) {
          const I sum = S::dot_pairs_16(w[n], pair);
          dot[t][n] = step == 0 ? sum : S::add_32(dot[t][n], sum);
        }
      }
    }
  }

  template <int kFirst, int kCount>
  static RUVLLM_INLINE void run(const uint8_t* const* high, const uint8_t* const* codes,
                                const Group* const* x, I (&dot)[MX][NV]) {
    if constexpr (kWide) return run_wide(codes, x, dot);
    I narrow[MX][NV];
#pragma GCC unroll 8
    for (int step = 0; step < kCount; ++step) {
      const int j = kFirst + step;
      I w[NV];
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) w[n] = load_codes<S, Fmt>(high[n], codes[n], j);
#pragma GCC unroll 8
      for (int t = 0; t < MX; ++t) {
        if constexpr (S::kHasDot) {
          const I four = S::broadcast_4(x[t]->codes + 4 * j);
#pragma GCC unroll 4
          for (int n = 0; n < NV; ++n) {
            dot[t][n] = S::dot_fours(step == 0 ? S::zero() : dot[t][n], w[n], four);
          }
        } else {
          const I four = S::broadcast_4(x[t]->codes + 4 * j);
#pragma GCC unroll 4
          for (int n = 0; n < NV; ++n) {
            const I pairs = S::dot_pairs_8(w[n], four);
            narrow[t][n] = step % kFlush == 0 ? pairs : S::add_16(narrow[t][n], pairs);
            if (step % kFlush == kFlush - 1) {
              const I wide = S::widen_pairs(narrow[t][n]);
              dot[t][n] = step < kFlush ? wide : S::add_32(dot[t][n], wide);
            }
          }
        }
      }
    }
  }
};

template <class S, class Fmt, int MX, int NV>
struct PanelTile {
  using I = typename S::I;
  using F = typename S::F;
  using Dot = GroupDot<S, Fmt, MX, NV>;
  using Group = typename Dot::Group;
  static constexpr int kRows = S::kRows;

  // sum[t][n] += dot * (scale * scale_x), where codes are counted from zero.
  static RUVLLM_INLINE void add_scaled(I (&dot)[MX][NV], const F (&scale)[NV],
                                       const Group* const* x, const int32_t* const* x_sum,
                                       F (&sum)[MX][NV]) {
#pragma GCC unroll 8
    for (int t = 0; t < MX; ++t) {
      const F scale_x = S::broadcast_f32(&x[t]->scale);
      I offset = S::zero();
      if constexpr (Fmt::kZeroLog2 >= 0) {
        offset = S::template shift_left_32<(Fmt::kZeroLog2 >= 0 ? Fmt::kZeroLog2 : 0)>(
            S::broadcast_4(x_sum[t]));
      }
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) {
        I counted = dot[t][n];
        if constexpr (Fmt::kZeroLog2 >= 0) counted = S::sub_32(counted, offset);
        sum[t][n] = S::fma(S::to_f32(counted), S::mul(scale[n], scale_x), sum[t][n]);
      }
    }
  }

  // One group of all panels; returns where the next begins. d, m: the two-level factors.
  static RUVLLM_INLINE void group(const uint8_t* (&w)[NV], const F (&d)[NV], const F (&m)[NV],
                                  const Group* const* x, F (&sum)[MX][NV]) {
    const uint8_t* high[NV];
    const uint8_t* codes[NV];
    const uint8_t* scales[NV];
    const uint8_t* minimums[NV];
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) {
      scales[n] = w[n];
      minimums[n] = scales[n] + kRows * (Fmt::kTwoLevel ? (Fmt::kHalves ? 2 : 1) : 2);
      high[n] = minimums[n] + (Fmt::kMinimum ? kRows * (Fmt::kTwoLevel ? 1 : 2) : 0);
      codes[n] = high[n] + kRows * (Fmt::kBits == 5 ? 4 : Fmt::kBits == 6 ? 8 : 0);
      w[n] += Fmt::group_bytes(kRows);
    }
    I dot[MX][NV];
    F scale[NV];
    const int32_t* x_sum[MX];
    if constexpr (Fmt::kHalves) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        if (half == 0) {
          Dot::template run<0, 4>(high, codes, x, dot);
        } else {
          Dot::template run<4, 4>(high, codes, x, dot);
        }
#pragma GCC unroll 4
        for (int n = 0; n < NV; ++n) scale[n] = S::mul(d[n], S::load_i8(scales[n] + half * kRows));
#pragma GCC unroll 8
        for (int t = 0; t < MX; ++t) x_sum[t] = &x[t]->half[half];
        add_scaled(dot, scale, x, x_sum, sum);
      }
      return;
    }
    Dot::template run<0, 8>(high, codes, x, dot);
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) {
      if constexpr (Fmt::kTwoLevel) {
        scale[n] = S::mul(d[n], S::load_u8(scales[n]));
      } else {
        scale[n] = S::load_f16(scales[n]);
      }
    }
#pragma GCC unroll 8
    for (int t = 0; t < MX; ++t) x_sum[t] = &x[t]->sum;
    add_scaled(dot, scale, x, x_sum, sum);
    if constexpr (Fmt::kMinimum) {
      F minimum[NV];
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) {
        if constexpr (Fmt::kTwoLevel) {
          minimum[n] = S::negate(S::mul(m[n], S::load_u8(minimums[n])));
        } else {
          minimum[n] = S::load_f16(minimums[n]);
        }
      }
#pragma GCC unroll 8
      for (int t = 0; t < MX; ++t) {
        const F x_total =
            S::mul(S::broadcast_f32(&x[t]->scale), S::to_f32(S::broadcast_4(x_sum[t])));
#pragma GCC unroll 4
        for (int n = 0; n < NV; ++n) sum[t][n] = S::fma(minimum[n], x_total, sum[t][n]);
      }
    }
  }

  static void run(const QuantPanelArgs* args, int64_t first_panel, int64_t first_x) {
    const uint8_t* w[NV];
    const Group* x[MX];
    F sum[MX][NV];
    F d[NV];
    F m[NV];
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) {
      w[n] = args->panels + (first_panel + n) * args->panel_bytes;
      d[n] = m[n] = S::zero_f32();
    }
#pragma GCC unroll 8
    for (int t = 0; t < MX; ++t) {
      x[t] = (const Group*)args->x + (first_x + t) * args->groups;
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) sum[t][n] = S::zero_f32();
    }
    for (int64_t g = 0; g < args->groups; ++g) {
      if constexpr (Fmt::kTwoLevel) {
        if (g % 8 == 0) {
#pragma GCC unroll 4
          for (int n = 0; n < NV; ++n) {
            d[n] = S::load_f16(w[n]);
            if constexpr (Fmt::kMinimum) m[n] = S::load_f16(w[n] + 2 * kRows);
            w[n] += Fmt::super_bytes(kRows);
          }
        }
      }
      group(w, d, m, x, sum);
#pragma GCC unroll 8
      for (int t = 0; t < MX; ++t) ++x[t];
    }
#pragma GCC unroll 8
    for (int t = 0; t < MX; ++t) {
      float* out = args->sums + (first_x + t) * args->sums_stride + first_panel * kRows;
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) S::store_f32(out + n * kRows, sum[t][n]);
    }
  }
};

// All rows of x with NV panels, MX at a time and what is left in smaller tiles.
template <class S, class Fmt, int MX, int NV>
RUVLLM_INLINE void panel_rows(const QuantPanelArgs* args, int64_t panel, int64_t t) {
  for (; t + MX <= args->num_x; t += MX) PanelTile<S, Fmt, MX, NV>::run(args, panel, t);
  if constexpr (MX > 1) panel_rows<S, Fmt, MX / 2, NV>(args, panel, t);
}

template <class S, class Fmt>
void panel_product(const QuantPanelArgs* args) {
  int64_t panel = 0;
  if (args->num_x > 1) {
    for (; panel + 2 <= args->num_panels; panel += 2) {
      panel_rows<S, Fmt, S::kTileX, 2>(args, panel, 0);
    }
  }
  for (; panel < args->num_panels; ++panel) panel_rows<S, Fmt, S::kTileX, 1>(args, panel, 0);
}

template <class S>
constexpr QuantPanelKernel make_quant_panel() {
  constexpr ActivationForm kEight = S::kHasDot ? ActivationForm::kInt8 : ActivationForm::kInt16;
  constexpr ActivationForm kNarrow = ActivationForm::kInt8;
  return {S::kRows,
          {{kEight, panel_product<S, Q8_0>},
           {kNarrow, panel_product<S, Q4_0>},
           {kNarrow, panel_product<S, Q4_1>},
           {kNarrow, panel_product<S, Q5_0>},
           {kNarrow, panel_product<S, Q5_1>},
           {kNarrow, panel_product<S, Q4_K>},
           {kNarrow, panel_product<S, Q5_K>},
           {kNarrow, panel_product<S, Q6_K>}}};
}

}  // namespace
}  // namespace ruvllm::kernels
