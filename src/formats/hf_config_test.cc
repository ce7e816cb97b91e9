#include "formats/hf_config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "base/str.h"
#include "base/test_util.h"

namespace ruvllm {
namespace {

// A config of 4 layers: E 64, 4 heads on 2, F 160, vocabulary 512; `more` are further members.
std::string text(std::string_view architecture, std::string_view model_type,
                 std::string_view more = "") {
  return concat(R"({"architectures":[")", architecture, R"("],"model_type":")", model_type,
                R"(","vocab_size":512,"hidden_size":64,"intermediate_size":160,)",
                R"("num_hidden_layers":4,"num_attention_heads":4,"num_key_value_heads":2,)",
                R"("max_position_embeddings":256,"eos_token_id":2)", more.empty() ? "" : ",", more,
                "}");
}

Result<ModelConfig> parse(std::string_view architecture, std::string_view model_type,
                          std::string_view more = "") {
  return parse_hf_config(text(architecture, model_type, more), "c");
}
Result<ModelConfig> llama(std::string_view more = "") {
  return parse("LlamaForCausalLM", "llama", more);
}

std::vector<int32_t> windows(const ModelConfig& config) {
  std::vector<int32_t> out;
  for (const LayerConfig& layer : config.layers) out.push_back(layer.window);
  return out;
}

using Windows = std::vector<int32_t>;

void expect_refused(const Result<ModelConfig>& config, ErrorCode code, std::string_view part) {
  ASSERT_FALSE(config) << "expected a message with: " << part;
  EXPECT_EQ(config.error().code, code) << config.error().message;
  EXPECT_NE(config.error().message.find(part), std::string::npos) << config.error().message;
}

TEST(HfConfig, Llama) {
  const auto c = llama();
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_EQ(c->family, Family::kLlama);
  EXPECT_EQ(c->architecture, "LlamaForCausalLM");
  EXPECT_EQ(c->head_dim, 16);
  EXPECT_EQ(c->rope.rotary_dim, 16);
  EXPECT_EQ(c->rope.layout, RopeLayout::kHalves);
  EXPECT_FLOAT_EQ(c->norm_eps, 1e-6f);
  EXPECT_FLOAT_EQ(c->attention_scale, 0.25f);
  EXPECT_EQ(c->activation, Activation::kSilu);
  EXPECT_TRUE(c->gated_mlp);
  EXPECT_FALSE(c->qkv_bias || c->attn_out_bias || c->mlp_bias || c->tied_embeddings);
  EXPECT_EQ(c->bos_id, 1);
  EXPECT_EQ(windows(*c), (Windows{0, 0, 0, 0}));

  const auto biased = llama(R"("attention_bias":true,"mlp_bias":true,"tie_word_embeddings":true)");
  ASSERT_TRUE(biased);
  EXPECT_TRUE(biased->qkv_bias && biased->attn_out_bias && biased->mlp_bias);
  EXPECT_TRUE(biased->tied_embeddings);
  expect_refused(llama(R"("pretraining_tp":2)"), ErrorCode::kUnsupported, "pretraining_tp");
}

TEST(HfConfig, KeyValueHeadsAbsentAndNull) {
  const auto heads = [](const char* type, const char* model, const char* more) {
    const auto c =
        parse_hf_config(concat(R"({"architectures":[")", type, R"("],"model_type":")", model,
                               R"(","vocab_size":512,"hidden_size":256,"intermediate_size":160,)",
                               R"("num_hidden_layers":1,"num_attention_heads":16)", more, "}"),
                        "c");
    return c ? c->num_kv_heads : -1;
  };
  EXPECT_EQ(heads("LlamaForCausalLM", "llama", ""), 16);
  EXPECT_EQ(heads("MistralForCausalLM", "mistral", ""), 8);  // the class's default
  EXPECT_EQ(heads("MistralForCausalLM", "mistral", R"(,"num_key_value_heads":null)"), 16);
}

