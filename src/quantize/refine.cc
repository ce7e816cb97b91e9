#include "quantize/refine.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/float_types.h"
#include "base/line_vector.h"
#include "quantize/matrix_strips.h"
#include "quantize/vector_math.h"

namespace ruvllm {
namespace {

constexpr int64_t kTogether = 64;  // rows that go on until none of them changes
constexpr int64_t kRows = 256;     // rows of one task at most: what is read of H serves all of them
constexpr int64_t kBlock = 128;    // columns decided before the others hear of it

// Some rows on their way down. `gradient_` is H (w - q), half the negative slope. A change of q[k]
// by e takes e H[k] from it: at once in the columns of k's block, which are decided next, and in
// the others when the block is done, for all rows together, so that H is read once per sweep and
// not once per change. Each number sees the same changes in the same order as if all were at once.
class RowDescent {
 public:
  RowDescent(QuantizedMatrix& matrix, ConstMatrixF32 w, const std::vector<float>& hessian,
             const MatrixStrips& strips, const RefineOptions& options, int64_t first_row,
             int64_t num_rows)
      : matrix_(matrix),
        h_(hessian.data()),
        strips_(strips),
        options_(options),
        first_(first_row),
        count_(std::min(num_rows, matrix.rows - first_row)),
        cols_(matrix.cols),
        value_(static_cast<size_t>(count_ * cols_)),
        gradient_(static_cast<size_t>(count_ * (cols_ + kBlock - 1) / kBlock * kBlock)),
        change_(static_cast<size_t>(count_ * kBlock)),
        changed_(change_.size()),
        num_changed_(static_cast<size_t>(count_)),
        settled_(static_cast<size_t>((count_ + kTogether - 1) / kTogether)),
        all_changes_(static_cast<size_t>(count_ / kTermRows * kTermRows * kBlock)),
        many_changed_(static_cast<size_t>(count_ / kTermRows)),
        steps_(static_cast<size_t>(count_ * matrix.group_size)),
        slopes_(static_cast<size_t>(matrix.group_size)),
        diagonal_(static_cast<size_t>(kBlock * kBlock)),
        curvatures_(static_cast<size_t>(kBlock)) {
    for (int64_t r = 0; r < count_; ++r) dequantize_codes(matrix_, first_ + r, values(r));
    for (int64_t begin = 0; begin < cols_; begin += kBlock) {
      const int64_t end = std::min(begin + kBlock, cols_);
      for (int64_t r = 0; r < count_; ++r) {
        for (int64_t k = begin; k < end; ++k) {
          add_change(r, k - begin, values(r)[k] - w.row(first_ + r)[k]);
        }
      }
      apply_changes(begin, end, 0, 0);
    }
  }

  void run() {
    for (int sweep = 0; sweep < options_.sweeps; ++sweep) {
      fit_scales();
      if (!options_.codes || !fit_codes(sweep + 1 == options_.sweeps)) return;
    }
  }

 private:
  float* values(int64_t r) { return value_.data() + r * cols_; }
  // Of row r from the column on that begins a block, in that block.
  float* gradient(int64_t r, int64_t begin) {
    return gradient_.data() + begin * count_ + r * kBlock;
  }
  float* step(int64_t r) { return steps_.data() + r * matrix_.group_size; }
  bool settled(int64_t r) const { return settled_[static_cast<size_t>(r / kTogether)]; }
  uint8_t* codes(int64_t r) { return matrix_.codes.data() + (first_ + r) * cols_; }

  // The value of row r at column `at` of the block has changed by e, and the columns outside do not
  // know it yet.
  void add_change(int64_t r, int64_t at, float e) {
    const int64_t place = r * kBlock + num_changed_[static_cast<size_t>(r)]++;
    change_[static_cast<size_t>(place)] = e;
    changed_[static_cast<size_t>(place)] = static_cast<uint8_t>(at);
  }

