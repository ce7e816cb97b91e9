// The kernels of bf16_dot.h, "tiles", over the T of simd/amx_tile.h.
//
// Rows of w are the left side as they lie in memory (16 rows of 64 bytes), x is the right side in
// pairs, so that no weight is repacked and one row of x is a tile one column wide. That is enough
// for it: a step of 16 rows is 1 KB of weights in 16 cycles of the tile unit and 32 loads, 64 bytes
// a cycle, where a core gets about 5 from memory.
//
// Many rows: two tiles of w by two of x, four products for four loads. w is copied in blocks of 32
// rows by 512 columns, whose lines would otherwise share few sets of the first-level cache; copy
// and two tiles of x are 48 KB at most and meet the block's x from the second level.
#pragma once

#include "kernels/matmul/bf16_dot.h"
#include "kernels/matmul/bf16_round.h"
#include "kernels/simd/amx_tile.h"

namespace ruvllm::kernels {
namespace {

inline void pack_tiles_of_x(const float* const* rows, int64_t num_rows, int64_t cols,
                            uint32_t* out) {
  for (int64_t t = 0; t < num_rows; ++t) {
    uint32_t* to = out + t;
    for (int64_t k = 0; k < cols; k += kBf16Step) {
      const int64_t left = cols - k;
      uint32_t step[16];
      round_step_to_bf16(rows[t] + k, left < kBf16Step ? left : (int64_t)kBf16Step, step);
      for (int i = 0; i < 16; ++i, to += num_rows) *to = step[i];
    }
  }
}

template <class T>
struct Bf16Product {
  static constexpr int64_t kSide = 16;
  static constexpr int64_t kBlockRows = 2 * kSide;  // of w, and of x
  static constexpr int64_t kBlockSteps = 16;

  const Bf16DotArgs* args;
  T tiles;
  TileConfig shapes;
  bool configured = false;
  // Rows of w of a block, by steps; without blocks, [0]: the step that is not whole.
  alignas(64) uint8_t copy[kBlockSteps][kBlockRows][64];

  // Where a block's rows of w are: step s at from + s * step_bytes.
  struct Left {
    const uint8_t* from;
    int64_t step_bytes;
    int64_t row_bytes;
    const uint8_t* last;   // the step that is not whole, rows 64 bytes apart; null: none apart
    const uint8_t* ahead;  // as from, fetched meanwhile; null: nothing
  };
  struct Range {
    int64_t first, count;
  };

  int64_t num_steps() const { return (args->cols + kBf16Step - 1) / kBf16Step; }

  // Tiles: sums 0 1 2 3 as [w][x], w 4 5, x 6 7.
  void shape(int64_t num_w, int64_t num_x) {
    const int w1 = (int)(num_w > kSide ? num_w - kSide : 0);
    const int x1 = (int)(num_x > kSide ? num_x - kSide : 0);
    const int w0 = (int)num_w - w1;
    const int x0 = (int)num_x - x1;
    TileConfig next;
    next.set(0, w0, 4 * x0);
    next.set(4, w0, 64);
    next.set(6, kSide, 4 * x0);
    if (x1 > 0) next.set(1, w0, 4 * x1);
    if (w1 > 0) next.set(2, w1, 4 * x0);
    if (w1 > 0 && x1 > 0) next.set(3, w1, 4 * x1);
    if (w1 > 0) next.set(5, w1, 64);
    if (x1 > 0) next.set(7, kSide, 4 * x1);
    if (configured && __builtin_memcmp(&next, &shapes, sizeof next) == 0) return;
    shapes = next;
    configured = true;
    tiles.configure(shapes);
  }

  template <int kTile>
  void begin(float* sums, bool first) {
    if (first) {
      tiles.template zero<kTile>();
    } else {
      tiles.template load<kTile>(sums, args->sums_stride * 4);
    }
  }

