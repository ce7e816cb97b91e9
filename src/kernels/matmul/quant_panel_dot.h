// The integer dots of quant_panel.h: a group of NV panels with rows of x. See quant_panel_impl.h.
#pragma once

#include "kernels/matmul/quant_panel.h"
#include "kernels/matmul/quant_panel_formats.h"

namespace ruvllm::kernels {
namespace {

// Codes of the columns 4j ... 4j + 3 of a group. `high` and `codes`: its planes.
template <class S, class Fmt>
RUVLLM_INLINE typename S::I load_codes(const uint8_t* high, const uint8_t* codes, int j) {
  constexpr int kVector = S::kRows * 4;
  if constexpr (Fmt::kBytes) {
    const typename S::I four = S::load(codes + j * kVector);
    if constexpr (S::kSignedCodes && Fmt::kBits == 8) {
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

// The zero points of a grouped format's header, in the lower half of a lane.
template <class S, class Fmt>
RUVLLM_INLINE typename S::I load_zeros(const uint8_t* head, bool compact) {
  if (!compact) return S::load_i16(head + 4 * S::kRows);
  if constexpr (Fmt::kBits == 8) return S::load_bytes(head + 2 * S::kRows);
  return S::load_nibbles(head + 2 * S::kRows);
}

// The same with half scales: of each half, in both halves of a lane.
template <class S, class Fmt>
RUVLLM_INLINE void load_half_zeros(const uint8_t* head, bool compact, typename S::I (&zeros)[2]) {
  using I = typename S::I;
  if (!compact) {
    for (int half = 0; half < 2; ++half) {
      const I low = S::load_i16(head + (8 + 2 * half) * S::kRows);
      zeros[half] = S::or_bits(low, S::shift_left_32(low, 16));
    }
    return;
  }
  constexpr int kBits = Fmt::kBits == 2 ? 2 : 4;
  const uint8_t* const at = head + 4 * S::kRows;
  I low;
  if constexpr (kBits == 2) {
    low = S::load_nibbles(at);
  } else {
    low = S::load_bytes(at);
  }
  const I both = S::or_bits(low, S::shift_left_32(low, 16));
  zeros[0] = S::and_bytes(both, (1 << kBits) - 1);
  zeros[1] = S::shift_right_16(both, kBits);
}

// How the dots of a format are computed on S.
template <class S, class Fmt>
struct DotForm {
  static constexpr bool kNarrow = Fmt::kBits != 8 && !S::kHasDot;  // 16-bit sums
  static constexpr int kCodeWords = 8;
  static constexpr int kWords = kRecordWords;
  // What is subtracted from the codes (as a power of two; -1: nothing) while they are summed: 5-bit
  // codes with a minimum would not fit the 16-bit sums either.
  static constexpr bool kBorrowed = kNarrow && Fmt::kBits == 5 && Fmt::kZeroLog2 < 0;
  // Codes of 8 bits counted from 128, where products want signed ones.
  static constexpr bool kSigned = S::kSignedCodes && Fmt::kBits == 8;
  // Sums of 4-bit codes as they are fit 16 bits: their zero point comes afterwards.
  static constexpr bool kZeroLast =
      kNarrow && Fmt::kBits == 4 && !Fmt::kHalves && Fmt::kZeroLog2 > 0;
  static constexpr int kZeroLog2 = kBorrowed ? 4 : kSigned || kZeroLast ? -1 : Fmt::kZeroLog2;
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
    if (kNarrow || S::kHasDot) return 1;
    return rows == 1 ? 4 : 2;  // as registers allow
  }
  // Many rows of x, with a dot product and 32 registers: a block of panels meets all tiles of rows
  // that the second level holds. kExpands: made ready first (ExpandedBlock), bytes and f32 scales;
  // three panels at a time share what is loaded of x. Zen 4, 64 rows in cache, GMAC/s with both
  // and with pairs as they lie: I4 in groups of 32 171 / 130, I3 170 / 138, Q5_0 184 / 156, Q4_K
  // 158 / 155, Q6_K 138 / 130; three panels alone: Q8_0 190 / 167; Q4_0 2 % slower there with
  // either and 2 % faster on Zen 5.
  static constexpr bool kManyRegisters = S::kHasDot && S::kRegisters == 32;
  // With neither (AVX2): a block of two panels meets all tiles, too, and the blocks of later panels
  // are fetched beside it. Made ready first where that is much work: high bits of K-quants, zero
  // points in headers. Zen 3, two threads, in turn with whole panels whose successors' lines are
  // fetched with each group, 8, 16, 32, 64 rows: Q4_0 1.07, 1.05, 1.06, 1.08 times, Q4_K 1.07,
  // 1.06, 1.09, 1.08, Q8_0 1.03, 1.05, 1.05, 1.00; made ready Q5_K 1.10, 1.15, 1.16, 1.25,
  // Q6_K 1.06, 1.02, 1.15, 1.25, with 16 and 64 rows I4 in groups of 32 1.19, 1.22, of
  // 128 1.08, 1.14, I3 1.3, 1.45, I2 1.07, 1.16. (Not worth the code: Q4_0 and Q4_K, 2-4 % more
  // from 32 rows on; Q5_0, Q5_1.)
  static constexpr bool kFewRegisters = !S::kHasDot && S::kRegisters == 16;
  static constexpr bool kDearCodes = Fmt::kGrouped || (Fmt::kTwoLevel && Fmt::kBits > 4);
  static constexpr bool kExpands =
      Fmt::kBits != 8 && (kManyRegisters || (kFewRegisters && kDearCodes));
  static constexpr bool kThreePanels = kManyRegisters;
  // But so few tiles do not pay for it, and go faster with pairs as they lie. Zen 4, weights from
  // memory, GMAC/s of 16, 32 and 48 rows both ways: I4 in groups of 128 195, 198, 199 / 158, 179,
  // 188; Q4_0 182, 190, 189 / 161, 179, 184; I3 in groups of 32 156, 158, 159 / 140, 156, 163.
  // (Q5_0 169, 171, 175 / 160, 173, 179; Q6_K 140, 143, 144 / 137, 149, 154: not worth the code.)
  static constexpr int64_t kMostTilesAsTheyLie = !kExpands         ? 0
                                                 : kFewRegisters   ? 2
                                                 : Fmt::kBits <= 4 ? 4
                                                                   : 0;
  static constexpr int kStreamRows = S::kHasDot ? S::kTileX : 2;
  static constexpr int bytes_ahead(int rows) {
    if constexpr (S::kFourStreams) return rows > 4 ? 2048 : 1024;
    return rows <= 2 ? (kNarrow ? 2048 : 0) : S::kHasDot ? 2048 : 0;
  }
  // Rows of a tile whose dots are computed at a time, with so many panels. With a dot product eight
  // sums suffice to keep the multipliers busy, and leave registers for the parts of a block.
  static constexpr int rows_at_once(int panels) { return S::kHasDot && panels > 1 ? 4 : 8; }
};

// Integer dots of NR rows of a tile and group: [NR][NV]. x: the first row's words, MX apart.
template <class S, class Fmt, int MX, int NV, int NR = MX>
struct GroupDot {
  using I = typename S::I;
  using Form = DotForm<S, Fmt>;

  // -128 times the sum of the codes of x.
  static RUVLLM_INLINE I offset(const uint32_t* x, int t) {
    return S::broadcast_4(x + (Form::kCodeWords + 1) * MX + t);
  }
  // -(sum of the codes of x) in 16-bit lanes. half: 0, 1, or 2 for both.
  static RUVLLM_INLINE I lanes(const uint32_t* x, int t, int half) {
    const uint32_t* at = x + (Form::kCodeWords + 2) * MX + t;
    if (half < 2) return S::broadcast_4(at + half * MX);
    return S::add_16(S::broadcast_4(at), S::broadcast_4(at + MX));
  }
  // Where a dot of row t begins.
  static RUVLLM_INLINE I begin(const uint32_t* x, int t, int half) {
    if constexpr (Form::kZeroLog2 < 0) return S::zero();
    if constexpr (Form::kNarrow) return S::shift_left_16(lanes(x, t, half), Form::kZeroLog2);
    if constexpr (!Fmt::kHalves) {
      if constexpr (Form::kZeroLog2 == 7) return offset(x, t);
      return S::shift_right_32(offset(x, t), 7 - Form::kZeroLog2);
    }
    return S::shift_left_32(S::widen_pairs(lanes(x, t, half)), Form::kZeroLog2);
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

  // Whether run() can go on from the dots of an earlier group: they need no beginning of their own.
  static constexpr bool kGoesOn =
      !Form::kNarrow && Form::kZeroLog2 < 0 && !(S::kPairsOfRows && NR == 4);

  // The fours [kFirst, kFirst + kCount) of the columns; half as in lanes(). kGoOn: adds to `dot`.
  template <int kFirst, int kCount, int kHalf, bool kGoOn = false>
  static RUVLLM_INLINE void run(const uint8_t* const* high, const uint8_t* const* codes,
                                const uint32_t* x, I (&dot)[NR][NV]) {
    if constexpr (Form::kNarrow && Fmt::kBits == 2 && NV == 1) return run_twos(codes, x, dot);
    if constexpr (S::kPairsOfRows && NR == 4) {
      return run_pairs<kFirst, kCount, kHalf>(high, codes, x, dot);
    }
    constexpr bool kPairs = Fmt::kBits >= 4 && NV == 1 && kCount == 8;
    // One row's sum over several groups is one chain of dots, which would take four cycles each:
    // two chains.
    constexpr bool kTwoChains = kGoOn && NR * NV == 1;
    I other = S::zero();
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
          if constexpr (!S::kHasDot && Form::kZeroLog2 < 0 && !kGoOn) {
            if (step == 0) {
              dot[t][n] = Form::kNarrow ? S::dot_pairs_8(w[n], four) : S::dot_fours(w[n], four);
              continue;
            }
          } else if constexpr (!kGoOn) {
            if (step == 0) dot[t][n] = begin(x, t, kHalf);
          }
          if constexpr (kTwoChains) {
            I& sum = step % 2 == 0 ? dot[t][n] : other;
            sum = S::dot_fours(sum, w[n], four);
          } else if constexpr (!Form::kNarrow) {
            dot[t][n] = S::dot_fours(dot[t][n], w[n], four);
          } else {
            S::add_dot_pairs_8(dot[t][n], w[n], four);
          }
        }
      }
    }
    if constexpr (kTwoChains) dot[0][0] = S::add_32(dot[0][0], other);
    if constexpr (Form::kNarrow) {
#pragma GCC unroll 8
      for (int t = 0; t < NR; ++t) {
#pragma GCC unroll 4
        for (int n = 0; n < NV; ++n) {
          dot[t][n] = S::widen_pairs(dot[t][n]);
          if constexpr (Form::kZeroLast) {
            const I zeros = S::shift_right_32(offset(x, t), 7 - Fmt::kZeroLog2);
            dot[t][n] = S::add_32(dot[t][n], zeros);
          }
          if constexpr (Form::kBorrowed) {
            const I borrowed = S::shift_left_32(S::widen_pairs(lanes(x, t, kHalf)), 4);
            dot[t][n] = S::sub_32(dot[t][n], borrowed);
          }
        }
      }
    }
  }
};

}  // namespace
}  // namespace ruvllm::kernels
