#include "quantize/calibrate.h"

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "base/str.h"
#include "formats/quantized_pack.h"
#include "model/decoder.h"
#include "ops/reference/reference_ops.h"
#include "quantize/awq.h"
#include "quantize/gptq.h"
#include "quantize/rotation.h"
#include "quantize/smoothquant.h"

namespace ruvllm {
namespace {

constexpr int64_t kSampleRows = 256;  // of an input, for the searches
constexpr int32_t kRotationBlock = 256;
constexpr int32_t kBlockTokens = 64;

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

// The device of the pass: another one that does the arithmetic, watched.
class CalibratingOps final : public Ops {
 public:
  CalibratingOps(std::unique_ptr<Ops> inner, const CalibrationArgs& args)
      : inner_(std::move(inner)), args_(args) {
    for (size_t i = 0; i < args.matrices.size(); ++i) {
      const IsqMatrix& matrix = args.matrices[i];
      if (matrix.scheme.keep || !needs_calibration(matrix.scheme.method)) continue;
      by_data_.emplace(matrix.view.data, i);
      ++total_;
    }
  }

  Status status() const { return status_; }
  std::vector<FileTensor> take() { return std::move(results_); }

  std::string_view name() const override { return inner_->name(); }
  std::string_view kernels() const override { return inner_->kernels(); }
  void reserve(const StepLimits& limits) override { inner_->reserve(limits); }

  Result<std::unique_ptr<Weight>> make_weight(std::span<const WeightSource> sources,
                                              const WeightOptions& options) override {
    auto weight = inner_->make_weight(sources, options);
    if (!weight) return weight;
    std::vector<size_t> site;
    for (const WeightSource& source : sources) {
      // Halves of one tensor (gate and up of a stacked expert) begin where matrices do.
      const auto found = by_data_.find(source.view.data);
      if (found == by_data_.end()) continue;
      int64_t rows = 0;
      const int64_t all = source.transposed ? source.view.dim(1) : source.view.dim(0);
      for (size_t i = found->second; i < args_.matrices.size() && rows < all; ++i) {
        if (args_.matrices[i].scheme.keep) break;
        if (!needs_calibration(args_.matrices[i].scheme.method)) break;
        site.push_back(i);
        rows += args_.matrices[i].rows();
      }
    }
    if (!site.empty()) sites_.emplace(weight->get(), std::move(site));
    return weight;
  }

  void matmul(const MatmulArgs& args) override {
    const auto site = sites_.find(args.weight);
    if (!stopped() && site != sites_.end()) {
      const std::vector<size_t> matrices = std::move(site->second);
      sites_.erase(site);
      std::vector<QuantizedMatrix> quantized;
      status_ = quantize(matrices, args.x, quantized);
      int64_t rows = 0;
      for (const QuantizedMatrix& matrix : quantized) rows += matrix.rows;
      // (One stored beside it in the same product may be kept as it is.)
      if (status_ && rows == args.weight->rows() &&
          args_.matrices[matrices.front()].scheme.method == IsqMethod::kGptq) {
        multiply(args, quantized);
        return;
      }
    }
    if (!stopped()) inner_->matmul(args);
  }

  void moe(const MoeArgs& args) override;

  // All layers use the memory of the first: a layer's keys are not read after it.
  void kv_write(const KvWriteArgs& args) override {
    KvWriteArgs here = args;
    here.kv = first_layer(args.kv);
    inner_->kv_write(here);
  }
  void attention(const AttentionArgs& args) override {
    if (stopped()) return;
    AttentionArgs here = args;
    here.kv = first_layer(args.kv);
    inner_->attention(here);
  }
  void embed(const Weight& table, std::span<const int32_t> ids, float scale,
             MatrixF32 out) override {
    inner_->embed(table, ids, scale, out);
  }
  void rms_norm(const NormArgs& args) override { inner_->rms_norm(args); }
  void layer_norm(const NormArgs& args) override { inner_->layer_norm(args); }
  void rope(const RopeArgs& args) override { inner_->rope(args); }
  void activate_and_multiply(ConstMatrixF32 gate_up, Activation activation, MatrixF32 y) override {
    inner_->activate_and_multiply(gate_up, activation, y);
  }
  void activate(MatrixF32 x, Activation activation) override { inner_->activate(x, activation); }
  void add(MatrixF32 x, ConstMatrixF32 y, float scale) override { inner_->add(x, y, scale); }
  void finish_logits(MatrixF32 logits, float scale, float softcap) override {
    inner_->finish_logits(logits, scale, softcap);
  }

