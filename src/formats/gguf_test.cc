#include "formats/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "base/json.h"
#include "base/str.h"
#include "base/test_util.h"
#include "formats/checkpoint.h"
#include "formats/gguf_config.h"

namespace ruvllm {
namespace {

namespace fs = std::filesystem;

// Builds GGUF files, right or wrong ones.
class Builder {
 public:
  template <typename T>
  static std::string raw(T value) {
    std::string out(sizeof value, '\0');
    std::memcpy(out.data(), &value, sizeof value);
    return out;
  }
  static std::string text(std::string_view value) {
    return raw<uint64_t>(value.size()) + std::string(value);
  }
  Builder& entry(std::string_view key, GgufType type, const std::string& value) {
    entries_ += text(key) + raw(static_cast<uint32_t>(type)) + value;
    ++num_entries_;
    return *this;
  }
  Builder& u32(std::string_view key, uint32_t value) {
    return entry(key, GgufType::kU32, raw(value));
  }
  Builder& f32(std::string_view key, float value) { return entry(key, GgufType::kF32, raw(value)); }
  Builder& string(std::string_view key, std::string_view value) {
    return entry(key, GgufType::kString, text(value));
  }
  Builder& array(std::string_view key, GgufType type, const std::vector<std::string>& items) {
    std::string value = raw(static_cast<uint32_t>(type)) + raw<uint64_t>(items.size());
    for (const std::string& item : items) value += item;
    return entry(key, GgufType::kArray, value);
  }
  // An f32 tensor of zeros (or of `value`); dims innermost first.
  Builder& tensor(std::string_view name, const std::vector<uint64_t>& dims, float value = 0.0f) {
    infos_ += text(name) + raw(static_cast<uint32_t>(dims.size()));
    uint64_t elements = 1;
    for (const uint64_t dim : dims) {
      infos_ += raw(dim);
      elements *= dim;
    }
    infos_ += raw<uint32_t>(0) + raw<uint64_t>(data_.size());
    for (uint64_t i = 0; i < elements; ++i) data_ += raw(value);
    data_.resize((data_.size() + 31) / 32 * 32);
    ++num_tensors_;
    return *this;
  }
  std::string build(uint32_t version = 3) const {
    std::string out = "GGUF" + raw(version) + raw(num_tensors_) + raw(num_entries_) + entries_;
    out += infos_;
    out.resize((out.size() + 31) / 32 * 32);
    return out + data_;
  }

