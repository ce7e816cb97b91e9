#include "model/attention.h"

#include "model/adapters.h"

namespace ruvllm {
namespace {

void normalize_heads(const Step& step, const LayerWeights& weights, MatrixF32 q, MatrixF32 k) {
  const ModelConfig& config = step.config;
  if (config.qk_norm == QkNorm::kNone) return;
  const bool per_head = config.qk_norm == QkNorm::kPerHead;
  apply_norm(step, weights.q_norm, q, q, per_head ? config.num_heads : 1);
  apply_norm(step, weights.k_norm, k, k, per_head ? config.num_kv_heads : 1);
}

void rotate(const Step& step, const LayerConfig& layer, MatrixF32 heads, int32_t num_heads) {
  if (!layer.use_rope) return;
  const RopeConfig& rope = layer.local_rope ? step.config.rope_local : step.config.rope;
  if (rope.rotary_dim == 0) return;
  const RopeRows& rows = layer.local_rope ? step.space.rope_local : step.space.rope;
  RopeArgs args;
  args.x = heads;
  args.num_heads = num_heads;
  args.head_dim = step.config.head_dim;
  args.rotary_dim = rope.rotary_dim;
  args.layout = rope.layout;
  args.cos = rows.cos.view(step.rows);
  args.sin = rows.sin.view(step.rows);
  step.ops.rope(args);
}

}  // namespace

void attention(const Step& step, int32_t layer, const LayerWeights& weights, ConstMatrixF32 input,
               MatrixF32 x) {
  const ModelConfig& config = step.config;
  const LayerConfig& traits = config.layers[static_cast<size_t>(layer)];
  const int64_t q_size = int64_t{config.num_heads} * config.head_dim;
  const int64_t kv_size = int64_t{config.num_kv_heads} * config.head_dim;

  const MatrixF32 qkv = step.space.wide.view(step.rows, q_size + 2 * kv_size);
  const MatrixF32 q = qkv.columns(0, q_size);
  const MatrixF32 k = qkv.columns(q_size, kv_size);
  const MatrixF32 v = qkv.columns(q_size + kv_size, kv_size);
  apply(step.ops, weights.qkv, input, qkv,
        adapter_delta(step, LoraSite::kQkv, layer, input, qkv.cols));
  normalize_heads(step, weights, q, k);
  rotate(step, traits, q, config.num_heads);
  rotate(step, traits, k, config.num_kv_heads);

  KvWriteArgs write;
  write.k = k;
  write.v = v;
  write.kv = step.kv.layer(layer);
  write.sequences = step.batch.sequences;
  step.ops.kv_write(write);

  AttentionArgs args;
  args.q = q;
  args.out = step.space.narrow.view(step.rows, q_size);
  args.kv = write.kv;
  args.sequences = step.batch.sequences;
  args.num_heads = config.num_heads;
  args.window = traits.window;
  args.scale = config.attention_scale;
  args.softcap = config.attention_softcap;
  args.share_prefixes = step.batch.share_prefixes;
  step.ops.attention(args);

  const ConstMatrixF32 delta =
      adapter_delta(step, LoraSite::kAttnOut, layer, args.out, config.hidden_size);
  add_branch(step, weights.attn_out, args.out, delta, weights.attn_post_norm, x);
}

}  // namespace ruvllm
