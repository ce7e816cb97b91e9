// Mixture of experts: routing as the oracle does it, then expert after expert over the tokens that
// chose it. A token's experts are added in increasing order of their number whoever stands beside
// it.
#include <algorithm>

#include "base/check.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/reference/reference_ops.h"

namespace ruvllm {
namespace {

// Scratch of one call, cut from one buffer. Floats first, then integers of the same size.
struct MoeScratch {
  float* weights;        // [T, k]
  float* probabilities;  // [X]
  float* gathered;       // [T, E]: rows of x of one expert
  float* gate_up;        // [T, 2F]
  float* hidden;         // [T, F]
  float* out;            // [T, E]
  float* sum;            // [T, E]
  int32_t* chosen;       // [T, k]
  int32_t* tokens;       // [T]: tokens of one expert
  float* token_weight;   // [T]
};

}  // namespace

void CpuOps::moe(const MoeArgs& args) {
  const int64_t num_tokens = args.x.rows;
  const int64_t width = args.x.cols;
  const int64_t num_experts = args.router_logits.cols;
  const int64_t k = args.experts_per_token;
  RUVLLM_CHECK(static_cast<int64_t>(args.gate_up.size()) == num_experts &&
               args.gate_up.size() == args.down.size());
  RUVLLM_CHECK(k > 0 && k <= num_experts && args.router_logits.rows == num_tokens);
  RUVLLM_CHECK(args.y.rows == num_tokens && args.y.cols == width);
  const int64_t ffn = args.down[0]->cols();

  const int64_t floats = num_tokens * (2 * k + 3 * width + 3 * ffn + 2) + num_experts;
  float* next = moe_scratch_.get<float>(floats);
  const auto take = [&next](int64_t count) {
    float* taken = next;
    next += count;
    return taken;
  };
  MoeScratch s;
  s.weights = take(num_tokens * k);
  s.probabilities = take(num_experts);
  s.gathered = take(num_tokens * width);
  s.gate_up = take(num_tokens * 2 * ffn);
  s.hidden = take(num_tokens * ffn);
  s.out = take(num_tokens * width);
  s.sum = take(num_tokens * width);
  s.chosen = reinterpret_cast<int32_t*>(take(num_tokens * k));
  s.tokens = reinterpret_cast<int32_t*>(take(num_tokens));
  s.token_weight = take(num_tokens);

  for (int64_t t = 0; t < num_tokens; ++t) {
    reference::choose_experts(
        {args.router_logits.row(t), static_cast<size_t>(num_experts)}, args.norm_topk_prob,
        {s.probabilities, static_cast<size_t>(num_experts)},
        {s.chosen + t * k, static_cast<size_t>(k)}, {s.weights + t * k, static_cast<size_t>(k)});
  }
  std::fill_n(s.sum, num_tokens * width, 0.0f);
  for (int64_t e = 0; e < num_experts; ++e) {
    int64_t count = 0;
    for (int64_t i = 0; i < num_tokens * k; ++i) {
      if (s.chosen[i] != e) continue;
      s.tokens[count] = static_cast<int32_t>(i / k);
      s.token_weight[count] = s.weights[i];
      std::copy_n(args.x.row(i / k), width, s.gathered + count * width);
      ++count;
    }
    if (count == 0) continue;
    MatmulArgs up;
    up.x = make_matrix(s.gathered, count, width);
    up.weight = args.gate_up[static_cast<size_t>(e)].get();
    up.y = make_matrix(s.gate_up, count, 2 * ffn);
    gated_matmul(up, args.activation, make_matrix(s.hidden, count, ffn));
    MatmulArgs down;
    down.x = make_matrix(s.hidden, count, ffn);
    down.weight = args.down[static_cast<size_t>(e)].get();
    down.y = make_matrix(s.out, count, width);
    matmul(down);
    for (int64_t i = 0; i < count; ++i) {
      float* sum = s.sum + s.tokens[i] * width;
      for (int64_t c = 0; c < width; ++c) sum[c] += s.token_weight[i] * s.out[i * width + c];
    }
  }
  for (int64_t t = 0; t < num_tokens; ++t) {
    const float* residual = args.residual.empty() ? nullptr : args.residual.row(t);
    for (int64_t c = 0; c < width; ++c) {
      const float v = args.branch_scale * s.sum[t * width + c];
      args.y.row(t)[c] = residual == nullptr ? v : residual[c] + v;
    }
  }
}

}  // namespace ruvllm