 private:
  std::string entries_;
  std::string infos_;
  std::string data_;
  uint64_t num_entries_ = 0;
  uint64_t num_tensors_ = 0;
};

std::span<const std::byte> as_bytes(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// A small model of the architecture: 2 layers, E 32, 4 heads on 2, vocabulary 16.
Builder model(const std::string& arch, bool layer_norm = false) {
  Builder b;
  b.string("general.architecture", arch);
  b.u32(arch + ".context_length", 64).u32(arch + ".embedding_length", 32);
  b.u32(arch + ".block_count", 2).u32(arch + ".feed_forward_length", 48);
  b.u32(arch + ".attention.head_count", 4).u32(arch + ".attention.head_count_kv", 2);
  b.f32(arch + (layer_norm ? ".attention.layer_norm_epsilon" : ".attention.layer_norm_rms_epsilon"),
        1e-5f);
  b.tensor("token_embd.weight", {32, 16});
  return b;
}

Result<ModelConfig> config_of(const Builder& builder) {
  const std::string file = builder.build();
  auto parsed = parse_gguf(as_bytes(file), "f");
  if (!parsed) return std::unexpected(parsed.error());
  return gguf_model_config(*parsed);
}

TEST(Gguf, GenerationDefaults) {
  const auto read = [](const Builder& builder) {
    const std::string bytes = builder.build();
    const auto file = parse_gguf(as_bytes(bytes), "f");
    EXPECT_TRUE(file);
    return gguf_generation_defaults(*file);
  };
  const auto none = read(Builder().f32("general.temp", 0.3f));
  ASSERT_TRUE(none);
  EXPECT_FALSE(none->temperature || none->top_p || none->top_k || none->repetition_penalty);
  const auto all = read(Builder()
                            .f32("general.sampling.temp", 0.6f)
                            .u32("general.sampling.top_k", 20)
                            .f32("general.sampling.top_p", 0.95f)
                            .f32("general.sampling.min_p", 0.01f)
                            .f32("general.sampling.penalty_repeat", 1.05f));
  ASSERT_TRUE(all);
  GenerateParams params;
  params.presence_penalty = 0.5f;
  all->apply_to(params);
  EXPECT_EQ(params.temperature, 0.6f);
  EXPECT_EQ(params.top_k, 20);
  EXPECT_EQ(params.top_p, 0.95f);
  EXPECT_EQ(params.min_p, 0.01f);
  EXPECT_EQ(params.repetition_penalty, 1.05f);
  EXPECT_EQ(params.presence_penalty, 0.5f);
  const auto bad = read(Builder().f32("general.sampling.top_p", 1.5f));
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.error().message.find("top_p"), std::string::npos);
}

TEST(Gguf, ValuesOfEveryType) {
  Builder b;
  b.entry("u8", GgufType::kU8, Builder::raw<uint8_t>(200));
  b.entry("i8", GgufType::kI8, Builder::raw<int8_t>(-3));
  b.entry("u16", GgufType::kU16, Builder::raw<uint16_t>(65535));
  b.entry("i16", GgufType::kI16, Builder::raw<int16_t>(-300));
  b.u32("u32", 4000000000u).f32("f32", 1.5f).string("string", "text");
  b.entry("i32", GgufType::kI32, Builder::raw<int32_t>(-70000));
  b.entry("bool", GgufType::kBool, Builder::raw<uint8_t>(1));
  b.entry("u64", GgufType::kU64, Builder::raw<uint64_t>(UINT64_MAX));
  b.entry("i64", GgufType::kI64, Builder::raw<int64_t>(INT64_MIN));
  b.entry("f64", GgufType::kF64, Builder::raw<double>(-0.25));
  b.array("strings", GgufType::kString,
          {Builder::text("a"), Builder::text(""), Builder::text("bc")});
  b.array("ints", GgufType::kI16, {Builder::raw<int16_t>(-1), Builder::raw<int16_t>(7)});
  b.array("none", GgufType::kF32, {});
  const std::string bytes = b.build(2);
  const auto file = parse_gguf(as_bytes(bytes), "f");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->version, 2u);
  EXPECT_EQ(file->metadata.size(), 15u);
  EXPECT_EQ(file->find("u8")->as_int64(), 200);
  EXPECT_EQ(file->find("i8")->as_int64(), -3);
  EXPECT_EQ(file->find("u16")->as_int64(), 65535);
  EXPECT_EQ(file->find("i16")->as_int64(), -300);
  EXPECT_EQ(file->find("u32")->as_int64(), 4000000000);
  EXPECT_EQ(file->find("i32")->as_int64(), -70000);
  EXPECT_EQ(file->find("u64")->as_int64(), std::nullopt);
  EXPECT_EQ(file->find("u64")->as_double(), 18446744073709551615.0);
  EXPECT_EQ(file->find("i64")->as_int64(), INT64_MIN);
  EXPECT_EQ(file->find("f32")->as_double(), 1.5);
  EXPECT_EQ(file->find("f32")->as_int64(), std::nullopt);
  EXPECT_EQ(file->find("f64")->as_double(), -0.25);
  EXPECT_EQ(file->find("bool")->as_bool(), true);
  EXPECT_EQ(file->find("bool")->as_int64(), std::nullopt);
  EXPECT_EQ(file->find("string")->as_string(), "text");
  EXPECT_EQ(file->find("absent"), nullptr);
  std::vector<std::string_view> strings;
  ASSERT_TRUE(file->find("strings")->get_strings(strings));
  EXPECT_EQ(strings, (std::vector<std::string_view>{"a", "", "bc"}));
  std::vector<int64_t> ints;
  EXPECT_FALSE(file->find("strings")->get_integers(ints));
  ASSERT_TRUE(file->find("ints")->get_integers(ints));
  EXPECT_EQ(ints, (std::vector<int64_t>{-1, 7}));
  std::vector<double> doubles;
  EXPECT_TRUE(file->find("none")->get_doubles(doubles));
  EXPECT_TRUE(doubles.empty());
  EXPECT_EQ(file->find("ints")->describe(), "array of 2 i16");
}

TEST(Gguf, EveryCutOfAFileIsRefused) {
  const std::string file = model("llama")
                               .array("a", GgufType::kString, {Builder::text("xyz")})
                               .tensor("t", {2, 3}, 1.0f)
                               .build();
  ASSERT_TRUE(parse_gguf(as_bytes(file), "f"));
  // The last tensor's data ends 8 bytes before the padded end of the file.
  for (size_t size = 0; size < file.size() - 8; ++size) {
    const std::string cut = file.substr(0, size);
    const auto parsed = parse_gguf(as_bytes(cut), "f");
    EXPECT_FALSE(parsed) << size;
  }
}

TEST(Gguf, TensorShapesAreReversed) {
  const std::string file = model("llama").tensor("t", {2, 3, 5}, 2.5f).build();
  const auto parsed = parse_gguf(as_bytes(file), "f");
  ASSERT_TRUE(parsed) << parsed.error().message;
  const TensorView& view = parsed->tensors[1].view;
  EXPECT_EQ(view.rank, 3);
  EXPECT_EQ(view.dim(0), 5);
  EXPECT_EQ(view.dim(2), 2);
  EXPECT_EQ(view.stride[0], 6);
  EXPECT_EQ(view.stride[2], 1);
  float first = 0;
  std::memcpy(&first, view.data, 4);
  EXPECT_EQ(first, 2.5f);
}

TEST(Gguf, GoldenMalformedFiles) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no reference data";
  const std::string folder = *shared + "/golden/malformed/";
  const auto text = read_text_file(folder + "gguf_index.json", 1 << 20);
  ASSERT_TRUE(text);
  const auto cases = Json::parse(*text);
  ASSERT_TRUE(cases);
  // What only the tokenizer's reader or the weight loader can see.
  const std::set<std::string> elsewhere = {
      "tokens_are_u32",    "scores_are_strings", "scores_short",   "tokenizer_model_unknown",
      "ffn_length_wrong",  "block_count_two",    "integer_weight", "q_transposed_kv",
      "norm_wrong_length", "norm_missing",       "q_missing"};
  size_t seen = 0;
  for (const Json& c : *cases->as_array()) {
    const std::string path = folder + *c.find("file")->as_string();
    const std::string name = fs::path(path).stem().string();
    const auto opened = open_checkpoint(path);
    const std::string& must = *c.find("must")->as_string();
    if (must == "accept" || elsewhere.contains(name)) {
      EXPECT_TRUE(opened) << opened.error().message;
    } else if (must == "reject") {
      ASSERT_FALSE(opened) << path << ": " << *c.find("why")->as_string();
      EXPECT_TRUE(opened.error().message.starts_with(path + ": ")) << opened.error().message;
      EXPECT_EQ(opened.error().message.find('\n'), std::string::npos);
    }
    ++seen;
  }
  EXPECT_GT(seen, 100u);
}