 private:
  bool stopped() {
    if (status_ && args_.cancelled != nullptr && args_.cancelled->load()) {
      status_ = fail(ErrorCode::kUnavailable, "quantization was cancelled");
    }
    return !status_;
  }

  static KvLayerView first_layer(KvLayerView kv) {
    kv.v_offset_bytes -= kv.k_offset_bytes;
    kv.k_offset_bytes = 0;
    return kv;
  }

  Status quantize(const std::vector<size_t>& site, ConstMatrixF32 x,
                  std::vector<QuantizedMatrix>& out);
  Result<QuantizedMatrix> gptq(const IsqMatrix& matrix, ConstMatrixF32 w, InputStats& stats,
                               std::optional<GptqPlan>& plan);
  Status keep(const IsqMatrix& matrix, const QuantizedMatrix& quantized);
  void multiply(const MatmulArgs& args, const std::vector<QuantizedMatrix>& quantized);

  std::unique_ptr<Ops> inner_;
  const CalibrationArgs& args_;
  std::unordered_map<const std::byte*, size_t> by_data_;          // where a matrix's elements begin
  std::unordered_map<const Weight*, std::vector<size_t>> sites_;  // what is not quantized yet
  std::vector<FileTensor> results_;
  InputTransform rotation_;  // of the site at hand
  Status status_;
  int64_t done_ = 0;
  int64_t total_ = 0;
};

// As the oracle does it, expert after expert; expert products come through matmul().
void CalibratingOps::moe(const MoeArgs& args) {
  if (stopped()) return;
  const int64_t tokens = args.x.rows;
  const int64_t width = args.x.cols;
  const auto num_experts = static_cast<size_t>(args.router_logits.cols);
  const auto k = static_cast<size_t>(args.experts_per_token);
  std::vector<float> probabilities(num_experts);
  std::vector<float> shares(static_cast<size_t>(tokens) * k);
  std::vector<int32_t> chosen(shares.size());
  for (size_t t = 0; t < static_cast<size_t>(tokens); ++t) {
    reference::choose_experts({args.router_logits.row(static_cast<int64_t>(t)), num_experts},
                              args.norm_topk_prob, probabilities, {chosen.data() + t * k, k},
                              {shares.data() + t * k, k});
  }
  std::vector<float> sum(static_cast<size_t>(tokens * width));
  for (size_t e = 0; e < num_experts; ++e) {
    std::vector<size_t> picks;
    for (size_t i = 0; i < chosen.size(); ++i) {
      if (chosen[i] == static_cast<int32_t>(e)) picks.push_back(i);
    }
    if (picks.empty()) continue;
    const auto count = static_cast<int64_t>(picks.size());
    const int64_t ffn = args.down[e]->cols();
    std::vector<float> x(static_cast<size_t>(count * width)),
        up(static_cast<size_t>(count * 2 * ffn)), hidden(static_cast<size_t>(count * ffn)),
        y(x.size());
    for (int64_t i = 0; i < count; ++i) {
      std::copy_n(args.x.row(static_cast<int64_t>(picks[static_cast<size_t>(i)] / k)), width,
                  x.data() + i * width);
    }
    MatmulArgs first;
    first.x = make_matrix(x.data(), count, width);
    first.weight = args.gate_up[e].get();
    first.y = make_matrix(up.data(), count, 2 * ffn);
    matmul(first);
    inner_->activate_and_multiply(first.y, args.activation, make_matrix(hidden.data(), count, ffn));
    MatmulArgs second;
    second.x = make_matrix(hidden.data(), count, ffn);
    second.weight = args.down[e].get();
    second.y = make_matrix(y.data(), count, width);
    matmul(second);
    for (int64_t i = 0; i < count; ++i) {
      const size_t pick = picks[static_cast<size_t>(i)];
      float* to = sum.data() + static_cast<int64_t>(pick / k) * width;
      for (int64_t c = 0; c < width; ++c)
        to[c] += shares[pick] * y[static_cast<size_t>(i * width + c)];
    }
  }
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t c = 0; c < width; ++c) {
      const float v = args.branch_scale * sum[static_cast<size_t>(t * width + c)];
      args.y.row(t)[c] = args.residual.empty() ? v : args.residual.row(t)[c] + v;
    }
  }
}

