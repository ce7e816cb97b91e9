// Causal attention of one sequence and its gradient, a key head with all the query heads that read
// it (grouped-query attention) at a time: O = P V, P = softmax(scale Q K^T) over the positions up
// to a query's own, at most `window` of them.
//
// Backward computes P again and from it (the gradient of a softmax, as in FlashAttention, Dao et
// al. 2022, but all of a head at once):
//     dV = P^T dO,  dP = dO V^T,  dS = scale P (dP - rowsum(dP P)),  dQ = dS K,  dK = dS^T Q.
//
// Owns scratch of two [T, T] matrices. One thread at a time, each its own; pure apart from that.
#pragma once

#include <vector>

#include "quantize/panel_products.h"

namespace ruvllm {

struct AttentionShape {
  int64_t num_heads = 0;     // H
  int64_t num_kv_heads = 0;  // K
  int64_t head_dim = 0;      // D
  int64_t window = 0;        // 0: none
  float scale = 1.0f;

  int64_t q_size() const { return num_heads * head_dim; }
  int64_t kv_size() const { return num_kv_heads * head_dim; }
  int64_t width() const { return q_size() + 2 * kv_size(); }
};

class AttentionGradient {
 public:
  // qkv [T, (H + 2K) D], rotated; out [T, H D], of which those query heads' columns are written.
  void forward(const AttentionShape& shape, int64_t kv_head, ConstMatrixF32 qkv, MatrixF32 out);
  // From d_out [T, H D] to those heads' columns of d_qkv [T, (H + 2K) D].
  void backward(const AttentionShape& shape, int64_t kv_head, ConstMatrixF32 qkv,
                ConstMatrixF32 d_out, MatrixF32 d_qkv);

 private:
  // probabilities_ = P of query head q [T, D]; keys_ are its keys.
  void attend(const AttentionShape& shape, ConstMatrixF32 q);
  // differences_ = dS of it; values_ are its values' transposed.
  void differentiate(const AttentionShape& shape, ConstMatrixF32 d_out);
  MatrixF32 square(std::vector<float>& memory, int64_t tokens);

  Strips keys_;      // K^T: [D, T]
  Strips key_rows_;  // K: [T, D]
  Strips values_;    // V [T, D], or V^T going backward
  Strips head_;      // of a query head: Q or dO, [T, D]
  std::vector<float> probabilities_;
  std::vector<float> differences_;
  std::vector<float> panel_;
};

}  // namespace ruvllm