TEST(HfConfig, RopeScalingOldAndNewSpelling) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const auto linear = llama(concat("\"", key, R"(":{"rope_type":"linear","factor":4})"));
    ASSERT_TRUE(linear) << linear.error().message;
    EXPECT_EQ(linear->rope.scaling, RopeScaling::kLinear);
    EXPECT_EQ(linear->rope.factor, 4.0);
    const auto llama3 = llama(concat(
        "\"", key, R"(":{"type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,)",
        R"("original_max_position_embeddings":64},"rope_theta":500000)"));
    ASSERT_TRUE(llama3) << llama3.error().message;
    EXPECT_EQ(llama3->rope.scaling, RopeScaling::kLlama3);
    EXPECT_EQ(llama3->rope.original_max_positions, 64);
    EXPECT_EQ(llama3->rope.theta, 500000.0);
  }
  EXPECT_EQ(llama(R"("rope_parameters":{"rope_theta":7.5,"rope_type":"default"})")->rope.theta,
            7.5);
  EXPECT_EQ(llama(R"("rope_scaling":{},"rope_parameters":{"rope_theta":7.5})")->rope.theta, 7.5);
}

TEST(HfConfig, YarnAttentionFactor) {
  const auto yarn = [](const char* more) {
    return llama(concat(R"("rope_scaling":{"type":"yarn","factor":4.0,)",
                        R"("original_max_position_embeddings":64)", more, "}"));
  };
  const auto plain = yarn("");
  ASSERT_TRUE(plain) << plain.error().message;
  EXPECT_EQ(plain->rope.scaling, RopeScaling::kYarn);
  EXPECT_NEAR(plain->rope.attention_factor, 0.1 * std::log(4.0) + 1, 1e-15);
  EXPECT_EQ(plain->rope.beta_fast, 32.0);
  EXPECT_EQ(plain->rope.beta_slow, 1.0);
  EXPECT_TRUE(plain->rope.yarn_truncate);
  EXPECT_EQ(yarn(R"(,"attention_factor":1.5)")->rope.attention_factor, 1.5);
  EXPECT_NEAR(yarn(R"(,"mscale":2.0,"mscale_all_dim":1.0)")->rope.attention_factor,
              (0.2 * std::log(4.0) + 1) / (0.1 * std::log(4.0) + 1), 1e-15);
  EXPECT_FALSE(yarn(R"(,"truncate":false)")->rope.yarn_truncate);
  expect_refused(llama(R"("rope_scaling":{"type":"yarn"})"), ErrorCode::kBadFile,
                 "rope_scaling: factor: found nothing");
}

TEST(HfConfig, RopeRefusals) {
  expect_refused(llama(R"("rope_scaling":{"type":"dynamic","factor":2})"), ErrorCode::kUnsupported,
                 "dynamic NTK");
  expect_refused(llama(R"("rope_scaling":{"type":"warp","factor":2})"), ErrorCode::kUnsupported,
                 "\"warp\"");
  expect_refused(llama(R"("rope_scaling":{"type":"default","mrope_section":[1,2]})"),
                 ErrorCode::kUnsupported, "mrope_section");
  expect_refused(llama(R"("partial_rotary_factor":0.5)"), ErrorCode::kUnsupported,
                 "partial_rotary_factor");
  expect_refused(llama(R"("rope_scaling":"linear")"), ErrorCode::kBadFile, "rope_scaling");
  expect_refused(
      llama(
          R"("rope_scaling":{"type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4})"),
      ErrorCode::kBadFile, "high_freq_factor");
  expect_refused(llama(R"("head_dim":15)"), ErrorCode::kBadFile, "15");
  expect_refused(parse("PhiForCausalLM", "phi", R"("partial_rotary_factor":0.2)"),
                 ErrorCode::kBadFile, "rotates 3 of 16");
  expect_refused(parse("PhiForCausalLM", "phi", R"("partial_rotary_factor":1.5)"),
                 ErrorCode::kBadFile, "partial_rotary_factor");
}

