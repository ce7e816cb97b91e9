// Products with the grouped formats of quant_panel.h that have half scales (I4H, I3H, I2H), once
// over an instruction set's `Simd`. They are for the memory that they save, so they share one
// kernel: a block of x's groups of a panel is made ready first, codes as bytes and scales as f32,
// and meets all rows of x from the first-level cache. Only making it ready knows the format, and
// what multiplies a single row: that takes the codes as they come.
//
// A zero point takes its share of a dot by the lanes of x (quantize_rows.h), which are minus the
// sum of a half's codes in two parts. Without a dot product, sums of 16 bits are exact: 4 pairs of
// 2 * 15 * 127 are 15,240.
#pragma once

#include "kernels/matmul/quant_panel.h"
#include "kernels/matmul/quant_panel_dot.h"
#include "kernels/matmul/quant_panel_formats.h"
#include "kernels/quantize/quantize_rows.h"

namespace ruvllm::kernels {
namespace {

// Words of a record of x (quantize_rows.h) behind its codes.
enum { kScaleOfX = 8, kLanesOfX = 10 };

// A group of a panel in memory.
template <class S, class Fmt>
struct HalvesGroup {
  using I = typename S::I;
  using F = typename S::F;
  static constexpr int kRows = S::kRows;

  const uint8_t* head;
  bool compact;

  int64_t bytes() const { return Fmt::header_bytes(kRows, compact) + Fmt::group_bytes(kRows); }
  // What lies some way after it comes into the first level.
  void fetch_ahead() const {
    constexpr int kBytes = Fmt::header_bytes(kRows, true) + Fmt::group_bytes(kRows);
    for (int byte = 0; byte < kBytes; byte += 64) __builtin_prefetch(head + 1024 + byte, 0, 3);
  }
  void load_zeros(I (&zeros)[2]) const { load_half_zeros<S, Fmt>(head, compact, zeros); }
  F scale(int half) const {
    return compact ? S::load_f16(head + 2 * half * kRows)
                   : S::load_f32((const float*)head + half * kRows);
  }
  // Of the columns 4j ... 4j + 3.
  RUVLLM_INLINE I codes(int j) const {
    const uint8_t* const high = head + Fmt::header_bytes(kRows, compact);
    return load_codes<S, Fmt>(high, high + (Fmt::kBits == 3 ? 4 * kRows : 0), j);
  }
};

// Made ready: a block of x's groups of one panel.
template <class S>
struct HalvesBlock {
  static constexpr int kRows = S::kRows;
  // 16 columns.
  struct Half {
    uint8_t codes[4][4 * kRows];  // columns 4j ... 4j + 3 at [j]
    float scale[kRows];
    int32_t zeros[kRows];  // in both halves of a lane
  };
  alignas(64) Half halves[kXBlock][2];
};

// w: the first of `count` groups of a panel.
template <class S>
using FillHalves = void (*)(const uint8_t* w, int64_t count, bool compact, HalvesBlock<S>& to);

template <class S, class Fmt>
void fill_halves(const uint8_t* w, int64_t count, bool compact, HalvesBlock<S>& to) {
  using I = typename S::I;
  HalvesGroup<S, Fmt> group = {w, compact};
  for (int64_t i = 0; i < count; ++i) {
    group.fetch_ahead();
    // All is read before anything is written, so that no vector is read twice.
    I zeros[2];
    group.load_zeros(zeros);
    I codes[8];
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) codes[j] = group.codes(j);
    auto& halves = to.halves[i];
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      S::store(halves[half].zeros, zeros[half]);
      S::store_f32(halves[half].scale, group.scale(half));
    }
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) S::store(halves[j / 4].codes[j % 4], codes[j]);
    group.head += group.bytes();
  }
}

