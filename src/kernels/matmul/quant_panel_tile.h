// One tile of quant_panel.h's products: MX rows of x times NV panels. See quant_panel_impl.h.
#pragma once

#include "kernels/matmul/quant_panel.h"
#include "kernels/matmul/quant_panel_formats.h"

namespace ruvllm::kernels {
namespace {

// Codes of the columns 4j ... 4j + 3 of a group. `high` and `codes`: its planes.
template <class S, class Fmt>
RUVLLM_INLINE typename S::I load_codes(const uint8_t* high, const uint8_t* codes, int j) {
  constexpr int kVector = S::kRows * 4;
  if constexpr (Fmt::kBits == 8) {
    const typename S::I four = S::load(codes + j * kVector);
    if constexpr (S::kSignedCodes) {
      return S::flip_top_bits(four);
    } else {
      return four;
    }
  }
  if constexpr (Fmt::kBits <= 3) {
    const typename S::I plane = S::load(codes + (j / 4) * kVector);
    const typename S::I low = S::and_bytes(S::shift_right_16(plane, 2 * (j & 3)), 3);
    if constexpr (Fmt::kBits == 2) return low;
    const typename S::I top = S::load(high);
    const typename S::I bit = j < 2 ? S::shift_left_16(top, 2 - j) : S::shift_right_16(top, j - 2);
    return S::or_bits(low, S::and_bytes(bit, 4));
  }
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

// How the dots of a format are computed on S.
template <class S, class Fmt>
struct DotForm {
  static constexpr bool kWide = Fmt::kBits == 8 && !S::kHasDot;    // int16 activations
  static constexpr bool kNarrow = Fmt::kBits != 8 && !S::kHasDot;  // 16-bit sums
  static constexpr int kCodeWords = kWide ? 16 : 8;
  static constexpr int kWords = kCodeWords + 4;
  // What is subtracted from the codes (as a power of two; -1: nothing) while they are summed: 5-bit
  // codes with a minimum would not fit the 16-bit sums either.
  static constexpr bool kBorrowed = kNarrow && Fmt::kBits == 5 && Fmt::kZeroLog2 < 0;
  // Codes of 8 bits counted from 128, where a dot product wants signed ones.
  static constexpr bool kSigned = S::kSignedCodes && Fmt::kBits == 8;
  static constexpr int kZeroLog2 = kBorrowed ? 4 : kSigned ? -1 : Fmt::kZeroLog2;
  // With neither, dots begin at 0.
  static constexpr bool kAdds128 = kSigned && Fmt::kZeroLog2 != 7;
  // Few rows of x: panels pass as fast as memory gives them, streams(rows) of them at a time, with
  // what lies bytes_ahead(rows) further on fetched into the first level. Without a dot product,
  // measured on Zen 3 beside the read roof: 8-bit codes reach 95-100 % in four streams when only
  // the hardware's prefetchers work. Narrower ones are computed for most of the time that they take
  // to read, which one stream with lines fetched ahead overlaps better than four: 4 bits 92-95 %
  // (73-83), 3 bits 79 % (50), 2 bits 91 % (60). With one, on Zen 4: one or two rows 99-102 % in
  // one stream without fetching (4 streams 73-87 %, lines fetched 87-97 %); 4 rows 95-99 % in one
  // stream with it (two streams 74-82 %); 8 rows, which computing bounds, 20 % faster than two
  // streams with 8-bit codes, 10 % with 4. Intel's (S::kFourStreams, measured on Emerald Rapids,
  // one row): four streams with 1 KB of each fetched ahead 105 % of the read loop with 8-bit codes,
  // 106 % with 4; one stream 74 and 62 %, with 2 KB 87 and 82 %.
  static constexpr int streams(int rows) {
    if constexpr (S::kFourStreams) return rows > 4 ? 2 : 4;
    return kNarrow || S::kHasDot ? 1 : 4;
  }
  static constexpr int kStreamRows = S::kHasDot ? S::kTileX : 2;
  static constexpr int bytes_ahead(int rows) {
    if constexpr (S::kFourStreams) return rows > 4 ? 2048 : 1024;
    return rows <= 2 ? (kNarrow ? 2048 : 0) : S::kHasDot ? 2048 : 0;
  }
  // Rows of a tile whose dots are computed at a time. With a dot product, scaling some of them
  // while the next begin keeps the multipliers busier than a long queue of both; narrow codes are
  // unpacked once more for it. Zen 4, 512 rows, 4 against 8 at a time: Q4_K +3 %, Q6_K +8 %, Q8_0
  // and Q4_0 equal; 2: Q4_K +1 %, Q6_K -16 %.
  static constexpr int kRowsAtOnce = S::kHasDot ? 4 : 8;
};

// Integer dots of NR rows of a tile and group: [NR][NV]. x: the first row's words, MX apart.
template <class S, class Fmt, int MX, int NV, int NR = MX>
struct GroupDot {
  using I = typename S::I;
  using Form = DotForm<S, Fmt>;

  // -(sum of the codes of x) in 16-bit lanes. half: 0, 1, or 2 for both.
  static RUVLLM_INLINE I lanes(const uint32_t* x, int t, int half) {
    const uint32_t* at = x + (Form::kCodeWords + 2) * MX + t;
    if (half < 2) return S::broadcast_4(at + half * MX);
    return S::add_16(S::broadcast_4(at), S::broadcast_4(at + MX));
  }
  // Where a dot of row t begins.
  static RUVLLM_INLINE I begin(const uint32_t* x, int t, int half) {
    if constexpr (Form::kAdds128) {
      return S::shift_left_32(S::broadcast_4(x + (Form::kCodeWords + 1) * MX + t), 7);
    }
    if constexpr (Form::kZeroLog2 < 0) return S::zero();
    if constexpr (Form::kNarrow) return S::shift_left_16(lanes(x, t, half), Form::kZeroLog2);
    if constexpr (!Fmt::kHalves) {
      const I sum = S::broadcast_4(x + (Form::kCodeWords + 1) * MX + t);
      return S::sub_32(S::zero(), S::shift_left_32(sum, Form::kZeroLog2));
    }
    return S::shift_left_32(S::widen_pairs(lanes(x, t, half)), Form::kZeroLog2);
  }

  static RUVLLM_INLINE void run_wide(const uint8_t* const* codes, const uint32_t* x,
                                     I (&dot)[NR][NV]) {
#pragma GCC unroll 16
    for (int step = 0; step < 16; ++step) {
      I w[NV];
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) {
        const I four = S::load(codes[n] + step / 2 * S::kRows * 4);
        w[n] = step % 2 == 0 ? S::even_bytes(four) : S::odd_bytes(four);
      }
#pragma GCC unroll 8
      for (int t = 0; t < NR; ++t) {
        const I pair = S::broadcast_4(x + step * MX + t);
#pragma GCC unroll 4
        for (int n = 0; n < NV; ++n) {
          if (step == 0) dot[t][n] = begin(x, t, 2);
          S::add_dot_pairs_16(dot[t][n], w[n], pair);
        }
      }
    }
  }

  // 2-bit codes of one panel: every other one is multiplied where it stands, as four times itself,
  // and the sum of those shifted once. It fits: 4 pairs of 2 * 12 * 127 are 12,192.
  static RUVLLM_INLINE void run_twos(const uint8_t* const* codes, const uint32_t* x,
                                     I (&dot)[NR][NV]) {
    I fours[NR];
#pragma GCC unroll 4
    for (int pair = 0; pair < 4; ++pair) {
      const I plane = S::load(codes[0] + pair / 2 * S::kRows * 4);
      const I both = pair % 2 == 0 ? plane : S::shift_right_16(plane, 4);
      const I low = S::and_bytes(both, 3);
      const I high = S::and_bytes(both, 12);
#pragma GCC unroll 2
      for (int t = 0; t < NR; ++t) {
        if (pair == 0) {
          dot[t][0] = S::dot_pairs_8(low, S::broadcast_4(x + t));
          fours[t] = S::dot_pairs_8(high, S::broadcast_4(x + MX + t));
        } else {
          S::add_dot_pairs_8(dot[t][0], low, S::broadcast_4(x + 2 * pair * MX + t));
          S::add_dot_pairs_8(fours[t], high, S::broadcast_4(x + (2 * pair + 1) * MX + t));
        }
      }
    }
#pragma GCC unroll 2
    for (int t = 0; t < NR; ++t) {
      dot[t][0] = S::widen_pairs(S::add_16(dot[t][0], S::shift_right_signed_16(fours[t], 2)));
    }
  }

  // run() where the instruction set multiplies two rows of w by two of x.
  template <int kFirst, int kCount, int kHalf>
  static RUVLLM_INLINE void run_pairs(const uint8_t* const* high, const uint8_t* const* codes,
                                      const uint32_t* x, I (&dot)[NR][NV]) {
    typename S::Squares sums[NV];
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) S::clear(sums[n]);
#pragma GCC unroll 4
    for (int j = kFirst; j < kFirst + kCount; j += 2) {
      const auto eight = S::join_x(x + j * MX);
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) {
        S::add_squares(sums[n],
                       S::join(load_codes<S, Fmt>(high[n], codes[n], j),
                               load_codes<S, Fmt>(high[n], codes[n], j + 1)),
                       eight);
      }
    }
#pragma GCC unroll 8
    for (int t = 0; t < NR; ++t) {
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) {
        dot[t][n] = S::row_of(sums[n], t);
        if constexpr (Form::kZeroLog2 >= 0) dot[t][n] = S::add_32(dot[t][n], begin(x, t, kHalf));
      }
    }
  }

  // The fours [kFirst, kFirst + kCount) of the columns; half as in lanes().
  template <int kFirst, int kCount, int kHalf>
  static RUVLLM_INLINE void run(const uint8_t* const* high, const uint8_t* const* codes,
                                const uint32_t* x, I (&dot)[NR][NV]) {
    if constexpr (Form::kWide) return run_wide(codes, x, dot);
    if constexpr (Form::kNarrow && Fmt::kBits == 2 && NV == 1) return run_twos(codes, x, dot);
    if constexpr (S::kPairsOfRows && NR == 4) {
      return run_pairs<kFirst, kCount, kHalf>(high, codes, x, dot);
    }
    constexpr bool kPairs = Fmt::kBits >= 4 && NV == 1 && kCount == 8;
#pragma GCC unroll 8
    for (int step = 0; step < kCount; ++step) {
      // A vector of nibbles is read once for both of its fours; dots are exact in any order.
      const int j = kFirst + (kPairs ? step / 2 + step % 2 * 4 : step);
      I w[NV];
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) w[n] = load_codes<S, Fmt>(high[n], codes[n], j);
#pragma GCC unroll 8
      for (int t = 0; t < NR; ++t) {
        const I four = S::broadcast_4(x + j * MX + t);
#pragma GCC unroll 4
        for (int n = 0; n < NV; ++n) {
          if constexpr (!S::kHasDot && Form::kZeroLog2 < 0) {
            if (step == 0) {
              dot[t][n] = S::dot_pairs_8(w[n], four);
              continue;
            }
          } else {
            if (step == 0) dot[t][n] = begin(x, t, kHalf);
          }
          if constexpr (S::kHasDot) {
            dot[t][n] = S::dot_fours(dot[t][n], w[n], four);
          } else {
            S::add_dot_pairs_8(dot[t][n], w[n], four);
          }
        }
      }
    }
    if constexpr (Form::kNarrow) {
#pragma GCC unroll 8
      for (int t = 0; t < NR; ++t) {
#pragma GCC unroll 4
        for (int n = 0; n < NV; ++n) {
          dot[t][n] = S::widen_pairs(dot[t][n]);
          if constexpr (Form::kBorrowed) {
            const I borrowed = S::shift_left_32(S::widen_pairs(lanes(x, t, kHalf)), 4);
            dot[t][n] = S::sub_32(dot[t][n], borrowed);
          }
        }
      }
    }
  }
};

