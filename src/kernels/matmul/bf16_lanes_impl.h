// The kernels of bf16_dot.h, "lanes", over D: VDPBF16PS, or its model. D has
//   F, kZero ...  sums of 16 lanes: zero(), reduce_add and reduce_add_4 of simd/vec_avx512.h
//   P             32 bf16: load(p), of 64 bytes
//   dot(sum, x, w)   one step of the header
//
// As float_dot_impl.h: tiles of 6 rows of x by 4 of w (24 sums, four weights and x of 32
// registers), with w in place; one row of x takes rows of w one after the other, as memory has
// them.
#pragma once

#include "kernels/matmul/bf16_dot.h"
#include "kernels/matmul/bf16_round.h"

namespace ruvllm::kernels {
namespace {

inline void pack_lanes_of_x(const float* const* rows, int64_t num_rows, int64_t cols,
                            uint32_t* out) {
  for (int64_t t = 0; t < num_rows; ++t) {
    for (int64_t k = 0; k < cols; k += kBf16Step) {
      const int64_t left = cols - k;
      round_step_to_bf16(rows[t] + k, left < kBf16Step ? left : (int64_t)kBf16Step,
                         out + (k / kBf16Step * num_rows + t) * 16);
    }
  }
}

template <class D>
struct Bf16Lanes {
  using F = typename D::F;
  using P = typename D::P;
  static constexpr int kW = 4;
  static constexpr int kMostX = 6;
  static constexpr int64_t kSteps = kBf16Block / kBf16Step;

  struct Rows {
    const uint8_t* w[kW];
  };
  // A tile of packed x from its row `row` on.
  struct X {
    const uint32_t* words;
    int64_t rows;
    int64_t row;
    const uint32_t* at(int64_t step, int t) const { return words + (step * rows + row + t) * 16; }
  };

  template <int NX>
  static void add(const X& x, int64_t step, const P (&w)[kW], F (&sum)[NX][kW]) {
#pragma GCC unroll 8
    for (int t = 0; t < NX; ++t) {
      const P xv = D::load(x.at(step, t));
#pragma GCC unroll 4
      for (int n = 0; n < kW; ++n) sum[t][n] = D::dot(sum[t][n], xv, w[n]);
    }
  }

  // Step `step` of a row of w, of which the last may be a part.
  static P load_w(const uint8_t* w, int64_t step, int64_t cols) {
    if ((step + 1) * kBf16Step <= cols) return D::load(w + 64 * step);
    uint8_t padded[64] = {};
    __builtin_memcpy(padded, w + 64 * step, (size_t)(2 * (cols - step * kBf16Step)));
    return D::load(padded);
  }

  // Sums of NX rows of x and kW of w over steps [first, last), the columns of a block: [kW][8].
  template <int NX>
  static void tile(const Rows& rows, const X& x, int64_t first, int64_t last, int64_t cols,
                   float (*out)[8]) {
    F sum[NX][kW];
#pragma GCC unroll 8
    for (int t = 0; t < NX; ++t) {
#pragma GCC unroll 4
      for (int n = 0; n < kW; ++n) sum[t][n] = D::zero();
    }
    P w[kW];
    const int64_t whole = cols / kBf16Step < last ? cols / kBf16Step : last;
    for (int64_t s = first; s < whole; ++s) {
#pragma GCC unroll 4
      for (int n = 0; n < kW; ++n) w[n] = D::load(rows.w[n] + 64 * s);
      add(x, s, w, sum);
    }
    if (whole < last) {
#pragma GCC unroll 4
      for (int n = 0; n < kW; ++n) w[n] = load_w(rows.w[n], whole, cols);
      add(x, whole, w, sum);
    }
#pragma GCC unroll 4
    for (int n = 0; n < kW; ++n) {
#pragma GCC unroll 2
      for (int t = 0; t < NX; t += 4) {
        const F none = D::zero();
        D::reduce_add_4(sum[t][n], t + 1 < NX ? sum[t + 1 < NX ? t + 1 : t][n] : none,
                        t + 2 < NX ? sum[t + 2 < NX ? t + 2 : t][n] : none,
                        t + 3 < NX ? sum[t + 3 < NX ? t + 3 : t][n] : none, out[n] + t);
      }
    }
  }

