// TransformerDecoder: the forward pass of every family, written once. What differs between families
// is read from ModelConfig's traits; the arithmetic is the device's (ops/ops.h).
//
// Ownership: refers to config, weights and device of the runner that owns it; owns its scratch
// rows, sized once for max_rows, except the logits, which grow to the most rows ever asked for.
// One thread at a time. Cannot fail.
#pragma once

#include "model/step.h"

namespace ruvllm {

class TransformerDecoder {
 public:
  TransformerDecoder(const ModelConfig& config, const ModelWeights& weights, Ops& ops,
                     int64_t max_rows);

  ForwardOutput forward(const ForwardBatch& batch, const KvStorage& kv);

  const RopeTable& rope() const { return rope_; }
  int64_t widest_row() const { return space_.widest_row(); }

 private:
  void place_rows(const ForwardBatch& batch);
  void embed(const Step& step, MatrixF32 x);
  void run_layers(const ForwardBatch& batch, const KvStorage& kv, MatrixF32 x);
  void run_layer(const Step& step, int32_t index, MatrixF32 x);
  ForwardOutput finish(const Step& step, MatrixF32 x);

  const ModelConfig& config_;
  const ModelWeights& weights_;
  Ops& ops_;
  RopeTable rope_;
  RopeTable rope_local_;
  Workspace space_;
};

}  // namespace ruvllm
