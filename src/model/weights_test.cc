#include "model/weights.h"

#include <gtest/gtest.h>

#include "model/decoder.h"
#include "model/model_test_util.h"

namespace ruvllm::test {
namespace {

// The logits of a few tokens, to tell whether two ways of storing a model are the same model.
std::vector<float> logits_of(const TensorSet& set, const ModelConfig& config,
                             NameStyle names = NameStyle::kHuggingFace) {
  const auto ops = make_reference_ops();
  auto weights = load(set, config, *ops, names);
  EXPECT_TRUE(weights.has_value()) << weights.error().message;
  if (!weights) return {};
  auto kv = KvStorage::make(config, DType::kF32, 16);
  EXPECT_TRUE(kv.has_value() && kv->reserve(1));
  TransformerDecoder decoder(config, *weights, *ops, 8);
  const int32_t ids[] = {5, 7, 11};
  const int32_t table[] = {0};
  const int32_t rows[] = {2};
  const SequenceSpan span{0, 3, 0, table};
  ForwardBatch batch;
  batch.ids = ids;
  batch.sequences = {&span, 1};
  batch.output_rows = rows;
  const ForwardOutput output = decoder.forward(batch, *kv);
  return {output.logits.row(0), output.logits.row(0) + output.logits.cols};
}

std::string error_of(const TensorSet& set, const ModelConfig& config) {
  const auto ops = make_reference_ops();
  const auto weights = load(set, config, *ops);
  return weights ? "" : weights.error().message;
}

TEST(Weights, CountsParametersAndBytes) {
  const ModelConfig config = tiny_config();
  TensorSet set;
  add_llama(set, config, "model.");
  const auto ops = make_reference_ops();
  const auto weights = load(set, config, *ops);
  ASSERT_TRUE(weights.has_value()) << weights.error().message;
  uint64_t elements = 0;
  for (const FileTensor& tensor : set.tensors) {
    elements += static_cast<uint64_t>(tensor.view.num_elements());
  }
  EXPECT_EQ(weights->num_parameters, elements);
  EXPECT_EQ(weights->num_bytes, 4 * elements);
  EXPECT_EQ(weights->main_layout, "f32");
  EXPECT_EQ(weights->layers[0].qkv.parts.size(), 1u);  // one matrix for q, k and v
}

TEST(Weights, ErrorsNameFileTensorFoundAndExpected) {
  const ModelConfig config = tiny_config();
  TensorSet complete;
  add_llama(complete, config, "model.");
  const std::string name = "model.layers.1.self_attn.k_proj.weight";
  {
    TensorSet set = complete;
    set.remove(name);
    EXPECT_EQ(error_of(set, config), "tiny: tensor " + name + " is missing, expected [16, 32]");
  }
  {
    TensorSet set = complete;
    std::swap(set.find(name)->view.shape[0], set.find(name)->view.shape[1]);
    EXPECT_EQ(error_of(set, config),
              "tiny.safetensors: tensor " + name + ": found [32, 16] f32, expected [16, 32]");
  }
  {
    TensorSet set = complete;
    set.find(name)->view.dtype = DType::kI32;
    EXPECT_NE(error_of(set, config).find("found integers (i32)"), std::string::npos);
  }
  {
    TensorSet set = complete;
    set.find(name)->view.dtype = DType::kIQ1_S;
    EXPECT_NE(error_of(set, config).find("iq1_s is not supported"), std::string::npos);
  }
}

TEST(Weights, EveryTensorIsRequired) {
  const ModelConfig config = tiny_config();
  TensorSet complete;
  add_llama(complete, config, "model.");
  for (const FileTensor& tensor : complete.tensors) {
    TensorSet set = complete;
    set.remove(tensor.name);
    EXPECT_NE(error_of(set, config), "") << tensor.name;
  }
}

// A tensor inside a layer is a part of the model that would be left out; one elsewhere is not.
TEST(Weights, UnknownTensorsOfALayerAreRefusedByName) {
  const ModelConfig config = tiny_config();
  for (const char* prefix : {"model.", ""}) {
    TensorSet set;
    add_llama(set, config, prefix);
    set.add(concat(prefix, "layers.", config.num_layers(), ".self_attn.sinks"), {4});
    set.add("vision_tower.layers.0.norm.weight", {4});
    set.add(concat(prefix, "layers.0.self_attn.rotary_emb.inv_freq"), {4});
    set.add(concat(prefix, "layers.0.self_attn.o_proj.bias"), {4}, std::vector<float>(4, 0.0f));
    EXPECT_EQ(error_of(set, config), "");
    set.add(concat(prefix, "layers.1.self_attn.sinks"), {4});
    EXPECT_NE(error_of(set, config).find("layers.1.self_attn.sinks"), std::string::npos)
        << error_of(set, config);
  }
}

TEST(Weights, BodyPrefixMayBeMissing) {
  const ModelConfig config = tiny_config();
  TensorSet set;
  add_llama(set, config, "");
  EXPECT_EQ(error_of(set, config), "");
}

TEST(Weights, TiedModelIgnoresASecondCopy) {
  ModelConfig config = tiny_config();
  config.tied_embeddings = true;
  TensorSet set;
  add_llama(set, config, "model.");
  const auto with_copy = logits_of(set, config);
  set.remove("lm_head.weight");
  EXPECT_EQ(logits_of(set, config), with_copy);
}

std::vector<float> joined(TensorSet& set, std::initializer_list<std::string> names) {
  std::vector<float> all;
  for (const std::string& name : names) {
    const std::vector<float> values = set.values(name);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

TEST(Weights, FusedMatricesAreTheSameModel) {
  const ModelConfig config = tiny_config();
  TensorSet set;
  add_llama(set, config, "model.");
  const auto separate = logits_of(set, config);
  for (const char* layer : {"model.layers.0.", "model.layers.1."}) {
    const std::string attn = concat(layer, "self_attn.");
    const std::string mlp = concat(layer, "mlp.");
    set.add(attn + "qkv_proj.weight", {64, 32},
            joined(set, {attn + "q_proj.weight", attn + "k_proj.weight", attn + "v_proj.weight"}));
    set.add(mlp + "gate_up_proj.weight", {128, 32},
            joined(set, {mlp + "gate_proj.weight", mlp + "up_proj.weight"}));
    for (const char* part : {"q_proj", "k_proj", "v_proj"})
      set.remove(concat(attn, part, ".weight"));
    for (const char* part : {"gate_proj", "up_proj"}) set.remove(concat(mlp, part, ".weight"));
  }
  EXPECT_EQ(logits_of(set, config), separate);
}

TEST(Weights, StackedExpertsAreTheSameModel) {
  ModelConfig config = tiny_config();
  config.family = Family::kMixtral;
  config.num_experts = 3;
  config.experts_per_token = 2;
  config.expert_ffn_size = 24;
  TensorSet set;
  add_llama(set, config, "model.");
  for (int l = 0; l < 2; ++l) {
    config.layers[static_cast<size_t>(l)].moe = true;
    const std::string moe = concat("model.layers.", l, ".block_sparse_moe.");
    set.add(moe + "gate.weight", {3, 32});
    for (const char* dense : {"gate", "up", "down"}) {
      set.remove(concat("model.layers.", l, ".mlp.", dense, "_proj.weight"));
    }
    for (int x = 0; x < 3; ++x) {
      set.add(concat(moe, "experts.", x, ".w1.weight"), {24, 32});
      set.add(concat(moe, "experts.", x, ".w3.weight"), {24, 32});
      set.add(concat(moe, "experts.", x, ".w2.weight"), {32, 24});
    }
  }
  const auto separate = logits_of(set, config);
  for (int l = 0; l < 2; ++l) {
    const std::string moe = concat("model.layers.", l, ".block_sparse_moe.experts.");
    const std::string stacked = concat("model.layers.", l, ".mlp.experts.");
    set.add(stacked + "gate_up_proj", {3, 48, 32},
            joined(set, {moe + "0.w1.weight", moe + "0.w3.weight", moe + "1.w1.weight",
                         moe + "1.w3.weight", moe + "2.w1.weight", moe + "2.w3.weight"}));
    set.add(stacked + "down_proj", {3, 32, 24},
            joined(set, {moe + "0.w2.weight", moe + "1.w2.weight", moe + "2.w2.weight"}));
    for (int x = 0; x < 3; ++x) {
      for (const char* part : {"w1", "w2", "w3"}) set.remove(concat(moe, x, ".", part, ".weight"));
    }
  }
  EXPECT_EQ(logits_of(set, config), separate);
  set.find("model.layers.1.mlp.experts.down_proj")->view.shape[0] = 2;
  EXPECT_NE(error_of(set, config).find("expected [3, 32, 24]"), std::string::npos);
}

TEST(Weights, PartsOfDifferentFormatsStayApart) {
  const ModelConfig config = tiny_config();
  TensorSet set;
  add_llama(set, config, "model.");
  // Halves of the f32 values' bits are bf16 values.
  FileTensor* v = set.find("model.layers.0.self_attn.v_proj.weight");
  v->view.dtype = DType::kBF16;
  const auto ops = make_reference_ops();
  const auto weights = load(set, config, *ops);
  ASSERT_TRUE(weights.has_value());
  EXPECT_EQ(weights->layers[0].qkv.parts.size(), 2u);
  EXPECT_EQ(weights->layers[0].qkv.rows(), 64);
  EXPECT_EQ(weights->layers[0].qkv.parts[0].rows(), 48);
}

TEST(Weights, GgufBiasesAreReadWhenPresent) {
  ModelConfig config = tiny_config();
  config.layers.resize(1);
  TensorSet set;
  set.add("token_embd.weight", {48, 32});
  set.add("output_norm.weight", {32});
  set.add("blk.0.attn_norm.weight", {32});
  set.add("blk.0.ffn_norm.weight", {32});
  set.add("blk.0.attn_q.weight", {32, 32});
  set.add("blk.0.attn_k.weight", {16, 32});
  set.add("blk.0.attn_v.weight", {16, 32});
  set.add("blk.0.attn_output.weight", {32, 32});
  set.add("blk.0.ffn_gate.weight", {64, 32});
  set.add("blk.0.ffn_up.weight", {64, 32});
  set.add("blk.0.ffn_down.weight", {32, 64});
  const auto plain = logits_of(set, config, NameStyle::kGguf);
  set.add("blk.0.attn_v.bias", {16});
  const auto ops = make_reference_ops();
  const auto weights = load(set, config, *ops, NameStyle::kGguf);
  ASSERT_TRUE(weights.has_value());
  const std::vector<float>& bias = weights->layers[0].qkv.parts[0].bias;
  ASSERT_EQ(bias.size(), 64u);
  EXPECT_EQ(bias[47], 0.0f);
  EXPECT_EQ(std::vector<float>(bias.begin() + 48, bias.end()), set.values("blk.0.attn_v.bias"));
  EXPECT_NE(logits_of(set, config, NameStyle::kGguf), plain);
}

}  // namespace
}  // namespace ruvllm::test