  // One row of x with one of w, block after block. kFetches: what lies `ahead` bytes further on
  // comes into the first level, past the second, for it is read once. Two cores of Zen 5, files
  // mapped in pages of 4 KB, of a loop of loads beside it: four rows of w side by side 0.65, one
  // 0.8, one with 8 KB fetched ahead 0.9; in huge pages 0.7, 0.9, 1.0. On Zen 4 the processor does
  // better by itself, one core and two: 0.95-0.97 and 0.85; with 8 KB 0.71 and 0.75, with 2 KB into
  // both levels 0.91 and 0.82.
  template <bool kFetches>
  static float row(const uint8_t* w, const uint32_t* x, int64_t cols, int64_t ahead) {
    float total = 0.0f;
    const int64_t whole = cols / kBf16Step;
    const int64_t steps = bf16_packed_words(1, cols) / 16;
    for (int64_t first = 0; first < steps; first += kSteps) {
      const int64_t last = first + kSteps < steps ? first + kSteps : steps;
      F sum = D::zero();
      for (int64_t s = first; s < last && s < whole; ++s) {
        sum = D::dot(sum, D::load(x + 16 * s), D::load(w + 64 * s));
        if constexpr (kFetches) __builtin_prefetch(w + 64 * s + ahead, 0, 0);
      }
      if (whole < last) sum = D::dot(sum, D::load(x + 16 * whole), load_w(w, whole, cols));
      const float part = D::reduce_add(sum);
      total = first == 0 ? part : total + part;
    }
    return total;
  }

  template <bool kFetches>
  static void one_row(const Bf16DotArgs& args) {
    const auto* w = (const uint8_t*)args.w;
    for (int64_t n = 0; n < args.num_w; ++n, w += args.row_bytes) {
      args.sums[n] = row<kFetches>(w, args.x, args.cols, args.stream_ahead_bytes);
    }
  }

  template <int NX>
  static void tile_of(int64_t num_x, const Rows& rows, const X& x, int64_t first, int64_t last,
                      int64_t cols, float (*out)[8]) {
    if constexpr (NX > 1) {
      if (num_x < NX) return tile_of<NX - 1>(num_x, rows, x, first, last, cols, out);
    }
    tile<NX>(rows, x, first, last, cols, out);
  }

  // Rows n ... n + 3 of w (beyond the last: the last again).
  static Rows rows_at(const Bf16DotArgs& args, int64_t n) {
    Rows rows;
    const auto* w = (const uint8_t*)args.w;
    for (int i = 0; i < kW; ++i) {
      const int64_t row = n + i < args.num_w ? n + i : args.num_w - 1;
      rows.w[i] = w + row * args.row_bytes;
    }
    return rows;
  }

  // Sums are [num_w][sums_stride], an odd number of cache lines: powers of two share few sets.
  static int64_t sums_stride(const Bf16DotArgs& args) {
    return args.num_x == 1 ? 1 : (args.num_x + 31) / 32 * 32 + 16;
  }

  // Rows [t, t + num_x) of x, of one tile, with all rows of w over a block of columns.
  static void row_of_tiles(const Bf16DotArgs& args, const X& x, int64_t t, int64_t num_x,
                           int64_t first, int64_t last) {
    for (int64_t n = 0; n < args.num_w; n += kW) {
      float out[kW][8];
      tile_of<kMostX>(num_x, rows_at(args, n), x, first, last, args.cols, out);
      for (int64_t i = 0; i < kW && n + i < args.num_w; ++i) {
        float* sums = args.sums + (n + i) * sums_stride(args) + t;
        for (int64_t j = 0; j < num_x; ++j) sums[j] = first == 0 ? out[i][j] : sums[j] + out[i][j];
      }
    }
  }

  static void product(const Bf16DotArgs* args) {
    if (args->num_x == 1) {
      return args->stream_ahead_bytes > 0 ? one_row<true>(*args) : one_row<false>(*args);
    }
    const int64_t steps = bf16_packed_words(1, args->cols) / 16;
    for (int64_t first = 0; first < steps; first += kSteps) {
      const int64_t last = first + kSteps < steps ? first + kSteps : steps;
      for (int64_t t = 0; t < args->num_x; t += kBf16DotX) {
        const int64_t left = args->num_x - t;
        const int64_t rows = left < kBf16DotX ? left : (int64_t)kBf16DotX;
        const uint32_t* words = args->x + bf16_packed_words(t, args->cols);
        for (int64_t row = 0; row < rows; row += kMostX) {
          const int64_t num_x = rows - row < kMostX ? rows - row : kMostX;
          row_of_tiles(*args, {words, rows, row}, t + row, num_x, first, last);
        }
      }
    }
  }

  static void take_rows(const Bf16DotArgs* args, int64_t t, int64_t count, float* rows,
                        int64_t stride) {
    const int64_t from_stride = sums_stride(*args);
    const float* from = args->sums + t;
    for (int64_t n = 0; n < args->num_w; ++n, from += from_stride) {
      for (int64_t i = 0; i < count; ++i) rows[i * stride + n] = from[i];
    }
  }
};

template <class D>
constexpr Bf16DotKernel make_bf16_lanes() {
  return {pack_lanes_of_x, Bf16Lanes<D>::product, Bf16Lanes<D>::take_rows};
}

}  // namespace
}  // namespace ruvllm::kernels