TEST(Gguf, GoldenFilesOpen) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no reference data";
  size_t seen = 0;
  for (const char* folder : {"gguf_blocks", "stories260K"}) {
    for (const auto& entry : fs::directory_iterator(*shared + "/golden/" + folder)) {
      if (entry.path().extension() != ".gguf") continue;
      const auto opened = open_checkpoint(entry.path().string());
      ASSERT_TRUE(opened) << opened.error().message;
      const ModelConfig& config = (*opened)->config;
      EXPECT_EQ((*opened)->format, "gguf");
      EXPECT_EQ((*opened)->names, NameStyle::kGguf);
      EXPECT_EQ(config.family, Family::kLlama);
      EXPECT_EQ(config.rope.layout, RopeLayout::kInterleaved);
      EXPECT_EQ(config.bos_id, 1);
      EXPECT_EQ(config.eos_ids, std::vector<int32_t>{2});
      EXPECT_EQ(config.tied_embeddings, (*opened)->find("output.weight") == nullptr);
      EXPECT_NEAR(config.norm_eps, 1e-5f, 1e-12f);
      ++seen;
    }
  }
  EXPECT_EQ(seen, 22u);
}

TEST(GgufConfig, PoolingOfEmbeddings) {
  const auto pooling = [](Builder builder) {
    const std::string bytes = builder.build();
    const auto file = parse_gguf(as_bytes(bytes), "f");
    EXPECT_TRUE(file);
    return gguf_pooling(*file);
  };
  EXPECT_EQ(pooling(model("qwen3")), Pooling::kMean);
  EXPECT_EQ(pooling(model("qwen3").u32("qwen3.pooling_type", 1)), Pooling::kMean);
  EXPECT_EQ(pooling(model("qwen3").u32("qwen3.pooling_type", 2)), Pooling::kFirstToken);
  EXPECT_EQ(pooling(model("qwen3").u32("qwen3.pooling_type", 3)), Pooling::kLastToken);
  EXPECT_FALSE(pooling(model("qwen3").u32("qwen3.pooling_type", 4)));
}

