#include "quantize/decoder_gradient.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "quantize/row_gradients.h"

namespace ruvllm {
namespace {

constexpr int64_t kBlockRows = 32;     // of activations that go through a layer together
constexpr int64_t kGradientRows = 32;  // of a weight's gradient at a time

void add_bias(const StackedMatrices& matrices, MatrixF32 y) {
  if (matrices.bias.empty()) return;
  for (int64_t t = 0; t < y.rows; ++t) {
    for (int64_t n = 0; n < y.cols; ++n) y.row(t)[n] += matrices.bias[static_cast<size_t>(n)];
  }
}

// y = x + scale * branch; y may be x.
void add_scaled(ConstMatrixF32 x, ConstMatrixF32 branch, float scale, MatrixF32 y) {
  for (int64_t t = 0; t < y.rows; ++t) {
    for (int64_t i = 0; i < y.cols; ++i) y.row(t)[i] = x.row(t)[i] + scale * branch.row(t)[i];
  }
}

// y = scale * x.
void scale_rows(ConstMatrixF32 x, float scale, MatrixF32 y) {
  for (int64_t t = 0; t < y.rows; ++t) {
    for (int64_t i = 0; i < y.cols; ++i) y.row(t)[i] = scale * x.row(t)[i];
  }
}

}  // namespace

// Scratch of a thread, for a block of rows.
struct DecoderGradient::Worker {
  AttentionGradient attention;
  std::vector<float> panels;
  std::vector<float> wide;    // [block, max(2F, ...)]
  std::vector<float> branch;  // [block, E]
  std::vector<float> rows;    // of weights or of their gradients

