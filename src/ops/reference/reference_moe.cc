// Mixture of experts: routing and the chosen experts, one token after the other.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "ops/reference/reference_math.h"
#include "ops/reference/reference_ops.h"
#include "ops/reference/reference_weight.h"

namespace ruvllm::reference {

void choose_experts(std::span<const float> logits, bool rescale, std::span<float> probabilities,
                    std::span<int32_t> chosen, std::span<float> weights) {
  const size_t num_experts = logits.size();
  RUVLLM_CHECK(chosen.size() <= num_experts && weights.size() == chosen.size());
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  const auto number = [](float x) { return std::isnan(x) ? kLowest : x; };

  float highest = kLowest;
  for (const float logit : logits) highest = std::max(highest, number(logit));
  float total = 0.0f;
  for (size_t e = 0; e < num_experts; ++e) {
    const float shifted = number(logits[e]) - highest;
    probabilities[e] = std::isnan(shifted) ? 0.0f : std::exp(shifted);
    total += probabilities[e];
  }
  for (size_t e = 0; e < num_experts; ++e) {
    probabilities[e] = total > 0.0f ? probabilities[e] / total : 0.0f;
  }

  for (size_t j = 0; j < chosen.size(); ++j) {
    int32_t best = -1;
    for (size_t e = 0; e < num_experts; ++e) {
      const auto index = static_cast<int32_t>(e);
      if (std::find(chosen.begin(), chosen.begin() + static_cast<ptrdiff_t>(j), index) !=
          chosen.begin() + static_cast<ptrdiff_t>(j)) {
        continue;
      }
      if (best < 0 || probabilities[e] > probabilities[static_cast<size_t>(best)]) best = index;
    }
    chosen[j] = best;
  }
  std::sort(chosen.begin(), chosen.end());
  float kept = 0.0f;
  for (size_t j = 0; j < chosen.size(); ++j) {
    weights[j] = probabilities[static_cast<size_t>(chosen[j])];
    kept += weights[j];
  }
  if (rescale && kept > 0.0f) {
    for (float& weight : weights) weight /= kept;
  }
}

namespace {

// y[n] = sum_k x[k] w[n, k]
void multiply(const ReferenceWeight& w, const float* x, float* row_buffer, float* y) {
  for (int64_t n = 0; n < w.rows(); ++n) y[n] = dot(x, w.row(n, row_buffer), w.cols());
}

}  // namespace

void ReferenceOps::moe(const MoeArgs& args) {
  const int64_t num_experts = args.router_logits.cols;
  const int64_t width = args.x.cols;
  RUVLLM_CHECK(static_cast<int64_t>(args.gate_up.size()) == num_experts &&
               args.gate_up.size() == args.down.size());
  RUVLLM_CHECK(args.experts_per_token > 0 && args.experts_per_token <= num_experts);
  const auto k = static_cast<size_t>(args.experts_per_token);
  chosen_.resize(k);
  const int64_t ffn = args.down[0]->cols();
  float* row_buffer = scratch(0, std::max(width, ffn));
  float* gate_up = scratch(1, 2 * ffn);
  float* branch = scratch(2, width);
  float* sum = scratch(3, width);
  float* probabilities = scratch(4, num_experts);
  float* weights = scratch(5, args.experts_per_token);
  for (int64_t t = 0; t < args.x.rows; ++t) {
    choose_experts({args.router_logits.row(t), static_cast<size_t>(num_experts)},
                   args.norm_topk_prob, {probabilities, static_cast<size_t>(num_experts)}, chosen_,
                   {weights, k});
    std::fill(sum, sum + width, 0.0f);
    for (size_t j = 0; j < k; ++j) {
      const auto expert = static_cast<size_t>(chosen_[j]);
      multiply(as_reference(*args.gate_up[expert]), args.x.row(t), row_buffer, gate_up);
      for (int64_t i = 0; i < ffn; ++i) {
        gate_up[i] = activate_one(gate_up[i], args.activation) * gate_up[ffn + i];
      }
      multiply(as_reference(*args.down[expert]), gate_up, row_buffer, branch);
      for (int64_t i = 0; i < width; ++i) sum[i] += weights[j] * branch[i];
    }
    float* y = args.y.row(t);
    for (int64_t i = 0; i < width; ++i) {
      const float residual = args.residual.empty() ? 0.0f : args.residual.row(t)[i];
      y[i] = residual + args.branch_scale * sum[i];
    }
  }
}

}  // namespace ruvllm::reference
