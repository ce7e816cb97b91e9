#include "quantize/panel_products.h"

#include <algorithm>

#include "base/check.h"
#include "quantize/quad.h"

namespace ruvllm {
namespace {

// Of A at a time: a strip of B is read from the first cache for all but the first of them.
constexpr int64_t kPanels = 8;

// to[t * to_stride + i] = from[i * from_stride + t] for i < 4 of `rows`, t < count; others are 0.
void transpose_rows(const float* from, int64_t from_stride, int64_t rows, int64_t count, float* to,
                    int64_t to_stride) {
  int64_t t = 0;
  if (rows == 4) {
    for (; t + 4 <= count; t += 4) {
      Quad v[4];
      for (int i = 0; i < 4; ++i) v[i] = load_quad(from + i * from_stride + t);
      transpose(v[0], v[1], v[2], v[3]);
      for (int i = 0; i < 4; ++i) store_quad(to + (t + i) * to_stride, v[i]);
    }
  }
  for (; t < count; ++t) {
    for (int64_t i = 0; i < 4; ++i) {
      to[t * to_stride + i] = i < rows ? from[i * from_stride + t] : 0.0f;
    }
  }
}

// Four rows of A, term after term.
void fill_panel(LeftFactor a, int64_t rows, TermRange terms, float* panel) {
  static_assert(kTermRows == 4);
  const int64_t count = terms.end - terms.first;
  if (a.term_stride == 1) {
    return transpose_rows(a.data + terms.first, a.row_stride, rows, count, panel, kTermRows);
  }
  for (int64_t t = 0; t < count; ++t) {
    const float* const from = a.data + (terms.first + t) * a.term_stride;
    store_quad(panel + t * kTermRows, rows == 4 ? load_quad(from) : load_part(from, rows));
  }
}

// c = -tile, or c -= tile.
void put_tile(const float* tile, MatrixF32 c, bool add) {
  for (int64_t r = 0; r < c.rows; ++r) {
    float* const to = c.row(r);
    const float* const sum = tile + r * kStripWidth;
    int64_t j = 0;
    for (; j + 4 <= c.cols; j += 4) {
      store_quad(to + j, (add ? load_quad(to + j) : Quad{}) - load_quad(sum + j));
    }
    for (; j < c.cols; ++j) to[j] = (add ? to[j] : 0.0f) - sum[j];
  }
}

}  // namespace

void Strips::resize(int64_t terms, int64_t columns) {
  terms_ = terms;
  columns_ = columns;
  const auto size = static_cast<size_t>(count() * terms * kStripWidth);
  if (values_.size() < size) values_.resize(size);
}

void Strips::fill(int64_t index, const float* b, int64_t term_stride, int64_t column_stride) {
  fill_columns(index, b + index * kStripWidth * column_stride, term_stride, column_stride);
}

void Strips::fill_columns(int64_t index, const float* b, int64_t term_stride,
                          int64_t column_stride) {
  float* const to = values_.data() + index * terms_ * kStripWidth;
  const int64_t width = std::min(kStripWidth, columns_ - index * kStripWidth);
  if (term_stride == 1) {
    for (int64_t k = 0; k < kStripWidth; k += 4) {
      const int64_t rows = std::clamp<int64_t>(width - k, 0, 4);
      transpose_rows(b + k * column_stride, column_stride, rows, terms_, to + k, kStripWidth);
    }
    return;
  }
  for (int64_t t = 0; t < terms_; ++t) {
    std::copy_n(b + t * term_stride, width, to + t * kStripWidth);
    std::fill_n(to + t * kStripWidth + width, kStripWidth - width, 0.0f);
  }
}

void Strips::fill_term(int64_t term, const float* row) {
  for (int64_t s = 0; s < count(); ++s) {
    float* const to = values_.data() + (s * terms_ + term) * kStripWidth;
    const int64_t width = std::min(kStripWidth, columns_ - s * kStripWidth);
    std::copy_n(row + s * kStripWidth, width, to);
    std::fill_n(to + width, kStripWidth - width, 0.0f);
  }
}

void multiply(LeftFactor a, const Strips& b, MatrixF32 c, bool add, std::vector<float>& panels) {
  multiply(a, b, {0, b.terms()}, b.columns(), c, add, panels);
}

void multiply(LeftFactor a, const Strips& b, TermRange terms, int64_t end_column, MatrixF32 c,
              bool add, std::vector<float>& panels) {
  RUVLLM_CHECK(c.cols == b.columns() && terms.end <= b.terms(), c.cols, " of ", b.columns());
  const int64_t count = terms.end - terms.first;
  for (int64_t begin = 0; begin < c.rows; begin += kPanels * kTermRows) {
    const int64_t end = std::min(c.rows, begin + kPanels * kTermRows);
    panels.resize(static_cast<size_t>((end - begin + kTermRows) * count + 1));
    for (int64_t i = begin; i < end; i += kTermRows) {
      fill_panel(a.rows_from(i), std::min(kTermRows, end - i), terms,
                 panels.data() + (i - begin) * count);
    }
    for (int64_t k = 0; k < end_column; k += kStripWidth) {
      const float* const strip = b.strip(k / kStripWidth) + terms.first * kStripWidth;
      const int64_t width = std::min(kStripWidth, c.cols - k);
      for (int64_t i = begin; i < end; i += kTermRows) {
        alignas(64) float tile[kTermRows * kStripWidth] = {};
        subtract_all_terms(tile, kStripWidth, panels.data() + (i - begin) * count, count, strip);
        const int64_t rows = std::min(kTermRows, end - i);
        put_tile(tile, {c.row(i) + k, rows, width, c.row_stride}, add);
      }
    }
  }
}

}  // namespace ruvllm
