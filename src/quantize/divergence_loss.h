// What is learned from an unquantized model (distillation, Hinton et al. 2015): the mean over rows
// of KL(p || q) = sum p (ln p - ln q), with p = softmax of the logits that the exact output matrix
// gives of the exact hidden row, q those of the matrix as it will be stored. The gradient of the
// logits is (q - p) / rows.
//
// Owns both output matrices in f32, the latter twice, and of each thread the logits of 32 rows
// twice. One caller at a time; the same bits on any number of threads.
#pragma once

#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "quantize/decoder_parts.h"
#include "quantize/panel_products.h"

namespace ruvllm {

class DivergenceLoss {
 public:
  DivergenceLoss(const ModelConfig& config, const DecoderParts& parts, const MatrixRows& exact,
                 const MatrixRows& stored, ThreadPool& pool);

  // Of rows [T, E] after the last norm; d_hidden [T, E] becomes its gradient.
  double run(ConstMatrixF32 exact_hidden, ConstMatrixF32 hidden, MatrixF32 d_hidden);

 private:
  struct Worker {
    std::vector<float> exact;   // [block, V]
    std::vector<float> stored;  // [block, V]
    std::vector<float> panels;
  };
  void logits_of(ConstMatrixF32 hidden, const Strips& matrix, MatrixF32 out, Worker& worker) const;

  const ModelConfig& config_;
  const DecoderParts& parts_;
  ThreadPool& pool_;
  Strips exact_;   // [E, V]
  Strips stored_;  // [E, V]
  Strips back_;    // the stored one: [V, E]
  std::vector<Worker> workers_;
  std::vector<double> sums_;  // [T]
};

}  // namespace ruvllm