// The dots of 16 columns with kRowsOfX rows of a tile of MX: part[t] = fma(float(dot), scale,
// part[t]). codes(j): of the half's columns 4j ... 4j + 3; zeros as in HalvesBlock; x: the words of
// the rows' group.
template <class S, int MX, int kRowsOfX, class Codes>
RUVLLM_INLINE void add_half(const Codes& codes, typename S::I zeros, typename S::F scale,
                            const uint32_t* x, int half, typename S::F (&part)[kRowsOfX]) {
  using I = typename S::I;
  I dot[kRowsOfX];
  I share[kRowsOfX];  // of the zero points
#pragma GCC unroll 4
  for (int t = 0; t < kRowsOfX; ++t) {
    share[t] = S::dot_pairs_16(zeros, S::broadcast_4(x + (kLanesOfX + half) * MX + t));
    if constexpr (S::kHasDot) dot[t] = share[t];
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const I four_of_w = codes(j);
#pragma GCC unroll 4
    for (int t = 0; t < kRowsOfX; ++t) {
      const I four = S::broadcast_4(x + (4 * half + j) * MX + t);
      if constexpr (S::kHasDot) {
        dot[t] = S::dot_fours(dot[t], four_of_w, four);
      } else if (j == 0) {
        dot[t] = S::dot_pairs_8(four_of_w, four);
      } else {
        S::add_dot_pairs_8(dot[t], four_of_w, four);
      }
    }
  }
#pragma GCC unroll 4
  for (int t = 0; t < kRowsOfX; ++t) {
    if constexpr (!S::kHasDot) dot[t] = S::add_32(S::widen_pairs(dot[t]), share[t]);
    part[t] = S::fma(S::to_f32(dot[t]), scale, part[t]);
  }
}

template <class S>
struct HalvesProduct {
  using F = typename S::F;
  using Block = HalvesBlock<S>;
  using Half = typename Block::Half;
  static constexpr int kRows = S::kRows;
  static constexpr int64_t kRowsInL2 = 8 * S::kTileX;  // of x that meet all panels

  const QuantPanelArgs* args;
  FillHalves<S> fill;
  int64_t group_bytes;
  Block block;

  // Where a block of a panel is added: `rows` rows of sums, `stride` apart.
  struct Sums {
    float* at;
    int64_t stride;
    int64_t rows;
    bool fresh;
  };

  // A block of `count` groups of one panel with rows of a tile of MX.
  template <int MX, int kRowsOfX>
  static void add_rows(const Half (*w)[2], int64_t count, const uint32_t* x, const Sums& to) {
    F part[kRowsOfX];
#pragma GCC unroll 4
    for (int t = 0; t < kRowsOfX; ++t) part[t] = S::zero_f32();
    for (int64_t i = 0; i < count; ++i) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const Half& from = w[i][half];
        const auto codes = [&from](int j) { return S::load(from.codes[j]); };
        add_half<S, MX>(codes, S::load((const uint8_t*)from.zeros), S::load_f32(from.scale),
                        x + i * kRecordWords * MX, half, part);
      }
    }