struct GroupRange {
  int64_t first;
  int64_t count;
  // Grouped formats only: groups under a scale of w, and of x.
  int64_t scale_groups;
  int64_t x_groups;
};

template <class S, class Fmt, int MX, int NV>
struct PanelTile {
  using I = typename S::I;
  using F = typename S::F;
  using Form = DotForm<S, Fmt>;
  static constexpr int kRows = S::kRows;
  static constexpr int kAtOnce = MX < Form::kRowsAtOnce ? MX : Form::kRowsAtOnce;
  using Dot = GroupDot<S, Fmt, MX, NV, kAtOnce>;

  // sums[t][n] += dot * (scale * scale_x), of kAtOnce rows.
  static RUVLLM_INLINE void add_scaled(I (&dot)[kAtOnce][NV], const F (&scale)[NV],
                                       const uint32_t* x, float* sums) {
#pragma GCC unroll 8
    for (int t = 0; t < kAtOnce; ++t) {
      const F scale_x = S::broadcast_f32(x + Form::kCodeWords * MX + t);
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) {
        float* sum = sums + (t * NV + n) * kRows;
        S::store_f32(sum,
                     S::fma(S::to_f32(dot[t][n]), S::mul(scale[n], scale_x), S::load_f32(sum)));
      }
    }
  }

  static RUVLLM_INLINE void add_minimums(const F (&minimum)[NV], const uint32_t* x, float* sums) {
#pragma GCC unroll 8
    for (int t = 0; t < MX; ++t) {
      const uint32_t* scale_x = x + Form::kCodeWords * MX + t;
      const F total = S::mul(S::broadcast_f32(scale_x), S::to_f32(S::broadcast_4(scale_x + MX)));
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) {
        float* sum = sums + (t * NV + n) * kRows;
        S::store_f32(sum, S::fma(minimum[n], total, S::load_f32(sum)));
      }
    }
  }

  // Into the first level: what lies some way after the group at w + offset of the panels, a group's
  // bytes of it.
  static RUVLLM_INLINE void fetch_ahead(const uint8_t* const (&w)[NV], int64_t offset) {
    constexpr int kAhead = Form::bytes_ahead(MX);
    if constexpr (MX <= Form::kStreamRows && NV == Form::streams(MX) && kAhead > 0) {
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) {
        for (int byte = 0; byte < Fmt::group_bytes(kRows); byte += 64) {
          __builtin_prefetch(w[n] + offset + kAhead + byte, 0, 3);
        }
      }
    }
  }

  // One group of all panels; returns where the next begins. d, m: the two-level factors.
  static RUVLLM_INLINE void group(const uint8_t* (&w)[NV], const F (&d)[NV], const F (&m)[NV],
                                  const uint32_t* x, float* sums) {
    constexpr int kMinimums = kRows * (Fmt::kTwoLevel ? (Fmt::kHalves ? 2 : 1) : 2);
    constexpr int kHigh = kMinimums + (Fmt::kMinimum ? kRows * (Fmt::kTwoLevel ? 1 : 2) : 0);
    constexpr int kCodes = kHigh + kRows * (Fmt::kBits == 5 ? 4 : Fmt::kBits == 6 ? 8 : 0);
    const uint8_t* high[NV];
    const uint8_t* codes[NV];
    const uint8_t* scales[NV];
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) {
      scales[n] = w[n];
      high[n] = w[n] + kHigh;
      codes[n] = w[n] + kCodes;
      w[n] += Fmt::group_bytes(kRows);
    }
    I dot[kAtOnce][NV];
    F scale[NV];
    if constexpr (Fmt::kHalves) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