TEST(HfConfig, MistralAndMixtral) {
  EXPECT_EQ(windows(*parse("MistralForCausalLM", "mistral")), (Windows{4096, 4096, 4096, 4096}));
  EXPECT_EQ(windows(*parse("MistralForCausalLM", "mistral", R"("sliding_window":null)")),
            (Windows{0, 0, 0, 0}));
  expect_refused(parse("MistralForCausalLM", "mistral", R"("attention_bias":true)"),
                 ErrorCode::kUnsupported, "attention_bias");
  const auto mixtral = parse("MixtralForCausalLM", "mixtral", R"("num_local_experts":4)");
  ASSERT_TRUE(mixtral) << mixtral.error().message;
  EXPECT_EQ(mixtral->num_experts, 4);
  EXPECT_EQ(mixtral->experts_per_token, 2);
  EXPECT_EQ(mixtral->expert_ffn_size, 160);
  EXPECT_TRUE(mixtral->norm_topk_prob);
  EXPECT_TRUE(mixtral->layers[3].moe);
  EXPECT_EQ(mixtral->rope.theta, 1e6);
  expect_refused(
      parse("MixtralForCausalLM", "mixtral", R"("num_local_experts":4,"num_experts_per_tok":5)"),
      ErrorCode::kBadFile, "num_experts_per_tok");
}

TEST(HfConfig, Qwen) {
  const auto qwen2 = parse("Qwen2ForCausalLM", "qwen2");
  ASSERT_TRUE(qwen2);
  EXPECT_TRUE(qwen2->qkv_bias);
  EXPECT_FALSE(qwen2->attn_out_bias);
  EXPECT_EQ(qwen2->bos_id, -1);
  const char* sliding = R"("use_sliding_window":true,"sliding_window":16,"max_window_layers":2)";
  EXPECT_EQ(windows(*parse("Qwen2ForCausalLM", "qwen2", sliding)), (Windows{0, 0, 16, 16}));
  EXPECT_EQ(windows(*parse("Qwen2ForCausalLM", "qwen2", R"("sliding_window":16)")),
            (Windows{0, 0, 0, 0}));
  EXPECT_EQ(windows(*parse("Qwen3ForCausalLM", "qwen3",
                           R"("use_sliding_window":true,"sliding_window":8,"layer_types":)"
                           R"(["sliding_attention","full_attention","full_attention",)"
                           R"("sliding_attention"])")),
            (Windows{8, 0, 0, 8}));
  expect_refused(parse("Qwen2ForCausalLM", "qwen2",
                       R"("layer_types":["sliding_attention","full_attention","full_attention",)"
                       R"("full_attention"])"),
                 ErrorCode::kBadFile, "sliding_window is off");
  expect_refused(parse("Qwen2ForCausalLM", "qwen2", R"("layer_types":["full_attention"])"),
                 ErrorCode::kBadFile, "4 names");
  expect_refused(parse("Qwen2ForCausalLM", "qwen2",
                       R"("layer_types":["chunked_attention","full_attention","full_attention",)"
                       R"("full_attention"])"),
                 ErrorCode::kUnsupported, "chunked_attention");

  const auto qwen3 = parse("Qwen3ForCausalLM", "qwen3");
  ASSERT_TRUE(qwen3);
  EXPECT_EQ(qwen3->qk_norm, QkNorm::kPerHead);
  EXPECT_EQ(qwen3->head_dim, 128);  // the class's default, not hidden/heads
  EXPECT_FALSE(qwen3->qkv_bias);

  const auto moe = parse("Qwen3MoeForCausalLM", "qwen3_moe",
                         R"("head_dim":32,"num_experts":8,"num_experts_per_tok":2,)"
                         R"("moe_intermediate_size":48,"decoder_sparse_step":2,)"
                         R"("mlp_only_layers":[3],"norm_topk_prob":true)");
  ASSERT_TRUE(moe) << moe.error().message;
  EXPECT_EQ(moe->num_experts, 8);
  EXPECT_EQ(moe->expert_ffn_size, 48);
  EXPECT_TRUE(moe->norm_topk_prob);
  EXPECT_FALSE(moe->layers[0].moe);
  EXPECT_TRUE(moe->layers[1].moe);
  EXPECT_FALSE(moe->layers[3].moe);
  EXPECT_FALSE(
      parse("Qwen3MoeForCausalLM", "qwen3_moe", R"("num_local_experts":8)")->norm_topk_prob);
}

