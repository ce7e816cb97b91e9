// SamplePass: a model's forward pass over pieces of text, all of them in one step, in f32 on a
// device that is watched. Weights are read where the file has them; all layers share the KV memory
// of one (see watched_ops.h), which with the activations of all pieces is what it holds.
//
// Ownership: refers to the checkpoint and the device, which outlive it. Movable; one thread at a
// time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "formats/checkpoint.h"
#include "model/decoder.h"

namespace ruvllm {

class SamplePass {
 public:
  // `pieces`: token ids, each at most the model's context. kInvalidArgument when there are none;
  // what loading weights refuses.
  static Result<SamplePass> make(const Checkpoint& checkpoint, Ops& ops,
                                 std::span<const std::span<const int32_t>> pieces);

  int64_t num_tokens() const { return static_cast<int64_t>(ids_.size()); }

  // Logits [R, V] of these of all tokens; valid until the next run.
  MatrixF32 run(std::span<const int32_t> output_rows = {});

 private:
  SamplePass() = default;
  void place(std::span<const std::span<const int32_t>> pieces);

  std::unique_ptr<ModelWeights> weights_;
  std::unique_ptr<KvStorage> kv_;
  std::unique_ptr<TransformerDecoder> decoder_;
  std::vector<int32_t> ids_;
  std::vector<std::vector<int32_t>> tables_;
  std::vector<SequenceSpan> sequences_;  // their tables are those of tables_
  int32_t blocks_ = 0;
};

}  // namespace ruvllm