// Keys of other architectures that this one would be run half right without.
TEST(GgufConfig, ForeignKeysAreRefusedByName) {
  const auto refused = [](Builder builder, std::string_view key) {
    const auto config = config_of(builder);
    ASSERT_FALSE(config) << key;
    EXPECT_EQ(config.error().code, ErrorCode::kUnsupported);
    EXPECT_NE(config.error().message.find(key), std::string::npos) << config.error().message;
  };
  refused(model("llama").f32("llama.attention.clamp_kqv", 8.0f), "attention.clamp_kqv");
  refused(model("llama").f32("llama.logit_scale", 0.0625f), "logit_scale");
  refused(model("llama").f32("llama.final_logit_softcapping", 30.0f), "final_logit_softcapping");
  refused(model("qwen3").u32("qwen3.nextn_predict_layers", 1), "nextn_predict_layers");
  EXPECT_TRUE(config_of(model("llama").u32("llama.leading_dense_block_count", 0)));
  EXPECT_TRUE(config_of(model("llama").u32("llama.a_later_note", 7)));
  EXPECT_TRUE(config_of(model("gemma2").f32("gemma2.final_logit_softcapping", 30.0f)));
}

TEST(GgufConfig, ArchitecturesOpenWithTheirTraits) {
  const auto llama = config_of(model("llama"));
  ASSERT_TRUE(llama) << llama.error().message;
  EXPECT_EQ(llama->vocab_size, 16);
  EXPECT_EQ(llama->hidden_size, 32);
  EXPECT_EQ(llama->ffn_size, 48);
  EXPECT_EQ(llama->num_heads, 4);
  EXPECT_EQ(llama->num_kv_heads, 2);
  EXPECT_EQ(llama->head_dim, 8);
  EXPECT_EQ(llama->num_layers(), 2);
  EXPECT_EQ(llama->max_positions, 64);
  EXPECT_TRUE(llama->tied_embeddings);
  EXPECT_FLOAT_EQ(llama->attention_scale, static_cast<float>(1 / std::sqrt(8.0)));
  EXPECT_EQ(llama->rope.rotary_dim, 8);
  EXPECT_FALSE(llama->qkv_bias);

  const auto qwen2 = config_of(model("qwen2").tensor("blk.0.attn_q.bias", {32}));
  ASSERT_TRUE(qwen2);
  EXPECT_TRUE(qwen2->qkv_bias);
  EXPECT_EQ(qwen2->rope.layout, RopeLayout::kHalves);
  EXPECT_EQ(config_of(model("qwen3"))->qk_norm, QkNorm::kPerHead);

  const auto phi2 = config_of(model("phi2", true)
                                  .u32("phi2.rope.dimension_count", 4)
                                  .tensor("blk.0.ffn_up.weight", {32, 40})
                                  .tensor("output.weight", {32, 16})
                                  .tensor("output.bias", {16}));
  ASSERT_TRUE(phi2);
  EXPECT_EQ(phi2->block_form, BlockForm::kParallel);
  EXPECT_EQ(phi2->norm, NormKind::kLayer);
  EXPECT_EQ(phi2->rope.rotary_dim, 4);
  EXPECT_FALSE(phi2->gated_mlp);
  EXPECT_TRUE(phi2->lm_head_bias);
  EXPECT_FALSE(phi2->tied_embeddings);
  EXPECT_EQ(phi2->ffn_size, 40);  // not the 48 of the key

  const auto gemma = config_of(model("gemma"));
  ASSERT_TRUE(gemma);
  EXPECT_FLOAT_EQ(gemma->embedding_scale, static_cast<float>(std::sqrt(32.0)));
  EXPECT_FALSE(gemma->norm_plus_one);
  EXPECT_EQ(gemma->activation, Activation::kGeluTanh);

  const auto gemma2 = config_of(model("gemma2"));
  ASSERT_TRUE(gemma2);
  EXPECT_EQ(gemma2->layers[0].window, 4096);
  EXPECT_EQ(gemma2->layers[1].window, 0);
  EXPECT_EQ(gemma2->attention_softcap, 50.0f);
  EXPECT_EQ(gemma2->block_form, BlockForm::kSandwich);

  const auto gemma3 = config_of(model("gemma3")
                                    .u32("gemma3.attention.sliding_window", 512)
                                    .f32("gemma3.rope.freq_base", 1e6f));
  ASSERT_TRUE(gemma3);
  EXPECT_TRUE(gemma3->layers[0].local_rope);
  EXPECT_EQ(gemma3->layers[1].window, 512);
  EXPECT_EQ(gemma3->rope.theta, 1e6);
  EXPECT_EQ(gemma3->rope_local.theta, 1e4);

  EXPECT_EQ(config_of(model("olmo2"))->block_form, BlockForm::kPostNorm);
  EXPECT_TRUE(config_of(model("smollm3"))->layers[0].use_rope);
  EXPECT_TRUE(config_of(model("starcoder2", true))->norm_bias);
  const auto gpt2 = config_of(model("gpt2", true));
  ASSERT_TRUE(gpt2) << gpt2.error().message;
  EXPECT_TRUE(gpt2->learned_positions);
  EXPECT_FALSE(gpt2->layers[0].use_rope);
  EXPECT_FALSE(gpt2->conv1d_weights);

  const auto granite = config_of(model("granite")
                                     .f32("granite.logit_scale", 8.0f)
                                     .f32("granite.attention.scale", 0.25f)
                                     .f32("granite.embedding_scale", 12.0f));
  ASSERT_TRUE(granite);
  EXPECT_EQ(granite->logit_scale, 0.125f);
  EXPECT_EQ(granite->attention_scale, 0.25f);
  EXPECT_EQ(granite->embedding_scale, 12.0f);
  EXPECT_EQ(granite->residual_scale, 1.0f);
  EXPECT_FALSE(config_of(model("granite")));
}

