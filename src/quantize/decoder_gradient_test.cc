// Gradients of a decoder against central differences of a plain forward pass in double precision,
// and its forward pass against the engine's.
#include "quantize/decoder_gradient.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/test_util.h"
#include "model/model_test_util.h"
#include "quantize/divergence_loss.h"
#include "quantize/sample_pass.h"
#include "quantize/watched_ops.h"

namespace ruvllm {
namespace {

using Row = std::vector<double>;
using Matrix = std::vector<Row>;

// A small model, all of whose numbers are in memory.
struct Model {
  test::TensorSet set;
  Checkpoint checkpoint;
  std::vector<IsqMatrix> matrices;
  std::vector<std::vector<int32_t>> texts;

  std::vector<std::span<const int32_t>> sequences() const { return {texts.begin(), texts.end()}; }
};

struct Variant {
  const char* name;
  void (*change)(ModelConfig& config);
};

ModelConfig odd_config() {
  ModelConfig config = test::tiny_config();
  config.vocab_size = 19;
  config.hidden_size = 10;
  config.ffn_size = 13;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 6;
  config.rope.rotary_dim = 6;
  config.attention_scale = 0.7f;
  return config;
}

void make_model(const ModelConfig& config, Model& model) {
  test::add_llama(model.set, config, "model.");
  if (config.tied_embeddings) model.set.remove("lm_head.weight");
  const int64_t q = config.num_heads * config.head_dim, kv = config.num_kv_heads * config.head_dim;
  for (int32_t l = 0; l < config.num_layers(); ++l) {
    const std::string layer = concat("model.layers.", l, ".");
    if (config.qkv_bias) {
      model.set.add(layer + "self_attn.q_proj.bias", {q});
      model.set.add(layer + "self_attn.k_proj.bias", {kv});
      model.set.add(layer + "self_attn.v_proj.bias", {kv});
    }
    if (config.mlp_bias) {
      model.set.add(layer + "mlp.gate_proj.bias", {config.ffn_size});
      model.set.add(layer + "mlp.up_proj.bias", {config.ffn_size});
      model.set.add(layer + "mlp.down_proj.bias", {config.hidden_size});
    }
    if (config.qk_norm == QkNorm::kNone) continue;
    const bool full = config.qk_norm == QkNorm::kFull;
    model.set.add(layer + "self_attn.q_norm.weight", {full ? q : config.head_dim});
    model.set.add(layer + "self_attn.k_norm.weight", {full ? kv : config.head_dim});
  }
  // Larger than the pattern's numbers, so that softmaxes are far from flat; norms around 1.
  for (FileTensor& tensor : model.set.tensors) {
    auto* const values = const_cast<float*>(reinterpret_cast<const float*>(tensor.view.data));
    const bool norm = tensor.name.find("norm") != std::string::npos;
    for (int64_t i = 0; i < tensor.view.num_elements(); ++i) {
      values[i] = norm && !config.norm_plus_one ? 1.0f + values[i] : 3.0f * values[i];
    }
  }
  model.checkpoint.path = "tiny";
  model.checkpoint.config = config;
  model.checkpoint.tensors = model.set.tensors;
  model.matrices = *list_matrices(model.checkpoint, *parse_isq("rtn4"));
  model.texts = {{3, 1, 4, 1, 5, 9, 2}, {6, 5, 3, 5, 8}};
}

// The forward pass, one sequence, no tricks.
class PlainPass {
 public:
  PlainPass(const Model& model, const DecoderParts& parts)
      : config_(model.checkpoint.config), parts_(parts) {
    for (const IsqMatrix& matrix : model.matrices) {
      Matrix& rows = weights.emplace_back();
      std::vector<float> row(static_cast<size_t>(matrix.cols()));
      for (int64_t n = 0; n < matrix.rows(); ++n) {
        read_matrix_row(matrix, n, row.data());
        rows.emplace_back(row.begin(), row.end());
      }
    }
  }

  std::vector<Matrix> weights;  // [matrices][N][K]

  Matrix logits(const std::vector<int32_t>& ids) const {
    Matrix x;
    for (const int32_t id : ids) x.push_back(weights[parts_.embedding][static_cast<size_t>(id)]);
    for (Row& row : x) {
      for (double& v : row) v *= double{config_.embedding_scale};
    }
    for (size_t l = 0; l < parts_.layers.size(); ++l) run_layer(l, x);
    Matrix out;
    for (const Row& row : x) {
      Row y = product(weights[parts_.output], norm(row, parts_.final_norm, 0, row.size()));
      for (double& v : y) v *= double{config_.logit_scale};
      out.push_back(std::move(y));
    }
    return out;
  }

