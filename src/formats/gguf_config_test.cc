#include "formats/gguf_config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "base/str.h"
#include "formats/checkpoint.h"
#include "formats/gguf_test_util.h"

namespace ruvllm {
namespace {

TEST(GgufConfig, PoolingOfEmbeddings) {
  const auto pooling = [](GgufBuilder builder) {
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
  const auto refused = [](GgufBuilder builder, std::string_view key) {
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
  const auto i32 = [](int32_t v) { return GgufBuilder::raw(v); };
  std::vector<std::string> tokens, types;
  for (int i = 0; i < 16; ++i) {
    tokens.push_back(GgufBuilder::text(i == 7   ? "<|im_end|>"
                                       : i == 8 ? "<|eot_id|>"
                                                : concat("t", i)));
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

}  // namespace
}  // namespace ruvllm