  // Tells all columns but [keep, keep_end), whole blocks, of the changes in the block [begin, end),
  // and forgets them.
  void apply_changes(int64_t begin, int64_t end, int64_t keep, int64_t keep_end) {
    if (std::all_of(num_changed_.begin(), num_changed_.end(), [](int64_t n) { return n == 0; }))
      return;
    lay_out_changes(end - begin);
    for (int64_t column = 0; column < cols_; column += kStripWidth) {
      if (column < keep || column >= keep_end) apply_strip(begin, end - begin, column);
    }
    std::fill(num_changed_.begin(), num_changed_.end(), 0);
  }

  // Where most of some rows' numbers have changed these rows go together, each with a change, if
  // only by 0, of every column.
  void lay_out_changes(int64_t num_terms) {
    for (size_t i = 0; i < many_changed_.size(); ++i) {
      const auto first = static_cast<int64_t>(i) * kTermRows;
      int64_t sum = 0;
      for (int64_t r = first; r < first + kTermRows; ++r) {
        sum += num_changed_[static_cast<size_t>(r)];
      }
      many_changed_[i] = 3 * sum > 2 * kTermRows * num_terms;
      if (!many_changed_[i]) continue;
      float* const to = all_changes_.data() + first * kBlock;
      std::fill_n(to, kTermRows * num_terms, 0.0f);
      for (int64_t r = 0; r < kTermRows; ++r) {
        const int64_t from = (first + r) * kBlock;
        for (int64_t j = 0; j < num_changed_[static_cast<size_t>(first + r)]; ++j) {
          const auto place = static_cast<size_t>(from + j);
          to[changed_[place] * kTermRows + r] = change_[place];
        }
      }
    }
  }

  void apply_strip(int64_t begin, int64_t num_terms, int64_t column) {
    const float* const strip = strips_.at(begin, column);
    const float* const next = strips_.at(begin, std::min(column + kStripWidth, cols_ - 1));
    float* const y = gradient(0, column / kBlock * kBlock) + column % kBlock;
    const int64_t part = (num_terms * kStripWidth + count_ - 1) / count_;  // of the next strip
    float unused[kStripWidth] = {};
    const RowTerms none{unused, nullptr, nullptr, 0};
    RowTerms waiting = none;
    for (int64_t r = 0; r < count_;) {
      const auto rows = static_cast<size_t>(r / kTermRows);
      if (rows < many_changed_.size() && many_changed_[rows]) {
        // The next rows come meanwhile, and what is next of H.
        for (int64_t i = kTermRows; i < 2 * kTermRows; ++i) {
          const float* row = y + std::min(r + i, count_ - 1) * kBlock;
          __builtin_prefetch(row, 1);
          __builtin_prefetch(row + 16, 1);
        }
        for (int64_t i = r * part; i < (r + kTermRows) * part; i += 16) {
          __builtin_prefetch(next + i, 0, 2);
        }
        subtract_all_terms(y + r * kBlock, kBlock, all_changes_.data() + r * kBlock, num_terms,
                           strip);
        r += kTermRows;
        continue;
      }
      if (const int64_t changed = num_changed_[static_cast<size_t>(r)]; changed > 0) {
        __builtin_prefetch(next + r * part, 0, 2);
        const RowTerms row{y + r * kBlock, change_.data() + r * kBlock,
                           changed_.data() + r * kBlock, changed};
        if (waiting.num_terms == 0) {
          waiting = row;
        } else {
          subtract_terms(waiting, row, strip);
          waiting = none;
        }
      }
      ++r;
    }
    if (waiting.num_terms > 0) subtract_terms(waiting, none, strip);
  }

  // Row k of H in the columns of the block that begins at `begin`, once copy_diagonal(begin) ran.
  const float* diagonal(int64_t begin, int64_t k) const {
    return diagonal_.data() + (k - begin) * kBlock;
  }

  void copy_diagonal(int64_t begin) {
    const int64_t width = std::min(kBlock, cols_ - begin);
    for (int64_t k = 0; k < width; ++k) {
      std::copy_n(h_ + (begin + k) * cols_ + begin, width, diagonal_.data() + k * kBlock);
      curvatures_[static_cast<size_t>(k)] = diagonal_[static_cast<size_t>(k * kBlock + k)];
    }
  }