  // A block of kW tiles of w by kX of x, over steps of columns.
  template <int kW, int kX>
  void block(const Left& w, int64_t n, Range x, Range steps) {
    const int64_t side_x = x.count < kSide ? x.count : kSide;
    const int64_t rest_x = x.count - side_x;
    const uint32_t* x0 = args->x + bf16_packed_words(x.first, args->cols);
    const uint32_t* x1 = x0 + bf16_packed_words(side_x, args->cols);
    float* const sums = args->sums + n * args->sums_stride + x.first;
    float* const below = sums + kSide * args->sums_stride;
    begin<0>(sums, steps.first == 0);
    if constexpr (kX > 1) begin<1>(sums + kSide, steps.first == 0);
    if constexpr (kW > 1) begin<2>(below, steps.first == 0);
    if constexpr (kW > 1 && kX > 1) begin<3>(below + kSide, steps.first == 0);
    const int64_t last = steps.first + steps.count;
    for (int64_t s = steps.first; s < last; ++s) {
      const bool part = w.last != nullptr && s + 1 == num_steps();
      const uint8_t* from = part ? w.last : w.from + (s - steps.first) * w.step_bytes;
      const int64_t row_bytes = part ? 64 : w.row_bytes;
      if (w.ahead != nullptr) {
        const uint8_t* ahead = w.ahead + (s - steps.first) * w.step_bytes;
        for (int64_t r = 0; r < kW * kSide; ++r)
          __builtin_prefetch(ahead + r * args->row_bytes, 0, 2);
      }
      tiles.template load<4>(from, row_bytes);
      tiles.template load<6>(x0 + s * kSide * side_x, 4 * side_x);
      tiles.template dot_bf16<0, 4, 6>();
      if constexpr (kX > 1) {
        tiles.template load<7>(x1 + s * kSide * rest_x, 4 * rest_x);
        tiles.template dot_bf16<1, 4, 7>();
      }
      if constexpr (kW > 1) {
        tiles.template load<5>(from + kSide * row_bytes, row_bytes);
        tiles.template dot_bf16<2, 5, 6>();
        if constexpr (kX > 1) tiles.template dot_bf16<3, 5, 7>();
      }
    }
    const int64_t stride = args->sums_stride * 4;
    tiles.template store<0>(sums, stride);
    if constexpr (kX > 1) tiles.template store<1>(sums + kSide, stride);
    if constexpr (kW > 1) tiles.template store<2>(below, stride);
    if constexpr (kW > 1 && kX > 1) tiles.template store<3>(below + kSide, stride);
  }

  void blocks(const Left& w, int64_t n, int64_t num_w, Range x, Range steps) {
    shape(num_w, x.count);
    if (num_w > kSide) {
      x.count > kSide ? block<2, 2>(w, n, x, steps) : block<2, 1>(w, n, x, steps);
    } else {
      x.count > kSide ? block<1, 2>(w, n, x, steps) : block<1, 1>(w, n, x, steps);
    }
  }

  // Bytes [64 s, 64 s + 64) of rows of w, zeros beyond the columns.
  void copy_step(const uint8_t* rows, int64_t num_w, int64_t s, uint8_t (*to)[64]) const {
    const int64_t left = 2 * args->cols - 64 * s;
    for (int64_t r = 0; r < num_w; ++r) {
      const uint8_t* from = rows + r * args->row_bytes + 64 * s;
      if (left >= 64) {
        __builtin_memcpy(to[r], from, 64);
      } else {
        __builtin_memset(to[r], 0, 64);
        __builtin_memcpy(to[r], from, (size_t)left);
      }
    }
  }

  // Up to 32 rows of x: w is read once, in place.
  void stream() {
    for (int64_t n = 0; n < args->num_w; n += kBlockRows) {
      const int64_t num_w = args->num_w - n < kBlockRows ? args->num_w - n : kBlockRows;
      const uint8_t* rows = (const uint8_t*)args->w + n * args->row_bytes;
      Left w{rows, 64, args->row_bytes, nullptr, nullptr};
      if (n + 2 * kBlockRows <= args->num_w) w.ahead = rows + kBlockRows * args->row_bytes;
      if (args->cols % kBf16Step != 0) {
        copy_step(rows, num_w, num_steps() - 1, copy[0]);
        w.last = copy[0][0];
      }
      blocks(w, n, num_w, {0, args->num_x}, {0, num_steps()});
    }
  }

  void multiply_copies() {
    for (int64_t s = 0; s < num_steps(); s += kBlockSteps) {
      const int64_t steps = num_steps() - s < kBlockSteps ? num_steps() - s : kBlockSteps;
      for (int64_t n = 0; n < args->num_w; n += kBlockRows) {
        const int64_t num_w = args->num_w - n < kBlockRows ? args->num_w - n : kBlockRows;
        const uint8_t* rows = (const uint8_t*)args->w + n * args->row_bytes;
        for (int64_t i = 0; i < steps; ++i) copy_step(rows, num_w, s + i, copy[i]);
        const Left w{copy[0][0], sizeof copy[0], 64, nullptr, nullptr};
        for (int64_t t = 0; t < args->num_x; t += kBlockRows) {
          const int64_t num_x = args->num_x - t < kBlockRows ? args->num_x - t : kBlockRows;
          blocks(w, n, num_w, {t, num_x}, {s, steps});
        }
      }
    }
  }
};

template <class T>
void product_bf16(const Bf16DotArgs* args) {
  Bf16Product<T> product;
  product.args = args;
  args->num_x <= Bf16Product<T>::kBlockRows ? product.stream() : product.multiply_copies();
  product.tiles.release();
}

template <class T>
constexpr Bf16DotKernel make_bf16_tiles() {
  return {pack_tiles_of_x, product_bf16<T>};
}

}  // namespace
}  // namespace ruvllm::kernels
