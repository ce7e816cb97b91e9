#include "quantize/attention_gradient.h"

#include <algorithm>

#include "quantize/quad.h"
#include "quantize/row_gradients.h"

namespace ruvllm {
namespace {

// x [terms, columns] as it is.
void fill_rows(Strips& strips, ConstMatrixF32 x) {
  strips.resize(x.rows, x.cols);
  for (int64_t s = 0; s < strips.count(); ++s) strips.fill(s, x.data, x.row_stride, 1);
}

// x^T: [cols, rows].
void fill_transposed(Strips& strips, ConstMatrixF32 x) {
  strips.resize(x.cols, x.rows);
  for (int64_t s = 0; s < strips.count(); ++s) strips.fill(s, x.data, 1, x.row_stride);
}

ConstMatrixF32 keys_of(const AttentionShape& shape, int64_t kv_head, ConstMatrixF32 qkv) {
  return qkv.columns(shape.q_size() + kv_head * shape.head_dim, shape.head_dim);
}
ConstMatrixF32 values_of(const AttentionShape& shape, int64_t kv_head, ConstMatrixF32 qkv) {
  return qkv.columns(shape.q_size() + shape.kv_size() + kv_head * shape.head_dim, shape.head_dim);
}

MatrixF32 rows_from(MatrixF32 x, int64_t first, int64_t count) {
  return {x.row(first), std::min(count, x.rows - first), x.cols, x.row_stride};
}

// c = A B for a lower triangular A [T, T].
void multiply_lower(ConstMatrixF32 a, const Strips& b, MatrixF32 c, std::vector<float>& panel) {
  for (int64_t t = 0; t < a.rows; t += kTermRows) {
    const TermRange terms{0, std::min(t + kTermRows, a.rows)};
    multiply(rows_as_left(a).rows_from(t), b, terms, b.columns(), rows_from(c, t, kTermRows), false,
             panel);
  }
}

// c += A^T B.
void multiply_upper(ConstMatrixF32 a, const Strips& b, MatrixF32 c, std::vector<float>& panel) {
  for (int64_t t = 0; t < a.rows; t += kTermRows) {
    multiply(columns_as_left(a).rows_from(t), b, {t, a.rows}, b.columns(),
             rows_from(c, t, kTermRows), true, panel);
  }
}

}  // namespace

MatrixF32 AttentionGradient::square(std::vector<float>& memory, int64_t tokens) {
  memory.resize(static_cast<size_t>(tokens * tokens));
  return make_matrix(memory.data(), tokens, tokens);
}

void AttentionGradient::attend(const AttentionShape& shape, ConstMatrixF32 q) {
  const MatrixF32 p = square(probabilities_, q.rows);
  for (int64_t begin = 0; begin < q.rows; begin += kTermRows) {
    const int64_t end = std::min(begin + kTermRows, q.rows);
    multiply(rows_as_left(q).rows_from(begin), keys_, {0, q.cols}, end,
             rows_from(p, begin, kTermRows), false, panel_);
    for (int64_t t = begin; t < end; ++t) {
      float* const row = p.row(t);
      const int64_t first = shape.window > 0 ? std::max<int64_t>(0, t + 1 - shape.window) : 0;
      const int64_t count = t + 1 - first;
      map_quads(row + first, row + first, count, [&](Quad x) { return x * shape.scale; });
      float greatest = 0.0f;
      const double sum = exponentials_of(row + first, count, greatest);
      const auto part = static_cast<float>(1.0 / sum);
      map_quads(row + first, row + first, count, [&](Quad x) { return x * part; });
      std::fill_n(row, first, 0.0f);
      std::fill(row + t + 1, row + end, 0.0f);
    }
  }
}

void AttentionGradient::differentiate(const AttentionShape& shape, ConstMatrixF32 d_out) {
  const ConstMatrixF32 p = square(probabilities_, d_out.rows);
  const MatrixF32 d = square(differences_, d_out.rows);
  for (int64_t begin = 0; begin < d.rows; begin += kTermRows) {
    const int64_t end = std::min(begin + kTermRows, d.rows);
    multiply(rows_as_left(d_out).rows_from(begin), values_, {0, d_out.cols}, end,
             rows_from(d, begin, kTermRows), false, panel_);
    for (int64_t t = begin; t < end; ++t) {
      softmax_gradient_row(p.row(t), end, shape.scale, d.row(t));
    }
  }
}

void AttentionGradient::forward(const AttentionShape& shape, int64_t kv_head, ConstMatrixF32 qkv,
                                MatrixF32 out) {
  fill_transposed(keys_, keys_of(shape, kv_head, qkv));
  fill_rows(values_, values_of(shape, kv_head, qkv));
  const int64_t group = shape.num_heads / shape.num_kv_heads;
  for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    attend(shape, qkv.columns(h * shape.head_dim, shape.head_dim));
    multiply_lower(square(probabilities_, qkv.rows), values_,
                   out.columns(h * shape.head_dim, shape.head_dim), panel_);
  }
}

void AttentionGradient::backward(const AttentionShape& shape, int64_t kv_head, ConstMatrixF32 qkv,
                                 ConstMatrixF32 d_out, MatrixF32 d_qkv) {
  const int64_t dim = shape.head_dim;
  fill_transposed(keys_, keys_of(shape, kv_head, qkv));
  fill_rows(key_rows_, keys_of(shape, kv_head, qkv));
  fill_transposed(values_, values_of(shape, kv_head, qkv));
  const MatrixF32 d_keys = d_qkv.columns(shape.q_size() + kv_head * dim, dim);
  const MatrixF32 d_values = d_qkv.columns(shape.q_size() + shape.kv_size() + kv_head * dim, dim);
  for (int64_t t = 0; t < qkv.rows; ++t) {
    std::fill_n(d_keys.row(t), dim, 0.0f);
    std::fill_n(d_values.row(t), dim, 0.0f);
  }
  const int64_t group = shape.num_heads / shape.num_kv_heads;
  for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    const ConstMatrixF32 q = qkv.columns(h * dim, dim);
    const ConstMatrixF32 d_head = d_out.columns(h * dim, dim);
    attend(shape, q);
    fill_rows(head_, d_head);
    multiply_upper(square(probabilities_, qkv.rows), head_, d_values, panel_);
    differentiate(shape, d_head);
    const ConstMatrixF32 d_scores = square(differences_, qkv.rows);
    multiply_lower(d_scores, key_rows_, d_qkv.columns(h * dim, dim), panel_);
    fill_rows(head_, q);
    multiply_upper(d_scores, head_, d_keys, panel_);
  }
}

}  // namespace ruvllm