#pragma GCC unroll 4
    for (int t = 0; t < kRowsOfX; ++t) {
      if (t >= to.rows) break;
      float* const sum = to.at + t * to.stride;
      const F before = to.fresh ? S::zero_f32() : S::load_f32(sum);
      S::store_f32(sum, S::fma(part[t], S::broadcast_f32(x + kScaleOfX * MX + t), before));
    }
  }

  // Groups [first, first + count) of panel p, which are in `block`, with the tile of MX rows from
  // row t on.
  template <int MX>
  void add_tile(int64_t t, int64_t p, int64_t first, int64_t count) const {
    constexpr int kAtOnce = MX < 4 ? MX : 4;
    const uint32_t* const x = args->x + (t * args->groups + first * MX) * kRecordWords;
    for (int64_t r = 0; r < MX; r += kAtOnce) {
      const Sums to = {args->sums + (t + r) * args->sums_stride + p * kRows, args->sums_stride,
                       args->num_x - t - r, first == 0};
      add_rows<MX, kAtOnce>(block.halves, count, x + r, to);
    }
  }

  // The same with rows [t, last_t).
  void add_tiles(int64_t t, int64_t last_t, int64_t p, int64_t first, int64_t count) const {
    while (t < last_t) {
      const int64_t rows = next_tile_rows(last_t - t, S::kTileX);
      if (rows == 1) {
        add_tile<1>(t, p, first, count);
      } else if (rows == 2) {
        add_tile<2>(t, p, first, count);
      } else if (rows == 4) {
        add_tile<4>(t, p, first, count);
      } else {
        if constexpr (S::kTileX > 4) add_tile<S::kTileX>(t, p, first, count);
      }
      t += rows;
    }
  }

  void run() {
    for (int64_t t = 0; t < args->num_x; t += kRowsInL2) {
      const int64_t last_t = t + kRowsInL2 < args->num_x ? t + kRowsInL2 : args->num_x;
      for (int64_t p = 0; p < args->num_panels; ++p) {
        const uint8_t* w = args->panels + p * args->panel_bytes;
        for (int64_t first = 0; first < args->groups; first += kXBlock) {
          const int64_t left = args->groups - first;
          const int64_t count = kXBlock < left ? int64_t{kXBlock} : left;
          fill(w, count, args->compact_scales, block);
          add_tiles(t, last_t, p, first, count);
          w += count * group_bytes;
        }
      }
    }
  }
};

// Formats share all but the filling.
template <class S>
void product_of_halves(const QuantPanelArgs* args, FillHalves<S> fill, int64_t group_bytes) {
  HalvesProduct<S> product;
  product.args = args;
  product.fill = fill;
  product.group_bytes = group_bytes;
  product.run();
}

// One row of x: kStreams panels pass from memory together, block by block.
template <class S, class Fmt>
void halves_row(const QuantPanelArgs* args) {
  using F = typename S::F;
  constexpr int64_t kStreams = 4;
  HalvesGroup<S, Fmt> group = {nullptr, args->compact_scales};
  const int64_t bytes = group.bytes();
  for (int64_t p = 0; p < args->num_panels; p += kStreams) {
    const int64_t last_p = p + kStreams < args->num_panels ? p + kStreams : args->num_panels;
    for (int64_t first = 0; first < args->groups; first += kXBlock) {
      const int64_t last = first + kXBlock < args->groups ? first + kXBlock : args->groups;
      for (int64_t n = p; n < last_p; ++n) {
        group.head = args->panels + n * args->panel_bytes + first * bytes;
        F part[1] = {S::zero_f32()};
        const uint32_t* x = args->x + first * kRecordWords;
        const F scale_x = S::broadcast_f32(x + kScaleOfX);
        for (int64_t g = first; g < last; ++g, x += kRecordWords) {
          group.fetch_ahead();
          typename S::I zeros[2];
          group.load_zeros(zeros);
#pragma GCC unroll 2
          for (int half = 0; half < 2; ++half) {
            const auto codes = [&group, half](int j) { return group.codes(4 * half + j); };
            add_half<S, 1>(codes, zeros[half], group.scale(half), x, half, part);
          }
          group.head += bytes;
        }
        float* const sum = args->sums + n * S::kRows;
        const F before = first == 0 ? S::zero_f32() : S::load_f32(sum);
        S::store_f32(sum, S::fma(part[0], scale_x, before));
      }
    }
  }
}

template <class S, class Fmt>
void halves_product(const QuantPanelArgs* args) {
  if (args->num_x == 1) return halves_row<S, Fmt>(args);
  const int64_t header_bytes = Fmt::header_bytes(S::kRows, args->compact_scales);
  product_of_halves<S>(args, fill_halves<S, Fmt>, header_bytes + Fmt::group_bytes(S::kRows));
}

}  // namespace
}  // namespace ruvllm::kernels
