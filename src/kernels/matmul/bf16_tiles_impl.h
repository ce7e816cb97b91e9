// The kernels of bf16_dot.h, "tiles", over the T of simd/amx_tile.h.
//
// Rows of w are the left side as they lie in memory (16 rows of 64 bytes), x is the right side in
// pairs, so that no weight is repacked and one row of x is a tile one column wide. That is enough
// for it: a step of 16 rows is 1 KB of weights in 16 cycles of the tile unit and 32 loads, 64 bytes
// a cycle, where a core gets about 5 from memory.
//
// Many rows: two tiles of w by two of x, four products for four loads. w is copied in blocks of 32
// rows by 512 columns, whose lines would otherwise share few sets of the first-level cache; they
// stay there, and x passes by from the second level (a loop of that takes 7.0 ns a product on
// Emerald Rapids, as without any loads; 9.3 with both from the second level). The next block comes
// to the second level meanwhile.
//
// Sums are tiles, too, of w by x: for each 32 rows of w (the last 32 may be incomplete, their room
// is not) and each tile of up to 16 rows of x those of the first 16 rows of w, then of the others.
#pragma once

#include "kernels/matmul/bf16_dot.h"
#include "kernels/matmul/bf16_round.h"
#include "kernels/simd/amx_tile.h"
#include "kernels/simd/turn_words.h"

namespace ruvllm::kernels {
namespace {

// turn_16x16 of rows of which `count` columns are wanted: rows of `to` of that number. Rows of
// `from` are read as whole vectors.
inline void turn_columns(const void* from, int64_t from_stride, int64_t count, void* to,
                         int64_t to_stride, int64_t to_words) {
  uint32_t turned[16][16];
  turn_16x16(from, from_stride, turned, 16);
  for (int64_t i = 0; i < count; ++i) {
    __builtin_memcpy((uint32_t*)to + i * to_stride, turned[i], (size_t)(4 * to_words));
  }
}

inline void pack_tiles_of_x(const float* const* rows, int64_t num_rows, int64_t cols,
                            uint32_t* out) {
  alignas(64) uint32_t step[16][16] = {};  // [row][pair of columns]
  for (int64_t k = 0; k < cols; k += kBf16Step, out += 16 * num_rows) {
    const int64_t left = cols - k;
    const int64_t count = left < kBf16Step ? left : (int64_t)kBf16Step;
    for (int64_t t = 0; t < num_rows; ++t) round_step_to_bf16(rows[t] + k, count, step[t]);
    if (num_rows == 1) {
      __builtin_memcpy(out, step[0], sizeof step[0]);
    } else if (num_rows == 16) {
      turn_16x16(step, 16, out, 16);
    } else {
      turn_columns(step, 16, 16, out, num_rows, num_rows);
    }
  }
}

// Where the sums of w's rows from n on, n a multiple of 32, and of x's from t on are.
inline float* sums_of_tiles(const Bf16DotArgs& args, int64_t n, int64_t t) {
  return args.sums + n * args.num_x + t * 32;
}

// Brings so many lines of each of some rows to the second-level cache, row after row, a few with
// each step.
class RowFetcher {
 public:
  RowFetcher() = default;
  RowFetcher(const uint8_t* rows, int64_t row_bytes, int64_t num_rows, int64_t lines, int64_t steps)
      : at_(rows),
        to_next_row_(row_bytes - 64 * lines),
        left_(num_rows * lines),
        lines_(lines),
        lines_a_step_((left_ + steps - 1) / steps) {}

  void step() {
    for (int64_t i = 0; i < lines_a_step_ && left_ > 0; ++i, --left_) {
      __builtin_prefetch(at_, 0, 2);
      at_ += 64;
      if (++line_ < lines_) continue;
      line_ = 0;
      at_ += to_next_row_;
    }
  }

 private:
  const uint8_t* at_ = nullptr;
  int64_t to_next_row_ = 0;
  int64_t left_ = 0;
  int64_t lines_ = 0;
  int64_t lines_a_step_ = 0;
  int64_t line_ = 0;
};

template <class T>
struct Bf16Product {
  static constexpr int64_t kSide = 16;
  static constexpr int64_t kBlockRows = 2 * kSide;  // of w, and of x
  static constexpr int64_t kBlockSteps = 16;
  static constexpr int64_t kRowsInPlace = 64;  // of x, at most, whose product reads w in place

  const Bf16DotArgs* args;
  T tiles;
  TileConfig shapes;
  bool configured = false;
  RowFetcher fetcher;  // of the block that is copied next
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
  void begin(float* sums, int64_t stride, bool first) {
    if (first) {
      tiles.template zero<kTile>();
    } else {
      tiles.template load<kTile>(sums, stride);
    }
  }
  template <int kTile, bool kPassing>
  void load(const void* from, int64_t stride) {
    if constexpr (kPassing) {
      tiles.template load_passing<kTile>(from, stride);
    } else {
      tiles.template load<kTile>(from, stride);
    }
  }