 private:
  static Row product(const Matrix& w, const Row& x) {
    Row y;
    for (const Row& row : w) {
      double sum = 0.0;
      for (size_t k = 0; k < row.size(); ++k) sum += row[k] * x[k];
      y.push_back(sum);
    }
    return y;
  }
  Row norm(const Row& x, const std::vector<float>& weight, size_t first, size_t count) const {
    double squares = 0.0;
    for (size_t i = first; i < first + count; ++i) squares += x[i] * x[i];
    const double r =
        1.0 / std::sqrt(squares / static_cast<double>(count) + double{config_.norm_eps});
    Row y = x;
    for (size_t i = 0; i < count; ++i) y[first + i] = x[first + i] * r * double{weight[i]};
    return y;
  }
  Row stacked(const StackedMatrices& stack, const Row& x) const {
    Row y;
    for (const auto& part : stack.parts) {
      const Row rows = product(weights[part.matrix], x);
      y.insert(y.end(), rows.begin(), rows.end());
    }
    for (size_t i = 0; i < stack.bias.size(); ++i) y[i] += double{stack.bias[i]};
    return y;
  }
  void rotate(Row& qkv, size_t position) const {
    const RopeTable table(config_.rope, config_.max_positions);
    const auto pairs = static_cast<size_t>(table.pairs());
    std::vector<float> cos(pairs), sin(pairs);
    table.fill(static_cast<int64_t>(position), 0, cos.data(), sin.data());
    const auto dim = static_cast<size_t>(config_.head_dim);
    for (size_t h = 0; h < static_cast<size_t>(config_.num_heads + config_.num_kv_heads); ++h) {
      for (size_t i = 0; i < pairs; ++i) {
        const bool halves = config_.rope.layout == RopeLayout::kHalves;
        double& a = qkv[h * dim + (halves ? i : 2 * i)];
        double& b = qkv[h * dim + (halves ? i + pairs : 2 * i + 1)];
        const double turned = a * double{cos[i]} - b * double{sin[i]};
        b = b * double{cos[i]} + a * double{sin[i]};
        a = turned;
      }
    }
  }
  double act(double x) const {
    switch (config_.activation) {
      case Activation::kSilu:
        return x / (1.0 + std::exp(-x));
      case Activation::kGeluTanh:
        return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
      case Activation::kGeluErf:
        return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0)));
      case Activation::kRelu:
        break;
    }
    return std::max(x, 0.0);
  }
  void run_layer(size_t l, Matrix& x) const {
    const DecoderLayer& layer = parts_.layers[l];
    const auto dim = static_cast<size_t>(config_.head_dim);
    const auto heads = static_cast<size_t>(config_.num_heads);
    const auto kv_heads = static_cast<size_t>(config_.num_kv_heads);
    Matrix qkv;
    for (size_t t = 0; t < x.size(); ++t) {
      Row row = stacked(layer.qkv, norm(x[t], layer.attn_norm, 0, x[t].size()));
      for (size_t at = 0; at < (heads + kv_heads) * dim && !layer.q_norm.empty();) {
        const std::vector<float>& weight = at < heads * dim ? layer.q_norm : layer.k_norm;
        row = norm(row, weight, at, weight.size());
        at += weight.size();
      }
      if (config_.layers[l].use_rope) rotate(row, t);
      qkv.push_back(std::move(row));
    }
    const auto window = static_cast<size_t>(config_.layers[l].window);
    for (size_t t = 0; t < x.size(); ++t) {
      Row out;
      for (size_t h = 0; h < heads; ++h) {
        const size_t k_at = (heads + h * kv_heads / heads) * dim, v_at = k_at + kv_heads * dim;
        const size_t first = window > 0 && t + 1 > window ? t + 1 - window : 0;
        Row p;
        double sum = 0.0;
        for (size_t j = first; j <= t; ++j) {
          double score = 0.0;
          for (size_t d = 0; d < dim; ++d) score += qkv[t][h * dim + d] * qkv[j][k_at + d];
          p.push_back(std::exp(score * double{config_.attention_scale}));
          sum += p.back();
        }
        for (size_t d = 0; d < dim; ++d) {
          double value = 0.0;
          for (size_t j = first; j <= t; ++j) value += p[j - first] / sum * qkv[j][v_at + d];
          out.push_back(value);
        }
      }
      add(stacked(layer.attn_out, out), x[t]);
    }
    for (Row& row : x) {
      const Row gate_up = stacked(layer.gate_up, norm(row, layer.mlp_norm, 0, row.size()));
      Row hidden;
      const size_t ffn = gate_up.size() / 2;
      for (size_t i = 0; i < ffn; ++i) hidden.push_back(act(gate_up[i]) * gate_up[ffn + i]);
      add(stacked(layer.down, hidden), row);
    }
  }
  void add(const Row& branch, Row& x) const {
    for (size_t i = 0; i < x.size(); ++i) x[i] += double{config_.residual_scale} * branch[i];
  }

  const ModelConfig& config_;
  const DecoderParts& parts_;
};

