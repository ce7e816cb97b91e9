// The gradient of a dense pre-norm decoder with respect to its weights: a forward pass over a few
// sequences that keeps activations, and the backward pass (reverse accumulation). Each layer is
//     x' = x + r W_o attention(rope(W_qkv norm(x))),   x'' = x' + r W_down (act(g) u),
//     [g u] = W_gate_up norm(x'),  r = residual_scale.
// With dY the gradient of a product Y = X W^T, dX = dY W and dW = dY^T X.
//
// Weights are read a layer at a time, once for each direction, so that they may be made on the way;
// their gradients are handed out some rows at a time and not kept. Kept are the activations of the
// step: per token and layer 2 E + 2 F + (2 H + 2 K) D floats, and of one layer as much again twice.
//
// The same bits on any number of threads: rows go in blocks of a fixed size, every sum in a fixed
// order. Refers to config, parts and pool, which outlive it; one caller at a time. Cannot fail.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "model/rope.h"
#include "model/step.h"
#include "quantize/attention_gradient.h"
#include "quantize/decoder_parts.h"

namespace ruvllm {

// Who takes the gradients of weights. Each row of a matrix comes once.
class GradientSink {
 public:
  virtual ~GradientSink() = default;
  virtual bool wants(size_t matrix) const = 0;
  // dL/dW of rows [first, first + gradient.rows), [rows, K]. Called by several threads. The layer's
  // weights are not read any more in this step.
  virtual void take(size_t matrix, int64_t first, ConstMatrixF32 gradient) = 0;
};

class DecoderGradient {
 public:
  using Sequences = std::span<const std::span<const int32_t>>;  // token ids

  DecoderGradient(const ModelConfig& config, const DecoderParts& parts, ThreadPool& pool);
  ~DecoderGradient();

  // The rows of all sequences, one after the other, after the last norm: [T, E], until the next
  // call.
  ConstMatrixF32 forward(const MatrixRows& weights, Sequences sequences);
  // Of the latest forward(), with dL/d of what it gave.
  void backward(const MatrixRows& weights, ConstMatrixF32 d_hidden, GradientSink& sink);

 private:
  // What is kept of a layer.
  struct Kept {
    RowBuffer input;     // [T, E]
    RowBuffer raw_qkv;   // [T, (H + 2K) D], before norms of heads; only where there are some
    RowBuffer qkv;       // [T, (H + 2K) D], rotated
    RowBuffer attended;  // [T, H D]
    RowBuffer middle;    // [T, E], the residual stream between the branches
    RowBuffer gate_up;   // [T, 2F]
  };
  // The products of a layer.
  enum Product { kQkv, kAttnOut, kGateUp, kDown, kNumProducts };
  // What a product read and its gradient.
  struct ProductRows {
    RowBuffer x;   // [T, K]
    RowBuffer dy;  // [T, N]
  };
  struct Worker;
  struct Block {
    int64_t first;
    int64_t count;
  };

  void place(Sequences sequences);
  void reserve(int64_t rows);
  void embed(const MatrixRows& weights, Sequences sequences);
  void read_weights(const MatrixRows& weights, size_t layer, bool transposed);
  void turn_heads(size_t layer, int64_t row, bool back);
  void apply(size_t layer, Product product, ConstMatrixF32 x, MatrixF32 y, Worker& worker);
  void normalize(const std::vector<float>& weight, ConstMatrixF32 x, MatrixF32 y);
  void add_norm_gradient(const std::vector<float>& weight, ConstMatrixF32 x,
                         ConstMatrixF32 d_normed, MatrixF32 dx);
  void enter_attention(size_t layer, Block block, Worker& worker);
  void leave_attention(size_t layer, Block block, Worker& worker);
  void enter_backward(size_t layer, Block block, Worker& worker);
  void leave_backward(size_t layer, Block block, Worker& worker);
  void give_gradients(size_t layer, GradientSink& sink);

  template <typename F>
  void for_blocks(F f);
  template <typename F>
  void for_heads(F f);
  MatrixF32 part(const RowBuffer& buffer, Block block) const;
  const StackedMatrices& matrices_of(size_t layer, int product) const;

  const ModelConfig& config_;
  const DecoderParts& parts_;
  ThreadPool& pool_;
  AttentionShape shape_;
  RopeTable rope_;
  int64_t rows_ = 0;      // T
  int64_t max_rows_ = 0;  // there is memory for
  std::vector<Block> sequences_;
  std::vector<int64_t> positions_;  // [T]
  std::vector<float> cos_;          // [positions, rotary_dim / 2]
  std::vector<float> sin_;
  std::vector<Kept> kept_;  // [L + 1]; of the last the input only
  RowBuffer hidden_;        // [T, E]
  RowBuffer dx_;            // [T, E], of the residual stream
  RowBuffer d_attended_;    // [T, H D]
  ProductRows products_[kNumProducts];
  Strips weights_[kNumProducts];  // of the layer at hand: W^T, backward W
  Strips inputs_[kNumProducts];
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace ruvllm
