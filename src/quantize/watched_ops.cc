#include "quantize/watched_ops.h"

#include <algorithm>
#include <utility>

#include "ops/reference/reference_ops.h"

namespace ruvllm {
namespace {

// A quantized matrix in memory, for the product that goes on.
class MemorySource final : public QuantizedSource {
 public:
  explicit MemorySource(const QuantizedMatrix& matrix) : matrix_(matrix) {}
  Result<QuantizedMatrix> read() const override { return matrix_; }
  std::string_view layout() const override { return "isq"; }
  uint64_t stored_bytes() const override { return matrix_.codes.size(); }

 private:
  const QuantizedMatrix& matrix_;
};

KvLayerView first_layer(KvLayerView kv) {
  kv.v_offset_bytes -= kv.k_offset_bytes;
  kv.k_offset_bytes = 0;
  return kv;
}

}  // namespace

ConstMatrixF32 rows_of(ConstMatrixF32 x, int64_t first, int64_t count) {
  return {x.row(first), count, x.cols, x.row_stride};
}

MatmulArgs rows_of(const MatmulArgs& args, int64_t first, int64_t count) {
  MatmulArgs part = args;
  part.x = rows_of(args.x, first, count);
  if (!args.delta.empty()) part.delta = rows_of(args.delta, first, count);
  if (!args.residual.empty()) part.residual = rows_of(args.residual, first, count);
  part.y = {args.y.row(first), count, args.y.cols, args.y.row_stride};
  return part;
}

Result<std::unique_ptr<Weight>> WatchedOps::make_weight(std::span<const WeightSource> sources,
                                                        const WeightOptions& options) {
  if (by_data_.empty()) {
    for (size_t i = 0; i < matrices_.size(); ++i) {
      if (watches(matrices_[i])) by_data_.emplace(matrices_[i].view.data, i);
    }
  }
  auto weight = inner_->make_weight(sources, options);
  if (!weight) return weight;
  Site site;
  for (const WeightSource& source : sources) {
    // Halves of one tensor (gate and up of a stacked expert) begin where matrices do.
    const auto found = by_data_.find(source.view.data);
    if (found == by_data_.end()) continue;
    int64_t rows = 0;
    const int64_t all = source.transposed ? source.view.dim(1) : source.view.dim(0);
    for (size_t i = found->second; i < matrices_.size() && rows < all; ++i) {
      if (!watches(matrices_[i])) break;
      site.push_back(i);
      rows += matrices_[i].rows();
    }
  }
  if (!site.empty()) sites_.emplace(weight->get(), std::move(site));
  return weight;
}

void WatchedOps::matmul(const MatmulArgs& args) {
  if (stopped()) return;
  if (const auto site = sites_.find(args.weight); site != sites_.end()) {
    const Result<bool> computed = on_product(site->second, args);
    if (!computed) status_ = std::unexpected(computed.error());
    if (!computed || *computed || stopped()) return;
  }
  inner_->matmul(args);
}

bool WatchedOps::stopped() {
  if (status_) status_ = stop_.status();
  return !status_;
}

void WatchedOps::kv_write(const KvWriteArgs& args) {
  if (stopped()) return;
  KvWriteArgs here = args;
  here.kv = first_layer(args.kv);
  inner_->kv_write(here);
}

void WatchedOps::attention(const AttentionArgs& args) {
  if (stopped()) return;
  AttentionArgs here = args;
  here.kv = first_layer(args.kv);
  inner_->attention(here);
}

// y = expert(x); its products come through matmul().
void WatchedOps::run_expert(const MoeArgs& args, size_t expert, MatrixF32 x, MatrixF32 y) {
  const int64_t ffn = args.down[expert]->cols();
  std::vector<float> up(static_cast<size_t>(x.rows * 2 * ffn));
  std::vector<float> hidden(static_cast<size_t>(x.rows * ffn));
  MatmulArgs first;
  first.x = x;
  first.weight = args.gate_up[expert].get();
  first.y = make_matrix(up.data(), x.rows, 2 * ffn);
  matmul(first);
  inner_->activate_and_multiply(first.y, args.activation, make_matrix(hidden.data(), x.rows, ffn));
  MatmulArgs second;
  second.x = make_matrix(hidden.data(), x.rows, ffn);
  second.weight = args.down[expert].get();
  second.y = y;
  matmul(second);
}

// As the oracle does it, expert after expert.
void WatchedOps::moe(const MoeArgs& args) {
  if (stopped()) return;
  const int64_t tokens = args.x.rows;
  const int64_t width = args.x.cols;
  const int64_t twins = num_twins_;
  const int64_t first_twin = tokens - twins;
  const auto num_experts = static_cast<size_t>(args.router_logits.cols);
  const auto k = static_cast<size_t>(args.experts_per_token);
  std::vector<float> probabilities(num_experts);
  std::vector<float> shares(k);
  std::vector<int32_t> chosen(k);
  // [experts][tokens]; below 0: not chosen (shares are not).
  std::vector<float> share_of(num_experts * static_cast<size_t>(tokens), -1.0f);
  for (int64_t t = 0; t < tokens; ++t) {
    reference::choose_experts({args.router_logits.row(t), num_experts}, args.norm_topk_prob,
                              probabilities, chosen, shares);
    for (size_t i = 0; i < k; ++i) {
      share_of[static_cast<size_t>(chosen[i] * tokens + t)] = shares[i];
    }
  }
  std::vector<float> sum(static_cast<size_t>(tokens * width));
  for (size_t e = 0; e < num_experts; ++e) {
    const float* share = share_of.data() + e * static_cast<size_t>(tokens);
    const auto chosen_by = [&](int64_t t) { return !(share[t] < 0.0f); };
    std::vector<int64_t> rows;
    for (int64_t t = 0; t < first_twin; ++t) {
      if (chosen_by(t) || (t < twins && chosen_by(first_twin + t))) rows.push_back(t);
    }
    num_twins_ = std::ranges::count_if(rows, [&](int64_t t) { return t < twins; });
    for (int64_t i = 0; i < num_twins_; ++i) {
      rows.push_back(first_twin + rows[static_cast<size_t>(i)]);
    }
    const auto count = static_cast<int64_t>(rows.size());
    if (count == 0) continue;
    std::vector<float> x(static_cast<size_t>(count * width)), y(x.size());
    for (int64_t i = 0; i < count; ++i) {
      std::copy_n(args.x.row(rows[static_cast<size_t>(i)]), width, x.data() + i * width);
    }
    run_expert(args, e, make_matrix(x.data(), count, width), make_matrix(y.data(), count, width));
    for (int64_t i = 0; i < count; ++i) {
      const int64_t t = rows[static_cast<size_t>(i)];
      if (!chosen_by(t)) continue;
      for (int64_t c = 0; c < width; ++c) {
        sum[static_cast<size_t>(t * width + c)] += share[t] * y[static_cast<size_t>(i * width + c)];
      }
    }
  }
  num_twins_ = twins;
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t c = 0; c < width; ++c) {
      const float v = args.branch_scale * sum[static_cast<size_t>(t * width + c)];
      args.y.row(t)[c] = args.residual.empty() ? v : args.residual.row(t)[c] + v;
    }
  }
}

// The product of the quantized matrices instead of the exact ones.
Status WatchedOps::multiply(const MatmulArgs& args, const std::vector<QuantizedMatrix>& quantized) {
  std::vector<MemorySource> memory;
  for (const QuantizedMatrix& matrix : quantized) memory.emplace_back(matrix);
  std::vector<WeightSource> sources;
  for (size_t i = 0; i < memory.size(); ++i) {
    sources.push_back({make_view(nullptr, DType::kF32, {quantized[i].rows, quantized[i].cols}),
                       false, &memory[i]});
  }
  const auto weight = inner_->make_weight(sources, {ComputeType::kF32});
  if (!weight) return std::unexpected(weight.error());
  MatmulArgs here = args;
  here.weight = weight->get();
  inner_->matmul(here);
  return {};
}

}  // namespace ruvllm