TEST(GgufConfig, Experts) {
  const auto mixtral = config_of(model("llama")
                                     .u32("llama.expert_count", 4)
                                     .u32("llama.expert_used_count", 2)
                                     .tensor("blk.1.ffn_gate_inp.weight", {32, 4}));
  ASSERT_TRUE(mixtral) << mixtral.error().message;
  EXPECT_EQ(mixtral->family, Family::kMixtral);
  EXPECT_FALSE(mixtral->layers[0].moe);
  EXPECT_TRUE(mixtral->layers[1].moe);
  EXPECT_EQ(mixtral->expert_ffn_size, 48);
  EXPECT_FALSE(config_of(model("qwen3moe")));
  EXPECT_FALSE(config_of(model("llama").u32("llama.expert_count", 4)));
  EXPECT_FALSE(config_of(model("llama")
                             .u32("llama.expert_count", 4)
                             .u32("llama.expert_used_count", 2)
                             .u32("llama.expert_gating_func", 2)));
}

TEST(GgufConfig, RopeScalings) {
  const auto linear = config_of(model("llama").f32("llama.rope.scaling.factor", 4.0f));
  ASSERT_TRUE(linear);
  EXPECT_EQ(linear->rope.scaling, RopeScaling::kLinear);
  EXPECT_EQ(linear->rope.factor, 4.0);

  const auto yarn = config_of(model("llama")
                                  .string("llama.rope.scaling.type", "yarn")
                                  .f32("llama.rope.scaling.factor", 4.0f)
                                  .u32("llama.rope.scaling.original_context_length", 16));
  ASSERT_TRUE(yarn);
  EXPECT_EQ(yarn->rope.scaling, RopeScaling::kYarn);
  EXPECT_NEAR(yarn->rope.attention_factor, 0.1 * std::log(4.0) + 1.0, 1e-12);
  EXPECT_EQ(yarn->rope.original_max_positions, 16);

  const auto divided = config_of(
      model("llama").tensor("rope_freqs.weight", {4}, 2.0f).f32("llama.rope.scaling.factor", 4.0f));
  ASSERT_TRUE(divided) << divided.error().message;
  EXPECT_EQ(divided->rope.scaling, RopeScaling::kNone);
  EXPECT_EQ(divided->rope.freq_divisors, std::vector<float>(4, 8.0f));

  const auto longrope = config_of(model("phi3")
                                      .u32("phi3.rope.scaling.original_context_length", 16)
                                      .tensor("rope_factors_short.weight", {4}, 1.0f)
                                      .tensor("rope_factors_long.weight", {4}, 3.0f));
  ASSERT_TRUE(longrope);
  EXPECT_EQ(longrope->rope.scaling, RopeScaling::kLongRope);
  EXPECT_NEAR(longrope->rope.attention_factor, std::sqrt(1 + std::log(4.0) / std::log(16.0)),
              1e-12);
  EXPECT_EQ(longrope->rope.long_factors[3], 3.0f);

  EXPECT_FALSE(config_of(model("llama").tensor("rope_freqs.weight", {5}, 2.0f)));
  EXPECT_FALSE(config_of(model("llama").tensor("rope_freqs.weight", {4}, 0.0f)));
  EXPECT_FALSE(config_of(model("llama").string("llama.rope.scaling.type", "ntk")));
  EXPECT_FALSE(config_of(model("phi3").tensor("rope_factors_short.weight", {4}, 1.0f)));
}