  // Each scale once, in order: all groups of a block, or, where they do not fill one, a group.
  void fit_scales() {
    const int64_t size = matrix_.group_size;
    if (kBlock % size != 0) {
      for (int64_t begin = 0; begin < cols_; begin += size) fit_wide_group(begin);
      return;
    }
    for (int64_t begin = 0; begin < cols_; begin += kBlock) {
      const int64_t end = std::min(begin + kBlock, cols_);
      copy_diagonal(begin);
      for (int64_t r = 0; r < count_; ++r) {
        if (settled(r)) continue;
        for (int64_t at = begin; at < end; at += size) {
          const int64_t count = std::min(size, end - at);
          float* const slopes = gradient(r, begin);
          if (!fit_scale(r, at, slopes + (at - begin), count, diagonal(begin, at) + (at - begin),
                         kBlock)) {
            continue;
          }
          subtract_rows(slopes, end - begin, step(r), diagonal(begin, at), kBlock, count);
          for (int64_t i = 0; i < count; ++i) add_change(r, at + i - begin, step(r)[i]);
        }
      }
      apply_changes(begin, end, begin, end);
    }
  }

  void fit_wide_group(int64_t begin) {
    const int64_t end = std::min(begin + matrix_.group_size, cols_);
    std::array<bool, kRows> fitted = {};
    for (int64_t r = 0; r < count_; ++r) {
      fitted[static_cast<size_t>(r)] =
          !settled(r) && fit_scale(r, begin, slopes(r, begin, end), end - begin,
                                   h_ + begin * cols_ + begin, cols_);
    }
    for (int64_t from = begin; from < end; from += kBlock) {
      const int64_t to = std::min(from + kBlock, end);
      for (int64_t r = 0; r < count_; ++r) {
        if (!fitted[static_cast<size_t>(r)]) continue;
        for (int64_t k = from; k < to; ++k) add_change(r, k - from, step(r)[k - begin]);
      }
      apply_changes(from, to, 0, 0);
    }
  }

  // The gradient of row r in any columns; until the next call.
  const float* slopes(int64_t r, int64_t begin, int64_t end) {
    for (int64_t from = begin; from < end;) {
      const int64_t block = from / kBlock * kBlock;
      const int64_t to = std::min(end, block + kBlock);
      std::copy_n(gradient(r, block) + (from - block), to - from, slopes_.begin() + (from - begin));
      from = to;
    }
    return slopes_.data();
  }

  // The scale of the group at column `begin` by least squares, as it can be stored; `slopes` are
  // the gradient there, `h` is its part of H, rows `stride` apart. Gives whether it changed, and
  // then by how much each value, in step(r).
  bool fit_scale(int64_t r, int64_t begin, const float* slopes, int64_t count, const float* h,
                 int64_t stride) {
    const int64_t g = begin / matrix_.group_size;
    const GroupScale group = get_group(matrix_, first_ + r, g);
    for (int64_t i = 0; i < count; ++i) {
      step(r)[i] = static_cast<float>(static_cast<int32_t>(codes(r)[begin + i]) - group.zero);
    }
    const double along = dot_lanes(step(r), slopes, count);
    const double curvature = quadratic_form(h, stride, step(r), count);
    if (!(curvature > 0.0)) return false;
    float scale = static_cast<float>(double{group.scale} + along / curvature);
    if (options_.grid.f16_scales) scale = f16_to_f32(f32_to_f16(scale));
    if (!(scale >= 0x1p-24f) || !(scale <= 65504.0f)) return false;
    const double by = double{scale} - double{group.scale};
    if (by == 0.0 || by * by * curvature >= 2.0 * by * along) return false;
    set_group(matrix_, first_ + r, g, {scale, group.zero});
    for (int64_t i = 0; i < count; ++i) {
      step(r)[i] *= static_cast<float>(by);
      values(r)[begin + i] = decode({scale, group.zero}, codes(r)[begin + i]);
    }
    return true;
  }