  // What goes on beside step i of a block: w.ahead, or the fetcher's lines and, where the sums go
  // on, those of the block of x after this.
  template <int kW, bool kCopied>
  void fetch(const Left& w, int64_t i, const float* next_sums) {
    if constexpr (kCopied) {
      fetcher.step();
      if (next_sums == nullptr) return;
      constexpr int64_t kFloats = kBlockRows * kBlockRows / kBlockSteps;
      for (int64_t line = 0; line < kFloats; line += 16) {
        __builtin_prefetch(next_sums + i * kFloats + line, 1, 3);
      }
    } else if (w.ahead != nullptr) {
      const uint8_t* ahead = w.ahead + i * w.step_bytes;
      for (int64_t r = 0; r < kW * kSide; ++r)
        __builtin_prefetch(ahead + r * args->row_bytes, 0, 2);
    }
  }

  // What a block reads: of step i (from its first on) rows of w, and tiles of x.
  struct Inputs {
    const Left* w;
    const uint32_t* x0;
    const uint32_t* x1;
    int64_t side_x, rest_x;
    int64_t last;  // the step that w->last is of; none: -1
  };
  template <int kFirstTile, bool kCopied>
  void load_w(const Inputs& in, int64_t i) {
    const bool part = !kCopied && i == in.last;
    const uint8_t* from = part ? in.w->last : in.w->from + i * in.w->step_bytes;
    const int64_t row_bytes = part ? 64 : in.w->row_bytes;
    tiles.template load<kFirstTile>(from + (kFirstTile - 4) * kSide * row_bytes, row_bytes);
  }
  template <bool kCopied>
  void load_x0(const Inputs& in, int64_t i) {
    load<6, kCopied>(in.x0 + i * kSide * in.side_x, 4 * in.side_x);
  }
  template <bool kCopied>
  void load_x1(const Inputs& in, int64_t i) {
    load<7, kCopied>(in.x1 + i * kSide * in.rest_x, 4 * in.rest_x);
  }

  // The products of a step whose tiles are loaded; each tile takes the next step's after its last.
  template <int kW, int kX, bool kCopied, bool kMore>
  void step(const Inputs& in, int64_t i, const float* next_sums) {
    tiles.template dot_bf16<0, 4, 6>();
    if constexpr (kX > 1) tiles.template dot_bf16<1, 4, 7>();
    if constexpr (kMore) load_w<4, kCopied>(in, i + 1);
    if constexpr (kW > 1) tiles.template dot_bf16<2, 5, 6>();
    if constexpr (kMore) load_x0<kCopied>(in, i + 1);
    if constexpr (kW > 1 && kX > 1) tiles.template dot_bf16<3, 5, 7>();
    if constexpr (kMore && kX > 1) load_x1<kCopied>(in, i + 1);
    if constexpr (kMore && kW > 1) load_w<5, kCopied>(in, i + 1);
    fetch<kW, kCopied>(*in.w, i, next_sums);
  }

  // A block of kW tiles of w by kX of x, over steps of columns.
  template <int kW, int kX, bool kCopied>
  void block(const Left& w, int64_t n, Range x, Range steps) {
    const int64_t side_x = x.count < kSide ? x.count : kSide;
    const int64_t rest_x = x.count - side_x;
    const uint32_t* const packed = args->x + bf16_packed_words(x.first, args->cols);
    const uint32_t* const packed1 = packed + bf16_packed_words(side_x, args->cols);
    const Inputs in{&w,
                    packed + steps.first * kSide * side_x,
                    packed1 + steps.first * kSide * rest_x,
                    side_x,
                    rest_x,
                    w.last == nullptr ? -1 : steps.count - 1};
    float* const sums = sums_of_tiles(*args, n, x.first);
    float* const beside = sums + side_x * kBlockRows;
    const bool first = steps.first == 0;
    begin<0>(sums, 4 * side_x, first);
    if constexpr (kX > 1) begin<1>(beside, 4 * rest_x, first);
    if constexpr (kW > 1) begin<2>(sums + side_x * kSide, 4 * side_x, first);
    if constexpr (kW > 1 && kX > 1) begin<3>(beside + rest_x * kSide, 4 * rest_x, first);
    const float* const next_sums = first ? nullptr : sums + x.count * kBlockRows;
    load_w<4, kCopied>(in, 0);
    load_x0<kCopied>(in, 0);
    if constexpr (kX > 1) load_x1<kCopied>(in, 0);
    if constexpr (kW > 1) load_w<5, kCopied>(in, 0);
    for (int64_t i = 0; i + 1 < steps.count; ++i) step<kW, kX, kCopied, true>(in, i, next_sums);
    step<kW, kX, kCopied, false>(in, steps.count - 1, next_sums);
    tiles.template store<0>(sums, 4 * side_x);
    if constexpr (kX > 1) tiles.template store<1>(beside, 4 * rest_x);
    if constexpr (kW > 1) tiles.template store<2>(sums + side_x * kSide, 4 * side_x);
    if constexpr (kW > 1 && kX > 1) tiles.template store<3>(beside + rest_x * kSide, 4 * rest_x);
  }