TEST(HfConfig, PhiAndPhi3) {
  const auto phi = parse("PhiForCausalLM", "phi");
  ASSERT_TRUE(phi);
  EXPECT_EQ(phi->block_form, BlockForm::kParallel);
  EXPECT_EQ(phi->norm, NormKind::kLayer);
  EXPECT_EQ(phi->activation, Activation::kGeluTanh);
  EXPECT_EQ(phi->rope.rotary_dim, 8);
  EXPECT_TRUE(phi->qkv_bias && phi->attn_out_bias && phi->mlp_bias && phi->lm_head_bias);
  expect_refused(parse("PhiForCausalLM", "phi", R"("qk_layernorm":true)"), ErrorCode::kUnsupported,
                 "qk_layernorm");

  const std::string factors = "[1,1,1,1,1,1]";
  const auto longrope = [&](const std::string& type, const std::string& more) {
    return parse("Phi3ForCausalLM", "phi3",
                 concat(R"("partial_rotary_factor":0.75,"rope_scaling":{"type":")", type,
                        R"(","short_factor":)", factors, R"(,"long_factor":)", factors, "}", more));
  };
  for (const char* type : {"longrope", "su", "yarn"}) {
    const auto c = longrope(type, R"(,"original_max_position_embeddings":64)");
    ASSERT_TRUE(c) << c.error().message;
    EXPECT_EQ(c->rope.scaling, RopeScaling::kLongRope);
    EXPECT_EQ(c->rope.rotary_dim, 12);
    EXPECT_EQ(c->rope.original_max_positions, 64);
    EXPECT_NEAR(c->rope.attention_factor, std::sqrt(1 + std::log(4.0) / std::log(64.0)), 1e-15);
  }
  EXPECT_EQ(longrope("longrope", "")->rope.attention_factor, 1.0);
  EXPECT_EQ(windows(*parse("Phi3ForCausalLM", "phi3", R"("sliding_window":20)")),
            (Windows{20, 20, 20, 20}));
}