// Mean KL divergence of the plain pass against logits `of` all texts.
double plain_loss(const PlainPass& pass, const Model& model, const std::vector<Matrix>& of) {
  double sum = 0.0, rows = 0.0;
  for (size_t s = 0; s < model.texts.size(); ++s) {
    const Matrix logits = pass.logits(model.texts[s]);
    for (size_t t = 0; t < logits.size(); ++t, rows += 1.0) {
      double p_sum = 0.0, q_sum = 0.0;
      for (size_t i = 0; i < logits[t].size(); ++i) {
        p_sum += std::exp(of[s][t][i]);
        q_sum += std::exp(logits[t][i]);
      }
      for (size_t i = 0; i < logits[t].size(); ++i) {
        sum += std::exp(of[s][t][i]) / p_sum *
               (of[s][t][i] - std::log(p_sum) - logits[t][i] + std::log(q_sum));
      }
    }
  }
  return sum / rows;
}

// All gradients, kept.
class KeepingSink final : public GradientSink {
 public:
  explicit KeepingSink(const std::vector<IsqMatrix>& matrices) : matrices_(matrices) {
    for (const IsqMatrix& matrix : matrices) {
      gradients.emplace_back(static_cast<size_t>(matrix.rows() * matrix.cols()), NAN);
    }
  }
  bool wants(size_t matrix) const override { return matrices_[matrix].kind == MatrixKind::kLinear; }
  void take(size_t matrix, int64_t first, ConstMatrixF32 gradient) override {
    for (int64_t i = 0; i < gradient.rows; ++i) {
      std::copy_n(gradient.row(i), gradient.cols,
                  gradients[matrix].begin() + (first + i) * gradient.cols);
    }
  }
  std::vector<std::vector<float>> gradients;

 private:
  const std::vector<IsqMatrix>& matrices_;
};

// Matrices with every element a little off, as if rounded.
class ChangedRows final : public MatrixRows {
 public:
  explicit ChangedRows(const std::vector<IsqMatrix>& matrices) : matrices_(matrices) {}
  void read(size_t matrix, int64_t row, float* out) const override {
    read_matrix_row(matrices_[matrix], row, out);
    for (int64_t k = 0; k < matrices_[matrix].cols(); ++k) {
      out[k] += static_cast<float>((row * 7 + k * 5) % 11 - 5) * 0.03f;
    }
  }

 private:
  const std::vector<IsqMatrix>& matrices_;
};

struct Step {
  double loss = 0.0;
  std::vector<std::vector<float>> gradients;
};
Step gradient_of(const Model& model, const DecoderParts& parts, int threads) {
  ThreadPool pool(threads);
  const ModelConfig& config = model.checkpoint.config;
  const StoredRows exact(model.matrices);
  const ChangedRows changed(model.matrices);
  DecoderGradient decoder(config, parts, pool);
  DivergenceLoss loss(config, parts, exact, changed, pool);
  const auto sequences = model.sequences();
  const ConstMatrixF32 hidden = decoder.forward(exact, sequences);
  std::vector<float> kept(hidden.data, hidden.data + hidden.rows * hidden.cols);
  std::vector<float> d_hidden(kept.size());
  const MatrixF32 d = make_matrix(d_hidden.data(), hidden.rows, hidden.cols);
  KeepingSink sink(model.matrices);
  Step out;
  const ConstMatrixF32 here = decoder.forward(changed, sequences);
  out.loss = loss.run(make_matrix(kept.data(), d.rows, d.cols), here, d);
  decoder.backward(changed, d, sink);
  out.gradients = std::move(sink.gradients);
  return out;
}

