// ForwardingRunner: a ModelRunner that passes everything on to the one it owns. What wants to see
// or replace the steps of a runner derives from it and overrides forward(). Threads and failure:
// those of the runner inside.
#pragma once

#include <memory>
#include <utility>

#include "engine/model_runner.h"

namespace ruvllm {

class ForwardingRunner : public ModelRunner {
 public:
  explicit ForwardingRunner(std::unique_ptr<ModelRunner> runner) : runner_(std::move(runner)) {}

  const ModelConfig& config() const override { return runner_->config(); }
  int64_t max_seq_len() const override { return runner_->max_seq_len(); }
  int64_t max_step_rows() const override { return runner_->max_step_rows(); }
  int32_t kv_block_tokens() const override { return runner_->kv_block_tokens(); }
  uint64_t weight_bytes() const override { return runner_->weight_bytes(); }
  uint64_t num_parameters() const override { return runner_->num_parameters(); }
  uint64_t kv_block_bytes() const override { return runner_->kv_block_bytes(); }
  std::string_view quantization() const override { return runner_->quantization(); }
  std::string_view kernels() const override { return runner_->kernels(); }
  Status reserve_kv_blocks(int64_t num_blocks) override {
    return runner_->reserve_kv_blocks(num_blocks);
  }
  int64_t num_kv_blocks() const override { return runner_->num_kv_blocks(); }
  void copy_kv_block(int32_t from, int32_t to) override { runner_->copy_kv_block(from, to); }
  uint8_t rope_regime(int64_t tokens) const override { return runner_->rope_regime(tokens); }
  Ops* ops() override { return runner_->ops(); }
  ForwardOutput forward(const ForwardBatch& batch) override { return runner_->forward(batch); }

 private:
  std::unique_ptr<ModelRunner> runner_;
};

}  // namespace ruvllm