TEST(HfConfig, Gemma) {
  const auto gemma = parse("GemmaForCausalLM", "gemma", R"("hidden_act":"gelu")");
  ASSERT_TRUE(gemma);
  EXPECT_EQ(gemma->activation, Activation::kGeluTanh);  // hidden_act is an old mistake there
  EXPECT_TRUE(gemma->norm_plus_one);
  EXPECT_TRUE(gemma->tied_embeddings);
  EXPECT_EQ(gemma->embedding_scale, 8.0f);
  EXPECT_EQ(gemma->head_dim, 256);

  const auto gemma2 = parse("Gemma2ForCausalLM", "gemma2",
                            R"("head_dim":32,"query_pre_attn_scalar":16,"sliding_window":24)");
  ASSERT_TRUE(gemma2);
  EXPECT_EQ(windows(*gemma2), (Windows{24, 0, 24, 0}));
  EXPECT_EQ(gemma2->attention_scale, 0.25f);
  EXPECT_EQ(gemma2->attention_softcap, 50.0f);
  EXPECT_EQ(gemma2->logit_softcap, 30.0f);
  EXPECT_EQ(gemma2->block_form, BlockForm::kSandwich);
  EXPECT_EQ(
      parse("Gemma2ForCausalLM", "gemma2", R"("attn_logit_softcapping":null)")->attention_softcap,
      0.0f);

  const auto gemma3 = parse("Gemma3ForCausalLM", "gemma3_text",
                            R"("sliding_window":8,"sliding_window_pattern":2,)"
                            R"("rope_scaling":{"rope_type":"linear","factor":8.0})");
  ASSERT_TRUE(gemma3) << gemma3.error().message;
  EXPECT_EQ(windows(*gemma3), (Windows{8, 0, 8, 0}));
  EXPECT_TRUE(gemma3->layers[0].local_rope);
  EXPECT_FALSE(gemma3->layers[1].local_rope);
  EXPECT_EQ(gemma3->rope.theta, 1e6);
  EXPECT_EQ(gemma3->rope.scaling, RopeScaling::kLinear);
  EXPECT_EQ(gemma3->rope_local.theta, 1e4);
  EXPECT_EQ(gemma3->rope_local.scaling, RopeScaling::kNone);
  EXPECT_EQ(gemma3->qk_norm, QkNorm::kPerHead);

  const auto v5 = parse("Gemma3ForCausalLM", "gemma3_text",
                        R"("rope_parameters":{"full_attention":{"rope_type":"default",)"
                        R"("rope_theta":5.0},"sliding_attention":{"rope_theta":6.0}})");
  ASSERT_TRUE(v5) << v5.error().message;
  EXPECT_EQ(v5->rope.theta, 5.0);
  EXPECT_EQ(v5->rope_local.theta, 6.0);
  expect_refused(parse("Gemma3ForCausalLM", "gemma3_text", R"("use_bidirectional_attention":true)"),
                 ErrorCode::kUnsupported, "use_bidirectional_attention");
}

TEST(HfConfig, TextPartOfGemma3WithImages) {
  // As published: text_config without what is the class's default.
  const auto config = parse_hf_config(
      R"({"architectures":["Gemma3ForConditionalGeneration"],"model_type":"gemma3",)"
      R"("eos_token_id":[1,106],"vision_config":{"hidden_size":1152},"text_config":{)"
      R"("hidden_size":2560,"intermediate_size":10240,"model_type":"gemma3_text",)"
      R"("num_hidden_layers":34,"rope_scaling":{"factor":8.0,"rope_type":"linear"},)"
      R"("sliding_window":1024}})",
      "c");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->family, Family::kGemma3);
  EXPECT_EQ(config->architecture, kGemma3WithImages);
  EXPECT_EQ(config->vocab_size, 262208);
  EXPECT_EQ(config->hidden_size, 2560);
  EXPECT_EQ(config->num_heads, 8);
  EXPECT_EQ(config->num_kv_heads, 4);
  EXPECT_EQ(config->head_dim, 256);
  EXPECT_EQ(config->layers[0].window, 1024);
  EXPECT_EQ(config->layers[5].window, 0);
  EXPECT_EQ(config->eos_ids, (std::vector<int32_t>{1, 106}));
  EXPECT_EQ(config->rope.factor, 8.0);
  EXPECT_EQ(hf_text_tensor_name("language_model.model.norm.weight"), "model.norm.weight");
  EXPECT_EQ(hf_text_tensor_name("model.language_model.norm.weight"), "model.norm.weight");
  EXPECT_EQ(hf_text_tensor_name("vision_tower.x"), "");
}