  MatrixF32 matrix(std::vector<float>& memory, int64_t num_rows, int64_t cols) {
    memory.resize(static_cast<size_t>(std::max<int64_t>(num_rows * cols, 1)));
    return make_matrix(memory.data(), num_rows, cols);
  }
};

DecoderGradient::DecoderGradient(const ModelConfig& config, const DecoderParts& parts,
                                 ThreadPool& pool)
    : config_(config),
      parts_(parts),
      pool_(pool),
      shape_{config.num_heads, config.num_kv_heads, config.head_dim, 0, config.attention_scale},
      rope_(config.rope, config.max_positions),
      kept_(parts.layers.size() + 1) {
  for (int i = 0; i < pool.num_threads(); ++i) workers_.push_back(std::make_unique<Worker>());
}

DecoderGradient::~DecoderGradient() = default;

template <typename F>
void DecoderGradient::for_blocks(F f) {
  pool_.parallel_for((rows_ + kBlockRows - 1) / kBlockRows, [&](int64_t task, int worker) {
    const int64_t first = task * kBlockRows;
    f(Block{first, std::min(kBlockRows, rows_ - first)}, *workers_[static_cast<size_t>(worker)]);
  });
}

template <typename F>
void DecoderGradient::for_heads(F f) {
  const auto count = static_cast<int64_t>(sequences_.size());
  pool_.parallel_for(count * shape_.num_kv_heads, [&](int64_t task, int worker) {
    f(sequences_[static_cast<size_t>(task / shape_.num_kv_heads)], task % shape_.num_kv_heads,
      workers_[static_cast<size_t>(worker)]->attention);
  });
}

MatrixF32 DecoderGradient::part(const RowBuffer& buffer, Block block) const {
  const MatrixF32 all = buffer.view(rows_);
  return {all.row(block.first), block.count, all.cols, all.row_stride};
}

const StackedMatrices& DecoderGradient::matrices_of(size_t layer, int product) const {
  const DecoderLayer& parts = parts_.layers[layer];
  switch (product) {
    case kQkv:
      return parts.qkv;
    case kAttnOut:
      return parts.attn_out;
    case kGateUp:
      return parts.gate_up;
    default:
      return parts.down;
  }
}

void DecoderGradient::reserve(int64_t rows) {
  if (rows <= max_rows_) return;
  max_rows_ = rows;
  const int64_t width = config_.hidden_size, ffn = config_.ffn_size;
  for (size_t i = 0; i < kept_.size(); ++i) {
    Kept& kept = kept_[i];
    kept.input = RowBuffer(rows, width);
    if (i + 1 == kept_.size()) break;
    if (config_.qk_norm != QkNorm::kNone) kept.raw_qkv = RowBuffer(rows, shape_.width());
    kept.qkv = RowBuffer(rows, shape_.width());
    kept.attended = RowBuffer(rows, shape_.q_size());
    kept.middle = RowBuffer(rows, width);
    kept.gate_up = RowBuffer(rows, 2 * ffn);
  }
  hidden_ = RowBuffer(rows, width);
  dx_ = RowBuffer(rows, width);
  d_attended_ = RowBuffer(rows, shape_.q_size());
  products_[kQkv] = {RowBuffer(rows, width), RowBuffer(rows, shape_.width())};
  products_[kAttnOut] = {RowBuffer(), RowBuffer(rows, width)};  // x: kept
  products_[kGateUp] = {RowBuffer(rows, width), RowBuffer(rows, 2 * ffn)};
  products_[kDown] = {RowBuffer(rows, ffn), RowBuffer(rows, width)};
}

void DecoderGradient::place(Sequences sequences) {
  sequences_.clear();
  positions_.clear();
  int64_t longest = 0;
  rows_ = 0;
  for (const std::span<const int32_t> sequence : sequences) {
    const auto count = static_cast<int64_t>(sequence.size());
    sequences_.push_back({rows_, count});
    for (int64_t i = 0; i < count; ++i) positions_.push_back(i);
    rows_ += count;
    longest = std::max(longest, count);
  }
  RUVLLM_CHECK(rows_ > 0, "no tokens");
  reserve(rows_);
  const int64_t pairs = rope_.pairs();
  if (static_cast<int64_t>(cos_.size()) >= longest * pairs) return;
  cos_.resize(static_cast<size_t>(longest * pairs));
  sin_.resize(cos_.size());
  for (int64_t i = 0; i < longest; ++i) {
    rope_.fill(i, 0, cos_.data() + i * pairs, sin_.data() + i * pairs);
  }
}

void DecoderGradient::embed(const MatrixRows& weights, Sequences sequences) {
  for (size_t s = 0; s < sequences_.size(); ++s) {
    pool_.parallel_for(sequences_[s].count, [&](int64_t i, int) {
      float* const x = kept_[0].input.view(rows_).row(sequences_[s].first + i);
      weights.read(parts_.embedding, sequences[s][static_cast<size_t>(i)], x);
      for (int64_t k = 0; k < config_.hidden_size; ++k) x[k] *= config_.embedding_scale;
    });
  }
}

// Of all products of a layer: W^T, or W for the way back.
void DecoderGradient::read_weights(const MatrixRows& weights, size_t layer, bool transposed) {
  struct Task {
    int product;
    int64_t strip;
  };
  std::vector<Task> tasks;
  for (int p = 0; p < kNumProducts; ++p) {
    const StackedMatrices& stack = matrices_of(layer, p);
    weights_[p].resize(transposed ? stack.cols : stack.rows, transposed ? stack.rows : stack.cols);
    for (int64_t s = 0; s * kStripWidth < stack.rows; ++s) tasks.push_back({p, s});
  }
  pool_.parallel_for(static_cast<int64_t>(tasks.size()), [&](int64_t index, int thread) {
    const auto [product, strip] = tasks[static_cast<size_t>(index)];
    const StackedMatrices& stack = matrices_of(layer, product);
    Worker& worker = *workers_[static_cast<size_t>(thread)];
    const int64_t first = strip * kStripWidth;
    const MatrixF32 rows =
        worker.matrix(worker.rows, std::min(kStripWidth, stack.rows - first), stack.cols);
    auto part = stack.parts.begin();
    for (int64_t i = 0; i < rows.rows; ++i) {
      while (first + i >= part->first + part->rows) ++part;
      weights.read(part->matrix, first + i - part->first, rows.row(i));
      if (!transposed) weights_[product].fill_term(first + i, rows.row(i));
    }
    if (transposed) weights_[product].fill_columns(strip, rows.data, 1, rows.row_stride);
  });
}

// Norms of heads and rotation of one row of q and k, or back from their gradients.
void DecoderGradient::turn_heads(size_t layer, int64_t row, bool back) {
  const DecoderLayer& parts = parts_.layers[layer];
  const Kept& kept = kept_[layer];
  float* const x = (back ? products_[kQkv].dy : kept.qkv).view(rows_).row(row);
  const int64_t num_heads = shape_.num_heads + shape_.num_kv_heads;
  const auto rotate = [&] {
    if (!config_.layers[layer].use_rope || config_.rope.rotary_dim == 0) return;
    const int64_t at = positions_[static_cast<size_t>(row)] * rope_.pairs();
    rotate_row(config_.rope, num_heads, shape_.head_dim, cos_.data() + at, sin_.data() + at, back,
               x);
  };
  if (back) rotate();
  if (!parts.q_norm.empty()) {
    float* const raw = kept.raw_qkv.view(rows_).row(row);
    if (!back) std::copy_n(x, shape_.q_size() + shape_.kv_size(), raw);
    for (int64_t at = 0; at < shape_.q_size() + shape_.kv_size();) {
      const std::vector<float>& norm = at < shape_.q_size() ? parts.q_norm : parts.k_norm;
      const auto count = static_cast<int64_t>(norm.size());
      if (back) {
        rms_norm_gradient_row(raw + at, norm.data(), count, config_.norm_eps, x + at, false,
                              x + at);
      } else {
        rms_norm_row(raw + at, norm.data(), count, config_.norm_eps, x + at);
      }
      at += count;
    }
  }
  if (!back) rotate();
}

// Y = X W^T + b.
void DecoderGradient::apply(size_t layer, Product product, ConstMatrixF32 x, MatrixF32 y,
                            Worker& worker) {
  multiply(rows_as_left(x), weights_[product], y, false, worker.panels);
  add_bias(matrices_of(layer, product), y);
}

void DecoderGradient::normalize(const std::vector<float>& weight, ConstMatrixF32 x, MatrixF32 y) {
  for (int64_t t = 0; t < x.rows; ++t) {
    rms_norm_row(x.row(t), weight.data(), x.cols, config_.norm_eps, y.row(t));
  }
}

void DecoderGradient::enter_attention(size_t layer, Block block, Worker& worker) {
  const MatrixF32 normed = worker.matrix(worker.branch, block.count, config_.hidden_size);
  normalize(parts_.layers[layer].attn_norm, part(kept_[layer].input, block), normed);
  apply(layer, kQkv, normed, part(kept_[layer].qkv, block), worker);
  for (int64_t t = 0; t < block.count; ++t) turn_heads(layer, block.first + t, false);
}

// From attention's output to the next layer's input.
void DecoderGradient::leave_attention(size_t layer, Block block, Worker& worker) {
  const Kept& kept = kept_[layer];
  const MatrixF32 branch = worker.matrix(worker.branch, block.count, config_.hidden_size);
  apply(layer, kAttnOut, part(kept.attended, block), branch, worker);
  const MatrixF32 middle = part(kept.middle, block);
  add_scaled(part(kept.input, block), branch, config_.residual_scale, middle);
  normalize(parts_.layers[layer].mlp_norm, middle, branch);
  const MatrixF32 gate_up = part(kept.gate_up, block);
  apply(layer, kGateUp, branch, gate_up, worker);
  const MatrixF32 hidden = worker.matrix(worker.wide, block.count, config_.ffn_size);
  for (int64_t t = 0; t < block.count; ++t) {
    gate_row(config_.activation, gate_up.row(t), hidden.cols, hidden.row(t));
  }
  apply(layer, kDown, hidden, branch, worker);
  add_scaled(middle, branch, config_.residual_scale, part(kept_[layer + 1].input, block));
}

ConstMatrixF32 DecoderGradient::forward(const MatrixRows& weights, Sequences sequences) {
  place(sequences);
  embed(weights, sequences);
  for (size_t layer = 0; layer < parts_.layers.size(); ++layer) {
    read_weights(weights, layer, true);
    for_blocks([&](Block block, Worker& worker) { enter_attention(layer, block, worker); });
    shape_.window = config_.layers[layer].window;
    for_heads([&](Block sequence, int64_t kv_head, AttentionGradient& attention) {
      attention.forward(shape_, kv_head, part(kept_[layer].qkv, sequence),
                        part(kept_[layer].attended, sequence));
    });
    for_blocks([&](Block block, Worker& worker) { leave_attention(layer, block, worker); });
  }
  for_blocks([&](Block block, Worker&) {
    normalize(parts_.final_norm, part(kept_.back().input, block), part(hidden_, block));
  });
  return hidden_.view(rows_);
}

// dx += the gradient of a norm's input; `d_normed` is that of its output.
void DecoderGradient::add_norm_gradient(const std::vector<float>& weight, ConstMatrixF32 x,
                                        ConstMatrixF32 d_normed, MatrixF32 dx) {
  for (int64_t t = 0; t < x.rows; ++t) {
    rms_norm_gradient_row(x.row(t), weight.data(), x.cols, config_.norm_eps, d_normed.row(t), true,
                          dx.row(t));
  }
}

// From the gradient of a layer's output to that of attention's.
void DecoderGradient::enter_backward(size_t layer, Block block, Worker& worker) {
  const Kept& kept = kept_[layer];
  const MatrixF32 dx = part(dx_, block);
  const MatrixF32 d_down = part(products_[kDown].dy, block);
  scale_rows(dx, config_.residual_scale, d_down);
  const MatrixF32 d_hidden = worker.matrix(worker.wide, block.count, config_.ffn_size);
  multiply(rows_as_left(d_down), weights_[kDown], d_hidden, false, worker.panels);
  const MatrixF32 hidden = part(products_[kDown].x, block);
  const MatrixF32 gate_up = part(kept.gate_up, block);
  const MatrixF32 d_gate_up = part(products_[kGateUp].dy, block);
  for (int64_t t = 0; t < block.count; ++t) {
    gate_gradient_row(config_.activation, gate_up.row(t), hidden.cols, d_hidden.row(t),
                      hidden.row(t), d_gate_up.row(t));
  }
  const MatrixF32 d_normed = worker.matrix(worker.branch, block.count, config_.hidden_size);
  multiply(rows_as_left(d_gate_up), weights_[kGateUp], d_normed, false, worker.panels);
  const MatrixF32 middle = part(kept.middle, block);
  const std::vector<float>& norm = parts_.layers[layer].mlp_norm;
  normalize(norm, middle, part(products_[kGateUp].x, block));
  add_norm_gradient(norm, middle, d_normed, dx);
  const MatrixF32 d_out = part(products_[kAttnOut].dy, block);
  scale_rows(dx, config_.residual_scale, d_out);
  multiply(rows_as_left(d_out), weights_[kAttnOut], part(d_attended_, block), false, worker.panels);
}

// From the gradients of q, k and v to that of the layer's input.
void DecoderGradient::leave_backward(size_t layer, Block block, Worker& worker) {
  for (int64_t t = 0; t < block.count; ++t) turn_heads(layer, block.first + t, true);
  const MatrixF32 d_normed = worker.matrix(worker.branch, block.count, config_.hidden_size);
  multiply(rows_as_left(part(products_[kQkv].dy, block)), weights_[kQkv], d_normed, false,
           worker.panels);
  const MatrixF32 input = part(kept_[layer].input, block);
  const std::vector<float>& norm = parts_.layers[layer].attn_norm;
  normalize(norm, input, part(products_[kQkv].x, block));
  add_norm_gradient(norm, input, d_normed, part(dx_, block));
}

// dW = dY^T X of a layer's products, some rows at a time.
void DecoderGradient::give_gradients(size_t layer, GradientSink& sink) {
  struct Task {
    int product;
    size_t matrix;
    int64_t row;     // of the matrix
    int64_t count;   // rows
    int64_t column;  // of dY
  };
  struct Strip {
    int product;
    int64_t index;
  };
  std::vector<Task> tasks;
  std::vector<Strip> strips;
  ConstMatrixF32 inputs[kNumProducts];
  for (int p = 0; p < kNumProducts; ++p) {
    const StackedMatrices& stack = matrices_of(layer, p);
    const size_t before = tasks.size();
    for (const StackedMatrices::Part& one : stack.parts) {
      if (!sink.wants(one.matrix)) continue;
      for (int64_t row = 0; row < one.rows; row += kGradientRows) {
        tasks.push_back(
            {p, one.matrix, row, std::min(kGradientRows, one.rows - row), one.first + row});
      }
    }
    if (tasks.size() == before) continue;
    inputs[p] = (p == kAttnOut ? kept_[layer].attended : products_[p].x).view(rows_);
    inputs_[p].resize(rows_, stack.cols);
    for (int64_t s = 0; s < inputs_[p].count(); ++s) strips.push_back({p, s});
  }
  pool_.parallel_for(static_cast<int64_t>(strips.size()), [&](int64_t index, int) {
    const auto [p, strip] = strips[static_cast<size_t>(index)];
    inputs_[p].fill(strip, inputs[p].data, inputs[p].row_stride, 1);
  });
  pool_.parallel_for(static_cast<int64_t>(tasks.size()), [&](int64_t index, int thread) {
    const auto& [p, matrix, row, count, column] = tasks[static_cast<size_t>(index)];
    Worker& worker = *workers_[static_cast<size_t>(thread)];
    const MatrixF32 gradient = worker.matrix(worker.rows, count, inputs_[p].columns());
    const ConstMatrixF32 dy = products_[p].dy.view(rows_).columns(column, count);
    multiply(columns_as_left(dy), inputs_[p], gradient, false, worker.panels);
    sink.take(matrix, row, gradient);
  });
}

void DecoderGradient::backward(const MatrixRows& weights, ConstMatrixF32 d_hidden,
                               GradientSink& sink) {
  RUVLLM_CHECK(d_hidden.rows == rows_, d_hidden.rows, " of ", rows_);
  for_blocks([&](Block block, Worker&) {
    for (int64_t t = block.first; t < block.first + block.count; ++t) {
      rms_norm_gradient_row(kept_.back().input.view(rows_).row(t), parts_.final_norm.data(),
                            config_.hidden_size, config_.norm_eps, d_hidden.row(t), false,
                            dx_.view(rows_).row(t));
    }
  });
  for (size_t layer = parts_.layers.size(); layer-- > 0;) {
    read_weights(weights, layer, false);
    for_blocks([&](Block block, Worker& worker) { enter_backward(layer, block, worker); });
    shape_.window = config_.layers[layer].window;
    for_heads([&](Block sequence, int64_t kv_head, AttentionGradient& attention) {
      attention.backward(shape_, kv_head, part(kept_[layer].qkv, sequence),
                         part(d_attended_, sequence), part(products_[kQkv].dy, sequence));
    });
    for_blocks([&](Block block, Worker& worker) { leave_backward(layer, block, worker); });
    give_gradients(layer, sink);
  }
}

}  // namespace ruvllm