TEST(GgufConfig, EndOfTurnTokensByNameAndId) {
  const auto i32 = [](int32_t v) { return Builder::raw(v); };
  std::vector<std::string> tokens, types;
  for (int i = 0; i < 16; ++i) {
    tokens.push_back(Builder::text(i == 7 ? "<|im_end|>" : i == 8 ? "<|eot_id|>" : concat("t", i)));
    types.push_back(i32(i == 7 ? 3 : 1));
  }
  const auto config = config_of(model("llama")
                                    .array("tokenizer.ggml.tokens", GgufType::kString, tokens)
                                    .array("tokenizer.ggml.token_type", GgufType::kI32, types)
                                    .u32("tokenizer.ggml.eos_token_id", 2)
                                    .u32("tokenizer.ggml.eot_token_id", 2));
  ASSERT_TRUE(config);
  EXPECT_EQ(config->eos_ids, (std::vector<int32_t>{2, 7}));
  EXPECT_FALSE(config_of(model("llama").u32("tokenizer.ggml.eos_token_id", 16)));
}

TEST(GgufSplit, Names) {
  const auto name = parse_gguf_split_name("/a/b-00002-of-00011.gguf");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->prefix, "/a/b");
  EXPECT_EQ(name->part, 2u);
  EXPECT_EQ(name->parts, 11u);
  EXPECT_EQ(gguf_split_path(*name, 11), "/a/b-00011-of-00011.gguf");
  for (const char* bad :
       {"b.gguf", "-00001-of-00002.gguf", "b-00003-of-00002.gguf", "b-00000-of-00002.gguf",
        "b-0001-of-00002.gguf", "b-00001-of-0000x.gguf"}) {
    EXPECT_FALSE(parse_gguf_split_name(bad)) << bad;
  }
}