TEST(HfConfig, OtherFamilies) {
  const auto starcoder2 = parse("Starcoder2ForCausalLM", "starcoder2", R"("norm_epsilon":0.001)");
  ASSERT_TRUE(starcoder2);
  EXPECT_TRUE(starcoder2->qkv_bias && starcoder2->attn_out_bias && starcoder2->mlp_bias);
  EXPECT_TRUE(starcoder2->tied_embeddings);
  EXPECT_EQ(starcoder2->norm_eps, 0.001f);
  EXPECT_EQ(starcoder2->bos_id, -1);  // the class's default lies outside this vocabulary
  EXPECT_FALSE(parse("Starcoder2ForCausalLM", "starcoder2", R"("use_bias":false)")->mlp_bias);

  const auto olmo2 = parse("Olmo2ForCausalLM", "olmo2");
  ASSERT_TRUE(olmo2);
  EXPECT_EQ(olmo2->block_form, BlockForm::kPostNorm);
  EXPECT_EQ(olmo2->qk_norm, QkNorm::kFull);

  const auto granite = parse("GraniteForCausalLM", "granite",
                             R"("embedding_multiplier":12,"residual_multiplier":0.22,)"
                             R"("attention_multiplier":0.0625,"logits_scaling":8)");
  ASSERT_TRUE(granite);
  EXPECT_EQ(granite->embedding_scale, 12.0f);
  EXPECT_EQ(granite->residual_scale, 0.22f);
  EXPECT_EQ(granite->attention_scale, 0.0625f);
  EXPECT_EQ(granite->logit_scale, 0.125f);
  EXPECT_EQ(parse("GraniteForCausalLM", "granite")->attention_scale, 1.0f);

  const auto smollm3 = parse("SmolLM3ForCausalLM", "smollm3");
  ASSERT_TRUE(smollm3);
  EXPECT_TRUE(smollm3->layers[2].use_rope);
  EXPECT_FALSE(smollm3->layers[3].use_rope);
  EXPECT_EQ(smollm3->rope.theta, 2e6);
  EXPECT_FALSE(
      parse("SmolLM3ForCausalLM", "smollm3", R"("no_rope_layers":[1,0,1,1])")->layers[1].use_rope);
  expect_refused(parse("SmolLM3ForCausalLM", "smollm3", R"("no_rope_layers":[1,0])"),
                 ErrorCode::kBadFile, "no_rope_layers");
}

TEST(HfConfig, Gpt2) {
  const auto gpt2 = [](std::string_view more) {
    return parse_hf_config(concat(R"({"architectures":["GPT2LMHeadModel"],"model_type":"gpt2",)",
                                  R"("vocab_size":512,"n_embd":64,"n_layer":2,"n_head":4,)",
                                  R"("n_positions":256)", more, "}"),
                           "c");
  };
  const auto c = gpt2("");
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_EQ(c->ffn_size, 256);
  EXPECT_EQ(c->num_kv_heads, 4);
  EXPECT_TRUE(c->learned_positions && c->conv1d_weights && c->tied_embeddings && c->norm_bias);
  EXPECT_FALSE(c->layers[0].use_rope);
  EXPECT_EQ(c->max_positions, 256);
  EXPECT_EQ(gpt2(R"(,"n_inner":100)")->ffn_size, 100);
  EXPECT_EQ(gpt2(R"(,"scale_attn_weights":false)")->attention_scale, 1.0f);
  expect_refused(gpt2(R"(,"scale_attn_by_inverse_layer_idx":true)"), ErrorCode::kUnsupported,
                 "scale_attn_by_inverse_layer_idx");
}

TEST(HfConfig, ArchitectureAndModelType) {
  expect_refused(parse("LlamaForCausalLM", "mistral"), ErrorCode::kBadFile, "model_type");
  expect_refused(parse("LlamaForSequenceClassification", "llama"), ErrorCode::kUnsupported,
                 "LlamaForSequenceClassification");
  expect_refused(parse("Gemma3ForConditionalGeneration", "gemma3"), ErrorCode::kUnsupported,
                 "Gemma3ForConditionalGeneration");  // without text_config
  EXPECT_EQ(supported_hf_architectures().size(), 16u);
  std::string no_list = text("X", "llama");
  no_list.replace(no_list.find(R"(["X"])"), 5, "null");
  EXPECT_TRUE(parse_hf_config(no_list, "c"));
  expect_refused(parse_hf_config("{}", "c"), ErrorCode::kBadFile, "architectures");
}

