#include "model/step.h"

#include <algorithm>

#include "base/check.h"

namespace ruvllm {

MatrixF32 RowBuffer::view(int64_t rows, int64_t cols) const {
  RUVLLM_CHECK(rows <= max_rows_ && cols <= cols_, rows, "x", cols, " of ", max_rows_, "x", cols_);
  return {reinterpret_cast<float*>(data_.get()), rows, cols, stride(cols)};
}

Workspace::Workspace(const ModelConfig& config, int64_t max_rows)
    : x(max_rows, config.hidden_size, RowBuffer::Rows::kApart),
      normed(max_rows, config.hidden_size, RowBuffer::Rows::kApart),
      output(max_rows, config.hidden_size),
      logits(1, config.vocab_size),
      positions(static_cast<size_t>(max_rows)) {
  const int64_t head_dim = config.head_dim;
  bool any_dense = false;
  bool any_moe = false;
  bool any_local = false;
  for (const LayerConfig& layer : config.layers) {
    (layer.moe ? any_moe : any_dense) = true;
    any_local = any_local || layer.local_rope;
  }
  const int64_t ffn = any_dense ? config.ffn_size : 0;
  const int64_t qkv = (config.num_heads + 2 * int64_t{config.num_kv_heads}) * head_dim;
  constexpr auto kApart = RowBuffer::Rows::kApart;
  wide = RowBuffer(max_rows, std::max(qkv, config.gated_mlp ? 2 * ffn : ffn), kApart);
  narrow = RowBuffer(max_rows, std::max(config.num_heads * head_dim, ffn), kApart);
  if (any_moe) router = RowBuffer(max_rows, config.num_experts);
  if (config.block_form == BlockForm::kPostNorm || config.block_form == BlockForm::kSandwich) {
    branch = RowBuffer(max_rows, config.hidden_size, kApart);
  }
  const int64_t pairs = config.rope.rotary_dim / 2;
  rope = {RowBuffer(max_rows, pairs), RowBuffer(max_rows, pairs)};
  if (any_local) {
    const int64_t local_pairs = config.rope_local.rotary_dim / 2;
    rope_local = {RowBuffer(max_rows, local_pairs), RowBuffer(max_rows, local_pairs)};
  }
}

int64_t Workspace::widest_row() const {
  return std::max({x.cols(), wide.cols(), narrow.cols(), router.cols(), logits.cols()});
}

void apply_norm(const Step& step, const NormWeights& norm, ConstMatrixF32 x, MatrixF32 y,
                int32_t groups) {
  NormArgs args;
  args.x = x;
  args.weight = norm.weight.data();
  args.bias = norm.bias.empty() ? nullptr : norm.bias.data();
  args.eps = step.config.norm_eps;
  args.plus_one = step.config.norm_plus_one;
  args.groups = groups;
  args.y = y;
  if (step.config.norm == NormKind::kRms) {
    step.ops.rms_norm(args);
  } else {
    step.ops.layer_norm(args);
  }
}

void add_branch(const Step& step, const Linear& linear, ConstMatrixF32 input, ConstMatrixF32 delta,
                const NormWeights& post_norm, MatrixF32 x) {
  const float scale = step.config.residual_scale;
  if (post_norm.weight.empty()) {
    apply_and_add(step.ops, linear, input, scale, x, delta);
    return;
  }
  const MatrixF32 branch = step.space.branch.view(step.rows);
  apply(step.ops, linear, input, branch, delta);
  apply_norm(step, post_norm, branch, branch);
  step.ops.add(x, branch, scale);
}

}  // namespace ruvllm