#pragma GCC unroll 4
        for (int n = 0; n < NV; ++n) scale[n] = S::mul(d[n], S::load_i8(scales[n] + half * kRows));
#pragma GCC unroll 4
        for (int t = 0; t < MX; t += kAtOnce) {
          if (half == 0) {
            Dot::template run<0, 4, 0>(high, codes, x + t, dot);
          } else {
            Dot::template run<4, 4, 1>(high, codes, x + t, dot);
          }
          add_scaled(dot, scale, x + t, sums + t * NV * kRows);
          if constexpr (kAtOnce < MX) __asm__ volatile("" ::: "memory");
        }
      }
      return;
    }
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) {
      if constexpr (Fmt::kTwoLevel) {
        scale[n] = S::mul(d[n], S::load_u8(scales[n]));
      } else {
        scale[n] = S::load_f16(scales[n]);
      }
    }
#pragma GCC unroll 4
    for (int t = 0; t < MX; t += kAtOnce) {
      Dot::template run<0, 8, 2>(high, codes, x + t, dot);
      add_scaled(dot, scale, x + t, sums + t * NV * kRows);
      if constexpr (kAtOnce < MX) __asm__ volatile("" ::: "memory");  // in this order
    }
    if constexpr (Fmt::kMinimum) {
      F minimum[NV];
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) {
        if constexpr (Fmt::kTwoLevel) {
          minimum[n] = S::negate(S::mul(m[n], S::load_u8(scales[n] + kMinimums)));
        } else {
          minimum[n] = S::load_f16(scales[n] + kMinimums);
        }
      }
      add_minimums(minimum, x, sums);
    }
  }

  // A block of `count` groups of a grouped format under one scale of x: adds to parts: [MX][NV][R].
  // head: the scales and zero points. exact: the integer dots, to integers; count at most
  // kMostXGroups.
  static RUVLLM_INLINE void add_block(const uint8_t* (&w)[NV], const uint8_t* const* head,
                                      const uint32_t* x, int64_t count, bool exact, float* parts) {
    constexpr int kLow = Fmt::kBits == 3 ? kRows * 4 : 0;  // bytes before them
    I zero[NV];
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) zero[n] = S::load_i16(head[n] + 4 * kRows);
#pragma GCC unroll 4
    for (int first = 0; first < MX; first += kAtOnce) {
      I sum[kAtOnce][NV];
      I sum_x[kAtOnce];
#pragma GCC unroll 8
      for (int t = 0; t < kAtOnce; ++t) {
        sum_x[t] = S::zero();
#pragma GCC unroll 4
        for (int n = 0; n < NV; ++n) sum[t][n] = S::zero();
      }
      const uint32_t* at = x + first;
      for (int64_t g = 0; g < count; ++g, at += Form::kWords * MX) {
        const uint8_t* high[NV];
        const uint8_t* codes[NV];
#pragma GCC unroll 4
        for (int n = 0; n < NV; ++n) {
          high[n] = w[n] + g * Fmt::group_bytes(kRows);
          codes[n] = high[n] + kLow;
        }
        I dot[kAtOnce][NV];
        Dot::template run<0, 8, 2>(high, codes, at, dot);
#pragma GCC unroll 8
        for (int t = 0; t < kAtOnce; ++t) {
          sum_x[t] = S::add_32(sum_x[t], S::broadcast_4(at + (Form::kCodeWords + 1) * MX + t));
#pragma GCC unroll 4
          for (int n = 0; n < NV; ++n) sum[t][n] = S::add_32(sum[t][n], dot[t][n]);
        }
      }
#pragma GCC unroll 8
      for (int t = 0; t < kAtOnce; ++t) {
#pragma GCC unroll 4
        for (int n = 0; n < NV; ++n) {
          sum[t][n] = S::sub_32(sum[t][n], S::dot_pairs_16(zero[n], sum_x[t]));
        }
      }
      float* const to = parts + first * NV * kRows;
      if (exact) {
#pragma GCC unroll 32
        for (int i = 0; i < kAtOnce * NV; ++i) {
          const I before = S::load((const uint8_t*)(to + i * kRows));
          S::store(to + i * kRows, S::add_32(before, sum[i / NV][i % NV]));
        }
      } else {
#pragma GCC unroll 8
        for (int t = 0; t < kAtOnce; ++t) {
          const F scale_x = S::broadcast_f32(x + Form::kCodeWords * MX + first + t);
#pragma GCC unroll 4
          for (int n = 0; n < NV; ++n) {
            float* const part = to + (t * NV + n) * kRows;
            S::store_f32(part, S::fma(S::to_f32(sum[t][n]), scale_x, S::load_f32(part)));
          }
        }
      }
      if constexpr (kAtOnce < MX) __asm__ volatile("" ::: "memory");
    }
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) w[n] += count * Fmt::group_bytes(kRows);
  }

  // sums += parts * scale, and parts = 0.
  static RUVLLM_INLINE void end_scale(const uint8_t* const* head, float* parts, float* sums) {
    for (int i = 0; i < MX * NV; ++i) {
      const F scale = S::load_f32((const float*)head[i % NV]);
      S::store_f32(sums + i * kRows,
                   S::fma(S::load_f32(parts + i * kRows), scale, S::load_f32(sums + i * kRows)));
      S::store_f32(parts + i * kRows, S::zero_f32());
    }
  }

  // sums += (float(totals) * scale_x) * scale; x: a group of the tile.
  static RUVLLM_INLINE void end_exact(const uint8_t* const* head, const uint32_t* x,
                                      const float* totals, float* sums) {
    for (int i = 0; i < MX * NV; ++i) {
      const F scale_x = S::broadcast_f32(x + Form::kCodeWords * MX + i / NV);
      const F total = S::to_f32(S::load((const uint8_t*)(totals + i * kRows)));
      const F part = S::fma(total, scale_x, S::zero_f32());
      const F scale = S::load_f32((const float*)head[i % NV]);
      S::store_f32(sums + i * kRows, S::fma(part, scale, S::load_f32(sums + i * kRows)));
    }
  }

  // run() of grouped formats; `first` is a multiple of scale_groups.
  static void run_grouped(const uint8_t* const* panels, const uint32_t* x, const GroupRange& range,
                          const uint8_t* ahead, int64_t lines, float* sums) {
    alignas(64) float parts[MX * NV * kRows];
    const uint8_t* w[NV];
    const uint8_t* head[NV];
    for (int n = 0; n < NV; ++n) {
      w[n] = panels[n] + range.first * Fmt::group_bytes(kRows) +
             range.first / range.scale_groups * Fmt::header_bytes(kRows);
      head[n] = w[n];
    }
    for (int i = 0; i < MX * NV; ++i) S::store_f32(parts + i * kRows, S::zero_f32());
    x += range.first * Form::kWords * MX;
    const bool exact = range.x_groups > kMostXGroups;  // then all is one scale's
    const int64_t most = exact ? int64_t{kMostXGroups} : range.x_groups;
    int64_t left = 0;  // groups under the scale
    for (int64_t g = 0; g < range.count;) {
      if (left == 0) {
        for (int n = 0; n < NV; ++n) {
          head[n] = w[n];
          w[n] += Fmt::header_bytes(kRows);
        }
        left = range.scale_groups < range.count - g ? range.scale_groups : range.count - g;
      }
      const int64_t block = most < left ? most : left;
      for (int64_t i = 0; i < lines * block; ++i, ahead += 64) __builtin_prefetch(ahead, 0, 2);
      for (int64_t i = 0; i < block; ++i) fetch_ahead(w, i * Fmt::group_bytes(kRows));
      add_block(w, head, x, block, exact, parts);
      x += block * Form::kWords * MX;
      __asm__ volatile("" ::: "memory");
      g += block;
      left -= block;
      if (left > 0) continue;
      exact ? end_exact(head, x - Form::kWords * MX, parts, sums) : end_scale(head, parts, sums);
    }
  }

  // Adds the groups of the range to sums: [MX][NV][R]. panels: NV pointers. x: the tile. Meanwhile
  // `lines` cache lines a group are fetched from `ahead` on.
  static void run(const uint8_t* const* panels, const uint32_t* x, const GroupRange& range,
                  const uint8_t* ahead, int64_t lines, float* sums) {
    if constexpr (Fmt::kGrouped) {
      return run_grouped(panels, x, range, ahead, lines, sums);
    } else {
      const int64_t first = range.first;
      const uint8_t* w[NV];
      F d[NV];
      F m[NV];
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) {
        w[n] = panels[n] + first * Fmt::group_bytes(kRows) + first / 8 * Fmt::super_bytes(kRows);
        d[n] = m[n] = S::zero_f32();
      }
      x += first * Form::kWords * MX;
      for (int64_t g = first; g < first + range.count; ++g) {
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
        for (int64_t i = 0; i < lines; ++i, ahead += 64) __builtin_prefetch(ahead, 0, 2);
        fetch_ahead(w, 0);
        group(w, d, m, x, sums);
        x += Form::kWords * MX;
        __asm__ volatile("" ::: "memory");  // the sums stay in memory
      }
    }
  }
};

}  // namespace
}  // namespace ruvllm::kernels