TEST(HfConfig, TokenIds) {
  const auto base = [](std::string_view ids) {
    return parse_hf_config(concat(R"({"model_type":"llama","vocab_size":8,"hidden_size":64,)",
                                  R"("intermediate_size":160,"num_hidden_layers":1,)",
                                  R"("num_attention_heads":4,)", ids, "}"),
                           "c");
  };
  EXPECT_EQ(base(R"("eos_token_id":[3,4,3])")->eos_ids, (std::vector<int32_t>{3, 4}));
  EXPECT_TRUE(base(R"("eos_token_id":null)")->eos_ids.empty());
  EXPECT_EQ(base(R"("x":1)")->eos_ids, std::vector<int32_t>{2});
  EXPECT_EQ(base(R"("bos_token_id":null)")->bos_id, -1);
  EXPECT_EQ(base(R"("pad_token_id":-1)")->pad_id, -1);
  for (const char* bad : {R"("eos_token_id":8)", R"("eos_token_id":[1,"2"])",
                          R"("bos_token_id":-2)", R"("bos_token_id":[1])"}) {
    expect_refused(base(bad), ErrorCode::kBadFile, "token_id");
  }
}

// What another family's config may ask for and this one would run half right.
TEST(HfConfig, ForeignFieldsAreRefusedByName) {
  struct Case {
    std::string_view key;
    std::string_view asks;  // values that ask for something, and values that do not
    std::string_view does_not;
  };
  constexpr Case kCases[] = {
      {"clip_qkv", "8.0", "null"},
      {"alibi", "true", "false"},
      {"use_sliding_window", "true", "false"},
      {"final_logit_softcapping", "30.0", "null"},
      {"query_pre_attn_scalar", "64", "null"},
      {"logits_scaling", "8.0", "1.0"},
      {"logit_scale", "0.0625", "1"},
      {"attention_multiplier", "0.5", "1.0"},
      {"num_local_experts", "8", "0"},
      {"num_experts", "8", "null"},
      {"kv_lora_rank", "64", "null"},
      {"no_rope_layers", "[1,0,1,1]", "[]"},
      {"attention_chunk_size", "512", "null"},
      {"is_causal", "false", "true"},
      {"use_qk_norm", "true", "false"},
      {"qkv_bias", "true", "false"},
      {"position_embedding_type", R"("nope")", R"("rope")"},
      {"norm_type", R"("layer_norm")", R"("rms_norm")"},
      {"rotary_pct", "0.25", "1.0"},
  };
  for (const Case& c : kCases) {
    expect_refused(llama(concat("\"", c.key, "\":", c.asks)), ErrorCode::kUnsupported, c.key);
    const auto quiet = llama(concat("\"", c.key, "\":", c.does_not));
    EXPECT_TRUE(quiet) << c.key << ": " << quiet.error().message;
  }
  // The same fields where they belong.
  EXPECT_TRUE(parse("GraniteForCausalLM", "granite", R"("logits_scaling":8.0)"));
  EXPECT_TRUE(parse("Qwen3ForCausalLM", "qwen3", R"("use_qk_norm":true)"));
  EXPECT_TRUE(parse("Qwen2ForCausalLM", "qwen2", R"("qkv_bias":true,"use_sliding_window":true)"));
  EXPECT_TRUE(
      parse("Qwen3MoeForCausalLM", "qwen3_moe",
            R"("num_experts":8,"num_local_experts":8,"shared_expert_intermediate_size":0)"));
  EXPECT_TRUE(parse("Starcoder2ForCausalLM", "starcoder2",
                    R"("norm_type":"layer_norm","mlp_type":"default")"));
  EXPECT_TRUE(llama(R"("a_note":"of somebody","use_cache":true,"unheard_of":3)"));
}

