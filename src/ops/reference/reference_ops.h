// The reference device: every operation of Ops in plain loops, one thread, f32, weights dequantized
// exactly. It is the oracle of the other devices and a complete device itself. Contract: ops/ops.h.
#pragma once

#include <span>
#include <vector>

#include "ops/ops.h"

namespace ruvllm::reference {

class ReferenceOps final : public Ops {
 public:
  std::string_view name() const override { return "reference"; }
  std::string_view kernels() const override { return "reference"; }
  void reserve(const StepLimits& limits) override;
  Result<std::unique_ptr<Weight>> make_weight(std::span<const WeightSource> sources,
                                              const WeightOptions& options) override;

  void embed(const Weight& table, std::span<const int32_t> ids, float scale,
             MatrixF32 out) override;
  void rms_norm(const NormArgs& args) override;
  void layer_norm(const NormArgs& args) override;
  void matmul(const MatmulArgs& args) override;
  void rope(const RopeArgs& args) override;
  void kv_write(const KvWriteArgs& args) override;
  void attention(const AttentionArgs& args) override;
  void activate_and_multiply(ConstMatrixF32 gate_up, Activation activation, MatrixF32 y) override;
  void activate(MatrixF32 x, Activation activation) override;
  void add(MatrixF32 x, ConstMatrixF32 y, float scale) override;
  void moe(const MoeArgs& args) override;
  void finish_logits(MatrixF32 logits, float scale, float softcap) override;

 private:
  // Scratch of at least n floats; slot in [0, kNumSlots). Grows, never shrinks.
  float* scratch(int slot, int64_t n);

  static constexpr int kNumSlots = 6;
  std::vector<float> scratch_[kNumSlots];
  std::vector<int32_t> chosen_;  // experts of the token at hand
};

// The experts of one token: the best k of softmax(logits), equal ones by smaller index, in
// ascending index; their weights, rescaled to sum to 1 when asked. A logit that is not a number
// counts as minus infinity, so the choice is always of k different experts.
void choose_experts(std::span<const float> logits, bool rescale, std::span<float> probabilities,
                    std::span<int32_t> chosen, std::span<float> weights);

}  // namespace ruvllm::reference