Status CalibratingOps::keep(const IsqMatrix& matrix, const QuantizedMatrix& quantized) {
  std::string prefix = matrix.name;
  if (prefix.ends_with(".weight")) prefix.resize(prefix.size() - 7);
  RUVLLM_ASSIGN(std::vector<PackedTensor> parts, pack_matrix(quantized, prefix));
  RUVLLM_ASSIGN(FileTensor tensor, tensor_of_parts(std::move(parts), matrix.tensor->file));
  tensor.name = matrix.name;
  results_.push_back(std::move(tensor));
  if (args_.progress) args_.progress(++done_, total_);
  return {};
}

Result<QuantizedMatrix> CalibratingOps::gptq(const IsqMatrix& matrix, ConstMatrixF32 w,
                                             InputStats& stats, std::optional<GptqPlan>& plan) {
  GptqOptions options;
  options.grid = matrix.scheme.grid;
  options.grid.search = options.grid.bits < 8;
  if (!plan) {
    std::vector<double> hessian = stats.hessian();
    rotation_ = {};
    if (matrix.scheme.rotate) {
      rotation_ = make_rotation(w.cols, kRotationBlock, args_.seed);
      if (!rotation_.empty()) rotate_hessian(hessian, w.cols, rotation_);
    }
    RUVLLM_ASSIGN(plan, plan_gptq(hessian, w.cols, options, *args_.pool));
  }
  if (rotation_.empty()) return quantize_gptq(w, *plan, options, *args_.pool);
  const std::vector<float> turned = rotate_rows(w, rotation_);
  QuantizedMatrix out =
      quantize_gptq({turned.data(), w.rows, w.cols, w.cols}, *plan, options, *args_.pool);
  out.transform = rotation_;
  return out;
}

Status CalibratingOps::quantize(const std::vector<size_t>& site, ConstMatrixF32 x,
                                std::vector<QuantizedMatrix>& out) {
  const IsqMethod method = args_.matrices[site.front()].scheme.method;
  std::vector<std::vector<float>> values;
  std::vector<ConstMatrixF32> weights;
  for (const size_t i : site) {
    const IsqMatrix& matrix = args_.matrices[i];
    const int64_t cols = matrix.cols();
    values.emplace_back(static_cast<size_t>(matrix.rows() * cols));
    float* to = values.back().data();
    args_.pool->parallel_for(matrix.rows(),
                             [&](int64_t n, int) { read_matrix_row(matrix, n, to + n * cols); });
    weights.emplace_back(to, matrix.rows(), cols, cols);
    if (const Status finite = check_finite(weights.back()); !finite) {
      return fail(finite.error().code, concat(matrix.tensor->file, ": tensor ", matrix.name, ": ",
                                              finite.error().message));
    }
  }
  InputStats stats(x.cols, method != IsqMethod::kSmoothQuant, kSampleRows);
  stats.add(x, *args_.pool);
  std::optional<GptqPlan> plan;
  AwqScale awq;
  SmoothScale smooth;
  const Grid& grid = args_.matrices[site.front()].scheme.grid;
  if (method == IsqMethod::kAwq) awq = search_awq_scale(weights, stats, grid, *args_.pool);
  if (method == IsqMethod::kSmoothQuant) smooth = search_smooth_scale(weights, stats, *args_.pool);
  for (size_t i = 0; i < site.size(); ++i) {
    const IsqMatrix& matrix = args_.matrices[site[i]];
    if (method == IsqMethod::kAwq) {
      const bool clip =
          matrix.role != Role::kQ && matrix.role != Role::kK && matrix.role != Role::kQkv;
      out.push_back(quantize_awq(weights[i], awq, stats, matrix.scheme.grid, clip, *args_.pool));
    } else if (method == IsqMethod::kSmoothQuant) {
      out.push_back(quantize_smooth(weights[i], smooth));
    } else {
      auto quantized = gptq(matrix, weights[i], stats, plan);
      if (!quantized) {
        return fail(quantized.error().code, concat(matrix.tensor->file, ": tensor ", matrix.name,
                                                   ": ", quantized.error().message));
      }
      out.push_back(std::move(*quantized));
    }
    RUVLLM_TRY(keep(matrix, out.back()));
  }
  return {};
}

