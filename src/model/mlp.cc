#include "model/mlp.h"

#include "model/adapters.h"

namespace ruvllm {
namespace {

void dense(const Step& step, int32_t layer, const LayerWeights& weights, ConstMatrixF32 input,
           MatrixF32 x) {
  const ModelConfig& config = step.config;
  const MatrixF32 up = step.space.wide.view(step.rows, weights.up.rows());
  const ConstMatrixF32 delta = adapter_delta(step, LoraSite::kUp, layer, input, up.cols);
  const auto add_down = [&](ConstMatrixF32 hidden) {
    const ConstMatrixF32 down_delta =
        adapter_delta(step, LoraSite::kDown, layer, hidden, config.hidden_size);
    add_branch(step, weights.down, hidden, down_delta, weights.mlp_post_norm, x);
  };
  if (config.gated_mlp) {
    const MatrixF32 hidden = step.space.narrow.view(step.rows, config.ffn_size);
    apply_gated(step.ops, weights.up, input, delta, config.activation, up, hidden);
    return add_down(hidden);
  }
  apply(step.ops, weights.up, input, up, delta);
  step.ops.activate(up, config.activation);
  add_down(up);
}

void mixture(const Step& step, const LayerWeights& weights, ConstMatrixF32 input, MatrixF32 x) {
  const ModelConfig& config = step.config;
  const MatrixF32 router_logits = step.space.router.view(step.rows);
  apply(step.ops, weights.router, input, router_logits);

  const bool post_norm = !weights.mlp_post_norm.weight.empty();
  MoeArgs args;
  args.x = input;
  args.router_logits = router_logits;
  args.experts_per_token = config.experts_per_token;
  args.norm_topk_prob = config.norm_topk_prob;
  args.activation = config.activation;
  args.gate_up = weights.experts_gate_up;
  args.down = weights.experts_down;
  if (post_norm) {
    args.y = step.space.branch.view(step.rows);
    step.ops.moe(args);
    apply_norm(step, weights.mlp_post_norm, args.y, args.y);
    step.ops.add(x, args.y, config.residual_scale);
    return;
  }
  args.residual = x;
  args.branch_scale = config.residual_scale;
  args.y = x;
  step.ops.moe(args);
}

}  // namespace

void mlp(const Step& step, int32_t layer, const LayerWeights& weights, ConstMatrixF32 input,
         MatrixF32 x) {
  if (step.config.layers[static_cast<size_t>(layer)].moe) {
    mixture(step, weights, input, x);
  } else {
    dense(step, layer, weights, input, x);
  }
}

}  // namespace ruvllm