class GgufSplitFiles : public testing::Test {
 protected:
  void SetUp() override { folder_ = test::make_temp_dir(); }
  void write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ + "/" + name, std::ios::binary) << bytes;
  }
  static Builder part(Builder b, uint16_t number, uint16_t count, int32_t tensors) {
    b.entry("split.no", GgufType::kU16, Builder::raw(number));
    b.entry("split.count", GgufType::kU16, Builder::raw(count));
    b.entry("split.tensors.count", GgufType::kI32, Builder::raw(tensors));
    return b;
  }
  Result<std::unique_ptr<Checkpoint>> open(const std::string& name) {
    return open_checkpoint(folder_ + "/" + name);
  }
  std::string folder_;
};

TEST_F(GgufSplitFiles, AnyPartOpensTheWhole) {
  write("m-00001-of-00002.gguf", part(model("llama"), 0, 2, 2).build());
  write("m-00002-of-00002.gguf",
        part(Builder().tensor("output.weight", {32, 16}), 1, 2, 2).build());
  for (const char* name : {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"}) {
    const auto opened = open(name);
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_EQ((*opened)->tensors.size(), 2u);
    ASSERT_NE((*opened)->find("output.weight"), nullptr);
    EXPECT_TRUE((*opened)->find("output.weight")->file.ends_with("m-00002-of-00002.gguf"));
    EXPECT_FALSE((*opened)->config.tied_embeddings);
    EXPECT_EQ((*opened)->files.size(), 2u);
  }
}

TEST_F(GgufSplitFiles, ContradictionsAreRefused) {
  const Builder second = Builder().tensor("output.weight", {32, 16});
  write("m-00001-of-00002.gguf", part(model("llama"), 0, 2, 2).build());
  EXPECT_EQ(open("m-00001-of-00002.gguf").error().code, ErrorCode::kNotFound);
  write("m-00002-of-00002.gguf", part(second, 0, 2, 2).build());  // calls itself the first
  EXPECT_FALSE(open("m-00001-of-00002.gguf"));
  write("m-00002-of-00002.gguf", second.build());  // does not say what it is
  EXPECT_FALSE(open("m-00001-of-00002.gguf"));
  write("m-00002-of-00002.gguf",
        part(Builder().tensor("token_embd.weight", {32, 16}), 1, 2, 2).build());
  EXPECT_NE(open("m-00001-of-00002.gguf").error().message.find("is also in"), std::string::npos);
  write("m-00001-of-00002.gguf", part(model("llama"), 0, 2, 3).build());
  write("m-00002-of-00002.gguf", part(second, 1, 2, 3).build());
  EXPECT_NE(open("m-00001-of-00002.gguf").error().message.find("split.tensors.count"),
            std::string::npos);
  write("alone.gguf", part(model("llama"), 0, 2, 2).build());
  EXPECT_NE(open("alone.gguf").error().message.find("one of 2 parts"), std::string::npos);
}

}  // namespace
}  // namespace ruvllm