  template <bool kCopied>
  void blocks(const Left& w, int64_t n, int64_t num_w, Range x, Range steps) {
    shape(num_w, x.count);
    if (num_w > kSide) {
      x.count > kSide ? block<2, 2, kCopied>(w, n, x, steps) : block<2, 1, kCopied>(w, n, x, steps);
    } else {
      x.count > kSide ? block<1, 2, kCopied>(w, n, x, steps) : block<1, 1, kCopied>(w, n, x, steps);
    }
  }

  const uint8_t* row_of_w(int64_t n) const { return (const uint8_t*)args->w + n * args->row_bytes; }
  int64_t rows_of_block(int64_t n) const {
    return args->num_w - n < kBlockRows ? args->num_w - n : kBlockRows;
  }

  // A block's steps of rows of w, zeros beyond the columns.
  void copy_block(const uint8_t* rows, int64_t num_w, Range steps) {
    for (int64_t r = 0; r < num_w; ++r, rows += args->row_bytes) {
      for (int64_t i = 0; i < steps.count; ++i) {
        const int64_t done = 64 * (steps.first + i);
        const int64_t left = 2 * args->cols - done;
        if (left >= 64) {
          __builtin_memcpy(copy[i][r], rows + done, 64);
        } else {
          __builtin_memset(copy[i][r], 0, 64);
          __builtin_memcpy(copy[i][r], rows + done, (size_t)left);
        }
      }
    }
  }

  // Few rows of x: w is read in place.
  void stream() {
    for (int64_t n = 0; n < args->num_w; n += kBlockRows) {
      const int64_t num_w = rows_of_block(n);
      const uint8_t* rows = row_of_w(n);
      Left w{rows, 64, args->row_bytes, nullptr, nullptr};
      if (n + 2 * kBlockRows <= args->num_w) w.ahead = rows + kBlockRows * args->row_bytes;
      if (args->cols % kBf16Step != 0) {
        copy_block(rows, num_w, {num_steps() - 1, 1});
        w.last = copy[0][0];
      }
      for (int64_t t = 0; t < args->num_x; t += kBlockRows) {
        const int64_t num_x = args->num_x - t < kBlockRows ? args->num_x - t : kBlockRows;
        blocks<false>(w, n, num_w, {t, num_x}, {0, num_steps()});
        w.ahead = nullptr;
      }
    }
  }

  Range steps_from(int64_t s) const {
    return {s, num_steps() - s < kBlockSteps ? num_steps() - s : kBlockSteps};
  }

  // The block after that of the rows n and these steps is fetched beside all of it.
  void fetch_next(int64_t n, Range steps) {
    n += kBlockRows;
    const int64_t num_blocks = (args->num_x + kBlockRows - 1) / kBlockRows;
    Range next = steps;
    if (n >= args->num_w) {
      n = 0;
      next = steps_from(steps.first + steps.count);
    }
    fetcher = RowFetcher(row_of_w(n) + 64 * next.first, args->row_bytes, rows_of_block(n),
                         next.count, num_blocks * steps.count);
  }

  void multiply_copies() {
    for (int64_t s = 0; s < num_steps(); s += kBlockSteps) {
      const Range steps = steps_from(s);
      for (int64_t n = 0; n < args->num_w; n += kBlockRows) {
        const int64_t num_w = rows_of_block(n);
        copy_block(row_of_w(n), num_w, steps);
        fetch_next(n, steps);
        const Left w{copy[0][0], sizeof copy[0], 64, nullptr, nullptr};
        for (int64_t t = 0; t < args->num_x; t += kBlockRows) {
          const int64_t num_x = args->num_x - t < kBlockRows ? args->num_x - t : kBlockRows;
          blocks<true>(w, n, num_w, {t, num_x}, steps);
        }
      }
    }
  }
};

template <class T>
void product_bf16(const Bf16DotArgs* args) {
  Bf16Product<T> product;
  product.args = args;
  args->num_x <= Bf16Product<T>::kRowsInPlace ? product.stream() : product.multiply_copies();
  product.tiles.release();
}

inline void take_rows_of_tiles(const Bf16DotArgs* args, int64_t t, int64_t count, float* rows,
                               int64_t stride) {
  for (int64_t n = 0; n < args->num_w; n += 16) {
    const int64_t num_w = args->num_w - n < 16 ? args->num_w - n : 16;
    const float* const sums = sums_of_tiles(*args, n / 32 * 32, t) + n % 32 * count;
    if (count == 1) {
      __builtin_memcpy(rows + n, sums, (size_t)num_w * sizeof(float));
    } else if (count == 16) {
      turn_16x16(sums, 16, rows + n, stride);
    } else {
      turn_columns(sums, count, count, rows + n, stride, num_w);
    }
  }
}

template <class T>
constexpr Bf16DotKernel make_bf16_tiles() {
  return {pack_tiles_of_x, product_bf16<T>, take_rows_of_tiles};
}

}  // namespace
}  // namespace ruvllm::kernels