  // Each code once, in order. Rows have settled, kTogether of them at a time, when none of their
  // codes changes; gives whether any have not. The `last` time nobody asks for the gradient of
  // columns that are done.
  bool fit_codes(bool last) {
    std::vector<bool> changes(settled_.size());
    for (int64_t begin = 0; begin < cols_; begin += kBlock) {
      const int64_t end = std::min(begin + kBlock, cols_);
      copy_diagonal(begin);
      for (int64_t r = 0; r < count_; ++r) {
        if (settled(r)) continue;
        fit_codes(r, begin, end);
        if (num_changed_[static_cast<size_t>(r)] > 0) {
          changes[static_cast<size_t>(r / kTogether)] = true;
        }
      }
      apply_changes(begin, end, last ? 0 : begin, end);
    }
    for (size_t i = 0; i < changes.size(); ++i) settled_[i] = !changes[i];
    return std::find(changes.begin(), changes.end(), true) != changes.end();
  }

  // The codes of a block: the next that is to change, and again from there.
  void fit_codes(int64_t r, int64_t begin, int64_t end) {
    const int64_t size = matrix_.group_size;
    for (int64_t k = begin; k < end;) {
      const int64_t to = std::min(end, (k / size + 1) * size);
      const GroupScale group = get_group(matrix_, first_ + r, k / size);
      k += quantizer_kernels().first_better_code(
          {values(r) + k, gradient(r, begin) + (k - begin), curvatures_.data() + (k - begin),
           codes(r) + k, to - k, group.scale, group.zero, options_.grid.max_code()});
      if (k < to) change_code(r, k++, begin, end, group);
    }
  }

  void change_code(int64_t r, int64_t k, int64_t begin, int64_t end, GroupScale group) {
    float* const slopes = gradient(r, begin);
    const float curvature = curvatures_[static_cast<size_t>(k - begin)];
    const float best = values(r)[k] + slopes[k - begin] / curvature;
    const uint8_t code = encode(options_.grid, group, best);
    const float now = decode(group, code);
    const float by = now - values(r)[k];
    codes(r)[k] = code;
    values(r)[k] = now;
    subtract_rows(slopes, end - begin, &by, diagonal(begin, k), 0, 1);
    add_change(r, k - begin, by);
  }

  QuantizedMatrix& matrix_;
  const float* h_;
  const MatrixStrips& strips_;
  const RefineOptions& options_;
  int64_t first_;
  int64_t count_;
  int64_t cols_;
  std::vector<float> value_;          // [rows, K]
  LineVector<float> gradient_;        // [blocks, rows, block]
  std::vector<float> change_;         // [rows, block], of each row num_changed_ numbers
  std::vector<uint8_t> changed_;      // [rows, block], their columns within it
  std::vector<int64_t> num_changed_;  // [rows]
  std::vector<bool> settled_;         // [rows / kTogether]
  std::vector<float> all_changes_;    // [rows / kTermRows, block, kTermRows], of rows many_changed_
  std::vector<bool> many_changed_;    // [rows / kTermRows]
  std::vector<float> steps_;          // [rows, group]
  std::vector<float> slopes_;         // [group]
  LineVector<float> diagonal_;        // [block, block]
  std::vector<float> curvatures_;     // [block]: of the former its diagonal
};

}  // namespace

void refine(QuantizedMatrix& matrix, ConstMatrixF32 w, const std::vector<float>& hessian,
            const RefineOptions& options, ThreadPool& pool) {
  RUVLLM_CHECK(hessian.size() == static_cast<size_t>(matrix.cols * matrix.cols), hessian.size());
  RUVLLM_CHECK(w.rows == matrix.rows && w.cols == matrix.cols, w.rows, w.cols);
  // Whole kTogether, so that it is the same on any number of threads.
  const int64_t share = (matrix.rows + pool.num_threads() - 1) / pool.num_threads();
  const int64_t rows = std::min((share + kTogether - 1) / kTogether * kTogether, kRows);
  const MatrixStrips strips(hessian, matrix.cols, pool);
  pool.parallel_for((matrix.rows + rows - 1) / rows, [&](int64_t task, int) {
    if (options.stop.raised()) return;
    RowDescent(matrix, w, hessian, strips, options, task * rows, rows).run();
  });
}

}  // namespace ruvllm