// The product of the quantized matrices instead of the exact ones.
void CalibratingOps::multiply(const MatmulArgs& args,
                              const std::vector<QuantizedMatrix>& quantized) {
  std::vector<MemorySource> memory;
  for (const QuantizedMatrix& matrix : quantized) memory.emplace_back(matrix);
  std::vector<WeightSource> sources;
  for (size_t i = 0; i < memory.size(); ++i) {
    sources.push_back({make_view(nullptr, DType::kF32, {quantized[i].rows, quantized[i].cols}),
                       false, &memory[i]});
  }
  const auto weight = inner_->make_weight(sources, {ComputeType::kF32});
  if (!weight) {
    status_ = std::unexpected(weight.error());
    return;
  }
  MatmulArgs here = args;
  here.weight = weight->get();
  inner_->matmul(here);
}

// How many tokens' activations fit.
int64_t tokens_that_fit(const ModelConfig& config, uint64_t max_bytes) {
  const int64_t heads = config.num_heads + 2 * int64_t{config.num_kv_heads};
  const int64_t wide = std::max(heads * config.head_dim, 2 * int64_t{config.ffn_size});
  const int64_t floats = 4 * int64_t{config.hidden_size} + wide + wide / 2 +
                         2 * int64_t{config.num_kv_heads} * config.head_dim + config.num_experts;
  return static_cast<int64_t>(max_bytes / (4 * static_cast<uint64_t>(floats)));
}

void shorten(std::vector<std::vector<int32_t>>& samples, int64_t max_tokens) {
  int64_t tokens = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    tokens += static_cast<int64_t>(samples[i].size());
    if (tokens <= max_tokens || i == 0) continue;
    log_warning("calibration: ", i, " of ", samples.size(),
                " samples are used, the memory set aside ", "for activations holds no more");
    samples.resize(i);
    return;
  }
}

}  // namespace

Result<std::vector<FileTensor>> calibrate(CalibrationArgs args) {
  shorten(args.samples, tokens_that_fit(args.checkpoint.config, args.max_activation_bytes));
  const ModelConfig& config = args.checkpoint.config;
  RUVLLM_ASSIGN(std::unique_ptr<Ops> inner, make_cpu_ops(args.pool->num_threads()));
  CalibratingOps ops(std::move(inner), args);
  RUVLLM_ASSIGN(
      const ModelWeights weights,
      load_weights({config, args.checkpoint.names, args.checkpoint.tensors, args.checkpoint.path,
                    ops, ComputeType::kF32, [](int64_t, int64_t) {}}));
  std::vector<int32_t> ids;
  std::vector<std::vector<int32_t>> tables;
  std::vector<SequenceSpan> sequences;
  int32_t blocks = 0;
  for (const std::vector<int32_t>& sample : args.samples) {
    SequenceSpan span;
    span.first_row = static_cast<int64_t>(ids.size());
    span.num_tokens = static_cast<int64_t>(sample.size());
    tables.emplace_back();
    for (int64_t at = 0; at < span.num_tokens; at += kBlockTokens)
      tables.back().push_back(blocks++);
    ids.insert(ids.end(), sample.begin(), sample.end());
    sequences.push_back(span);
  }
  if (ids.empty()) return fail(ErrorCode::kInvalidArgument, "calibration: no samples");
  for (size_t i = 0; i < tables.size(); ++i) sequences[i].block_table = tables[i];
  ModelConfig one_layer = config;
  one_layer.layers.resize(1);
  RUVLLM_ASSIGN(KvStorage kv, KvStorage::make(one_layer, DType::kF32, kBlockTokens));
  RUVLLM_TRY(kv.reserve(blocks));
  TransformerDecoder decoder(config, weights, ops, static_cast<int64_t>(ids.size()));
  ForwardBatch batch;
  batch.ids = ids;
  batch.sequences = sequences;
  decoder.forward(batch, kv);
  RUVLLM_TRY(ops.status());
  return ops.take();
}

}  // namespace ruvllm