constexpr Variant kVariants[] = {{"llama", [](ModelConfig&) {}},
                                 {"tied, one head per key head, interleaved",
                                  [](ModelConfig& config) {
                                    config.tied_embeddings = true;
                                    config.num_kv_heads = 4;
                                    config.rope.layout = RopeLayout::kInterleaved;
                                    config.rope.rotary_dim = 4;
                                  }},
                                 {"biases, gelu, window, scales",
                                  [](ModelConfig& config) {
                                    config.qkv_bias = config.mlp_bias = true;
                                    config.activation = Activation::kGeluTanh;
                                    config.layers[1].window = 3;
                                    config.layers[0].use_rope = false;
                                    config.embedding_scale = 1.5f;
                                    config.residual_scale = 0.6f;
                                    config.logit_scale = 0.8f;
                                  }},
                                 {"norms of heads, erf, 1 + w",
                                  [](ModelConfig& config) {
                                    config.qk_norm = QkNorm::kPerHead;
                                    config.norm_plus_one = true;
                                    config.activation = Activation::kGeluErf;
                                    config.num_kv_heads = 1;
                                  }},
                                 {"norm of all heads, yarn", [](ModelConfig& config) {
                                    config.qk_norm = QkNorm::kFull;
                                    config.rope.scaling = RopeScaling::kYarn;
                                    config.rope.factor = 4.0;
                                    config.rope.original_max_positions = 32;
                                  }}};

TEST(DecoderGradient, IsThatOfCentralDifferencesInEveryTensor) {
  for (const Variant& variant : kVariants) {
    SCOPED_TRACE(variant.name);
    ModelConfig config = odd_config();
    variant.change(config);
    Model model;
    make_model(config, model);
    const auto parts = find_decoder_parts(model.checkpoint, model.matrices);
    ASSERT_TRUE(parts) << parts.error().message;
    PlainPass pass(model, *parts);
    std::vector<Matrix> exact;
    for (const auto& text : model.texts) exact.push_back(pass.logits(text));
    const ChangedRows changed(model.matrices);
    for (size_t m = 0; m < model.matrices.size(); ++m) {
      for (size_t n = 0; n < pass.weights[m].size(); ++n) {
        std::vector<float> row(pass.weights[m][n].size());
        // The embedding, too, is what the stored model will have.
        changed.read(m, static_cast<int64_t>(n), row.data());
        std::ranges::copy(row, pass.weights[m][n].begin());
      }
    }
    const Step step = gradient_of(model, *parts, 2);
    EXPECT_NEAR(step.loss, plain_loss(pass, model, exact), 2e-6);
    for (size_t m = 0; m < model.matrices.size(); ++m) {
      if (model.matrices[m].kind != MatrixKind::kLinear) continue;
      double error = 0.0, whole = 0.0;
      Matrix& w = pass.weights[m];
      for (size_t n = m % 2; n < w.size(); n += 2) {
        for (size_t k = n % 3; k < w[n].size(); k += 3) {
          constexpr double kStep = 1e-4;
          const double before = w[n][k];
          w[n][k] = before + kStep;
          const double above = plain_loss(pass, model, exact);
          w[n][k] = before - kStep;
          const double below = plain_loss(pass, model, exact);
          w[n][k] = before;
          const double difference = (above - below) / (2.0 * kStep);
          error += std::pow(double{step.gradients[m][n * w[n].size() + k]} - difference, 2);
          whole += difference * difference;
        }
      }
      EXPECT_GT(whole, 0.0) << model.matrices[m].name;
      EXPECT_LT(std::sqrt(error / whole), 2e-5) << model.matrices[m].name;
    }
  }
}

TEST(DecoderGradient, SameBitsOnAnyNumberOfThreads) {
  ModelConfig config = odd_config();
  Model model;
  make_model(config, model);
  model.texts.push_back(std::vector<int32_t>(75));
  for (size_t i = 0; i < 75; ++i) model.texts[2][i] = static_cast<int32_t>(i * i % 19);
  const auto parts = find_decoder_parts(model.checkpoint, model.matrices);
  ASSERT_TRUE(parts) << parts.error().message;
  const Step one = gradient_of(model, *parts, 1);
  for (const int threads : {2, 3}) {
    const Step other = gradient_of(model, *parts, threads);
    EXPECT_EQ(one.loss, other.loss);
    for (size_t m = 0; m < model.matrices.size(); ++m) {
      if (model.matrices[m].kind != MatrixKind::kLinear) continue;
      EXPECT_EQ(one.gradients[m], other.gradients[m]) << model.matrices[m].name;
    }
  }
}