TEST(HfConfig, GenerationConfigWins) {
  ModelConfig config = *llama();
  GenerationDefaults defaults;
  ASSERT_TRUE(apply_generation_config(
      R"({"eos_token_id":[3,4],"temperature":0.6,"top_p":0.95,"top_k":20,"min_p":0.05,
          "do_sample":true})",
      "g", config, defaults));
  EXPECT_EQ(config.eos_ids, (std::vector<int32_t>{3, 4}));
  EXPECT_EQ(defaults.temperature, 0.6f);
  EXPECT_EQ(defaults.top_p, 0.95f);
  EXPECT_EQ(defaults.min_p, 0.05f);
  EXPECT_EQ(defaults.top_k, 20);
  EXPECT_EQ(defaults.repetition_penalty, std::nullopt);
  EXPECT_FALSE(apply_generation_config(R"({"temperature":"hot"})", "g", config, defaults));
  EXPECT_FALSE(apply_generation_config(R"({"top_p":1.5})", "g", config, defaults));
  EXPECT_FALSE(apply_generation_config("[]", "g", config, defaults));
}

TEST(HfConfig, Pooling) {
  EXPECT_EQ(parse_pooling_config(R"({"pooling_mode_lasttoken":true})", "p"), Pooling::kLastToken);
  EXPECT_EQ(parse_pooling_config(
                R"({"pooling_mode_mean_tokens":true,"pooling_mode_max_tokens":false})", "p"),
            Pooling::kMean);
  EXPECT_EQ(parse_pooling_config(R"({"pooling_mode":"cls"})", "p"), Pooling::kFirstToken);
  EXPECT_FALSE(parse_pooling_config(R"({"pooling_mode_max_tokens":true})", "p"));
  EXPECT_FALSE(parse_pooling_config(
      R"({"pooling_mode_mean_tokens":true,"pooling_mode_cls_token":true})", "p"));
  EXPECT_FALSE(parse_pooling_config("{}", "p"));
}

// Members of every wrong type, at every place: refused or taken, never a crash.
TEST(HfConfig, NoValueCrashes) {
  const char* values[] = {"null",
                          "true",
                          "-1",
                          "0",
                          "1",
                          "1.5",
                          "1e300",
                          "4611686018427387904",
                          "18446744073709551615",
                          "\"x\"",
                          "[]",
                          "{}",
                          "[1]",
                          "[[[]]]"};
  const char* keys[] = {"vocab_size",
                        "hidden_size",
                        "num_hidden_layers",
                        "num_attention_heads",
                        "num_key_value_heads",
                        "head_dim",
                        "intermediate_size",
                        "rms_norm_eps",
                        "max_position_embeddings",
                        "rope_theta",
                        "rope_scaling",
                        "rope_parameters",
                        "sliding_window",
                        "layer_types",
                        "eos_token_id",
                        "architectures",
                        "model_type",
                        "hidden_act",
                        "partial_rotary_factor",
                        "no_rope_layers",
                        "mlp_only_layers",
                        "num_experts",
                        "query_pre_attn_scalar"};
  size_t refused = 0;
  for (const auto& architecture : supported_hf_architectures()) {
    for (const char* key : keys) {
      for (const char* value : values) {
        const std::string name = concat("\"", key, "\":");
        std::string config = concat(R"({"architectures":[")", architecture, "\"]");
        for (const char* part :
             {R"("vocab_size":512)", R"("hidden_size":64)", R"("intermediate_size":160)",
              R"("num_hidden_layers":4)", R"("num_attention_heads":4)", R"("n_embd":64)",
              R"("n_layer":4)", R"("n_head":4)"}) {
          if (!std::string_view(part).starts_with(name)) config += concat(",", part);
        }
        if (key != std::string_view("architectures")) config += concat(",", name, value);
        refused += !parse_hf_config(config + "}", "c");
      }
    }
  }
  EXPECT_GT(refused, 1000u);
}

}  // namespace
}  // namespace ruvllm