// What SamplePass runs on.
class PlainOps final : public WatchedOps {
 public:
  explicit PlainOps(const std::vector<IsqMatrix>& matrices)
      : WatchedOps(make_cpu_ops(2).value(), matrices, {}) {}

 private:
  bool watches(const IsqMatrix&) const override { return false; }
  Result<bool> on_product(const Site&, const MatmulArgs&) override { return false; }
};

// The families whose gradient is computed, against the engine's forward pass; the others say why.
TEST(DecoderGradient, ForwardIsTheEnginesOrTheFamilyIsRefused) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no reference data";
  const std::map<std::string, std::string> refused = {
      {"gemma2", "norms after its branches"},
      {"gpt2", "LayerNorm"},
      {"mixtral", "a mixture of experts"},
      {"phi", "LayerNorm"},
      {"../stories260K/stories260K-q8_0.gguf", "is quantized already"},
      {"starcoder2", "LayerNorm"}};
  ThreadPool pool(2);
  for (const char* name : {"llama_gqa",
                           "llama_rope_linear",
                           "llama_rope_llama3",
                           "llama_rope_yarn",
                           "llama_tied_bias",
                           "mistral_swa",
                           "phi3",
                           "phi3_longrope",
                           "qwen2_swa_mixed",
                           "qwen2_tied",
                           "qwen3",
                           "smollm3",
                           "gemma",
                           "gemma2",
                           "gpt2",
                           "mixtral",
                           "phi",
                           "starcoder2",
                           "../stories260K/stories260K-f16.gguf",
                           "../stories260K/stories260K-q8_0.gguf"}) {
    SCOPED_TRACE(name);
    const auto checkpoint = open_checkpoint(*shared + "/golden/models/" + name);
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    const auto matrices =
        list_matrices(**checkpoint, *parse_isq("rtn4,embed=keep,head=keep,blk=keep"));
    ASSERT_TRUE(matrices) << matrices.error().message;
    const auto parts = find_decoder_parts(**checkpoint, *matrices);
    if (const auto why = refused.find(name); why != refused.end()) {
      ASSERT_FALSE(parts);
      EXPECT_NE(parts.error().message.find(why->second), std::string::npos)
          << parts.error().message;
      continue;
    }
    ASSERT_TRUE(parts) << parts.error().message;
    const ModelConfig& config = (*checkpoint)->config;
    std::vector<std::vector<int32_t>> texts(2);
    for (int32_t i = 0; i < 80; ++i) texts[i < 39 ? 0 : 1].push_back((i * 37 + 11) % 250);
    const std::vector<std::span<const int32_t>> sequences(texts.begin(), texts.end());
    PlainOps ops(*matrices);
    auto pass = SamplePass::make(**checkpoint, ops, sequences);
    ASSERT_TRUE(pass) << pass.error().message;
    std::vector<int32_t> rows(80);
    for (int32_t i = 0; i < 80; ++i) rows[static_cast<size_t>(i)] = i;
    const MatrixF32 logits = pass->run(rows);
    const StoredRows exact(*matrices);
    DecoderGradient decoder(config, *parts, pool);
    const ConstMatrixF32 hidden = decoder.forward(exact, sequences);
    double error = 0.0, whole = 0.0;
    std::vector<float> w(static_cast<size_t>(config.hidden_size));
    for (int64_t n = 0; n < config.vocab_size; ++n) {
      exact.read(parts->output, n, w.data());
      for (int64_t t = 0; t < 80; ++t) {
        double sum = 0.0;
        for (size_t k = 0; k < w.size(); ++k) sum += double{w[k]} * double{hidden.row(t)[k]};
        sum *= double{config.logit_scale};
        error += std::pow(sum - double{logits.row(t)[n]}, 2);
        whole += sum * sum;
      }
    }
    EXPECT_LT(std::sqrt(error / whole), 1e-5);
  }
}

}  // namespace
}  // namespace ruvllm
