// Every field of ServingConfig: to the plan, to its flag, to JSON and back; the builders.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "engine/engine_plan.h"
#include "engine/serving_fields.h"

namespace ruvllm {
namespace {

// No default anywhere. Fails to compile when a field is added that is not mapped here.
ServingConfig unusual() {
  ServingConfig config;
  auto& [paged, running, batched, waiting, bytes, isq, xlora, device] = config;
  auto& [block_size, max_blocks, fraction, caching] = paged;
  block_size = 32;
  max_blocks = 100;
  fraction = 0.375f;
  caching = false;
  running = 7;
  batched = 300;
  waiting = 11;
  bytes = 123456;
  isq.emplace_back();
  isq[0].bits = 3;
  isq[0].method = IsqMethod::kGptq;
  isq[0].group_size = 64;
  isq[0].calibration_samples = 9;
  isq[0].symmetric = true;
  isq[0].rotate = true;
  isq[0].seed = 5;
  isq[0].overrides = {{"down_proj", 8, 16}};
  xlora.push_back({{"a", "b"}, 1, 0.5f, XLoraMixingMode::kAdditive});
  device = DeviceKind::kMetal;
  return config;
}

PlannedModel model() {
  PlannedModel planned;
  planned.block_tokens = 32;
  planned.block_bytes = 1000;
  planned.max_step_rows = 4096;
  planned.max_seq_len = 1024;
  planned.vocab_size = 1 << 17;
  return planned;
}

TEST(ServingConfig, EveryFieldGoesToJsonAndBack) {
  for (const ServingConfig& config : {ServingConfig(), unusual()}) {
    const Json json = serving_config_json(config);
    const auto again = serving_config_from_json(*Json::parse(json.dump()));
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(serving_config_json(*again).dump(), json.dump());
    const auto& [paged, running, batched, waiting, bytes, isq, xlora, device] = *again;
    EXPECT_EQ(paged.block_size, config.paged_attention.block_size);
    EXPECT_EQ(paged.max_blocks, config.paged_attention.max_blocks);
    EXPECT_EQ(paged.gpu_memory_fraction, config.paged_attention.gpu_memory_fraction);
    EXPECT_EQ(paged.enable_prefix_caching, config.paged_attention.enable_prefix_caching);
    EXPECT_EQ(running, config.max_concurrent_requests);
    EXPECT_EQ(batched, config.max_batched_tokens);
    EXPECT_EQ(waiting, config.max_waiting_requests);
    EXPECT_EQ(bytes, config.kv_cache_memory_bytes);
    EXPECT_EQ(device, config.device);
    ASSERT_EQ(isq.size(), config.isq.size());
    for (size_t i = 0; i < isq.size(); ++i) {
      EXPECT_EQ(isq[i].bits, 3);
      EXPECT_EQ(isq[i].method, IsqMethod::kGptq);
      EXPECT_EQ(isq[i].group_size, 64);
      EXPECT_EQ(isq[i].calibration_samples, 9);
      EXPECT_TRUE(isq[i].symmetric);
      ASSERT_EQ(isq[i].overrides.size(), 1u);
      EXPECT_EQ(isq[i].overrides[0].pattern, "down_proj");
      EXPECT_EQ(isq[i].overrides[0].bits, 8);
      EXPECT_EQ(isq[i].overrides[0].group_size, 16);
      EXPECT_TRUE(isq[i].rotate);
      EXPECT_EQ(isq[i].seed, 5u);
      EXPECT_EQ(isq[i].auto_bits, 0.0);
    }
    ASSERT_EQ(xlora.size(), config.xlora.size());
    for (size_t i = 0; i < xlora.size(); ++i) {
      EXPECT_EQ(xlora[i].adapters, config.xlora[i].adapters);
      EXPECT_EQ(xlora[i].top_k, 1);
      EXPECT_EQ(xlora[i].temperature, 0.5f);
      EXPECT_EQ(xlora[i].mixing_mode, XLoraMixingMode::kAdditive);
    }
  }
}

TEST(ServingConfig, JsonIsReadStrictly) {
  struct Case {
    const char* text;
    std::vector<const char*> words;  // of the message
  };
  const Case cases[] = {
      {"3", {"found integer", "expected an object"}},
      {R"({"max_concurrent_request": 3})",
       {"max_concurrent_request is not known", "max_concurrent_requests, max_batched_tokens"}},
      {R"({"max_concurrent_requests": 0})", {"max_concurrent_requests is 0, expected 1 to 4096"}},
      {R"({"max_concurrent_requests": "3"})", {"max_concurrent_requests is \"3\"", "1 to 4096"}},
      {R"({"max_concurrent_requests": 2.5})", {"max_concurrent_requests is 2.5", "1 to 4096"}},
      {R"({"max_concurrent_requests": 4294967297})", {"is 4294967297, expected 1 to 4096"}},
      {R"({"paged_attention": {"block_size": 4096}})",
       {"paged_attention.block_size is 4096, expected 1 to 2048"}},
      {R"({"paged_attention": {"gpu_memory_fraction": 0}})",
       {"paged_attention.gpu_memory_fraction is 0, expected a number above 0, at most 1"}},
      {R"({"paged_attention": {"gpu_memory_fraction": 1.5}})", {"is 1.5", "at most 1"}},
      {R"({"paged_attention": {"gpu_memory_fraction": "all"}})",
       {"is \"all\"", "a number above 0"}},
      {R"({"paged_attention": {"enable_prefix_caching": 1}})", {"is 1, expected true or false"}},
      {R"({"paged_attention": {"blocks": 1}})",
       {"paged_attention.blocks is not known", "block_size, max_blocks"}},
      {R"({"paged_attention": 1})", {"paged_attention is 1, expected an object"}},
      {R"({"paged_attention.block_size": 16})",
       {"paged_attention.block_size is no key", R"({"paged_attention": {"block_size": ...}})"}},
      {R"({"paged_attention": {"paged_attention.block_size": 16}})", {"is not known"}},
      {R"({"paged_attention": {"max_batched_tokens": 16}})", {"is not known"}},
      {R"({"block_size": 16})", {"block_size is not known", "paged_attention"}},
      {R"({"device": "tpu"})", {"device is \"tpu\", expected auto, cpu, cuda or metal"}},
      {R"({"device": 1})", {"device is 1"}},
      {R"({"isq": {}})", {"isq is {}, expected an array"}},
      {R"({"isq": [{"scheme": "rtn5"}]})", {"isq[0].scheme", "5 bits"}},
      {R"({"isq": ["rtn4"]})", {"isq[0] is \"rtn4\"", "an object with a scheme"}},
      {R"({"isq": [{"scheme": "rtn4", "calibration_samples": 0}]})",
       {"isq[0].calibration_samples is 0, expected 1 to 65536"}},
      {R"({"isq": [{"scheme": "rtn4", "samples": 1}]})", {"isq[0].samples is not known"}},
      {R"({"isq": [{"scheme": "rtn4"}, {"scheme": "rtn8"}]})", {"isq is", "at most one"}},
      {R"({"xlora": [{"mixing_mode": "loud"}]})",
       {"xlora[0].mixing_mode is \"loud\", expected additive, concatenate or gated"}},
      {R"({"xlora": [{"temperature": 0}]})",
       {"xlora[0].temperature is 0, expected a number above"}},
      {R"({"xlora": [{"top_k": -1}]})", {"xlora[0].top_k is -1, expected 0 to"}},
      {R"({"xlora": [{"adapters": [1]}]})", {"xlora[0].adapters is [1], expected an array of"}},
      {R"({"kv_cache_memory_bytes": -1})", {"kv_cache_memory_bytes is -1", "bytes"}},
  };
  for (const Case& item : cases) {
    const auto config = serving_config_from_json(*Json::parse(item.text));
    ASSERT_FALSE(config) << item.text;
    EXPECT_EQ(config.error().code, ErrorCode::kInvalidArgument) << item.text;
    for (const char* word : item.words) {
      EXPECT_NE(config.error().message.find(word), std::string::npos)
          << item.text << ": " << config.error().message;
    }
  }
  EXPECT_EQ(serving_config_from_json(*Json::parse(R"({"max_batched_tokens": 5})"))
                ->max_concurrent_requests,
            ServingConfig().max_concurrent_requests);
}

TEST(ServingConfig, FloatsAreWrittenInFullAndShort) {
  ServingConfig config;
  for (const float value : {1e-7f, 0.9f, 0.123456789f, 1.0f}) {
    config.paged_attention.gpu_memory_fraction = value;
    const Json json = serving_config_json(config);
    EXPECT_EQ(
        serving_config_from_json(*Json::parse(json.dump()))->paged_attention.gpu_memory_fraction,
        value);
  }
  config.paged_attention.gpu_memory_fraction = 0.9f;
  EXPECT_NE(serving_config_json(config).dump().find("\"gpu_memory_fraction\":0.9,"),
            std::string::npos);
}

TEST(ServingConfig, EveryFieldHasAFlagOfItsOwnAndARange) {
  std::vector<std::string_view> flags;
  for (const ServingField& field : serving_fields()) {
    EXPECT_TRUE(field.flag.starts_with("--"));
    EXPECT_EQ(std::ranges::find(flags, field.flag), flags.end()) << field.flag;
    flags.push_back(field.flag);
    EXPECT_FALSE(field.help.empty()) << field.path;
    ServingConfig config;
    const ServingTarget target = field.target(config);
    EXPECT_TRUE(is_allowed(field, target)) << field.path;
    EXPECT_TRUE(check_serving_config(config));
    const auto is_refused = [&] {
      const Status status = check_serving_config(config);
      ASSERT_FALSE(status) << field.path;
      EXPECT_NE(status.error().message.find(field.path), std::string::npos);
      EXPECT_NE(status.error().message.find(allowed_text(field, target)), std::string::npos);
    };
    if (auto* const* whole = std::get_if<int32_t*>(&target)) {
      for (const int64_t value : {field.min, field.max}) {
        **whole = static_cast<int32_t>(value);
        EXPECT_TRUE(check_serving_config(config)) << field.path;
      }
      for (const int64_t value : {field.min - 1, field.max + 1}) {
        **whole = static_cast<int32_t>(value);
        is_refused();
      }
    } else if (auto* const* number = std::get_if<float*>(&target)) {
      **number = static_cast<float>(field.max);
      EXPECT_TRUE(check_serving_config(config)) << field.path;
      for (const float value :
           {static_cast<float>(field.min), static_cast<float>(field.max) * 1.01f,
            std::numeric_limits<float>::quiet_NaN()}) {
        **number = value;
        is_refused();
      }
    } else {
      EXPECT_EQ(field.min, 0) << field.path;  // a switch or bytes: anything goes
      EXPECT_EQ(field.max, 0) << field.path;
    }
  }
  EXPECT_EQ(flags.size(), 8u);  // of 11 fields: isq, xlora and device are LoadOptions' flags
}

TEST(ServingConfig, EveryFieldReachesThePlan) {
  ServingConfig config = unusual();
  config.xlora.clear();  // LoadOptions names it
  const auto plan = make_engine_plan(config, model(), 0);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->max_running, 7);
  EXPECT_EQ(plan->max_waiting, 11);
  EXPECT_EQ(plan->max_step_rows, 300);
  EXPECT_FALSE(plan->prefix_caching);
  EXPECT_EQ(plan->num_blocks, 123);  // kv_cache_memory_bytes alone decides
  EXPECT_EQ(plan->max_tokens, 1024);
  EXPECT_EQ(plan->max_scored_rows, 128);
  config.kv_cache_memory_bytes = 0;
  EXPECT_EQ(make_engine_plan(config, model(), 0)->num_blocks, 100);       // max_blocks
  EXPECT_EQ(make_engine_plan(config, model(), 100'000)->num_blocks, 37);  // the fraction
  const auto small = make_engine_plan(config, model(), 30'000);
  EXPECT_EQ(small->max_tokens, 11 * 32);
  EXPECT_NE(pool_limits_context(*small, 1024)
                .find("max_seq_len is 1024, but the KV pool holds 352 tokens (11 pages of 32)"),
            std::string::npos);
  EXPECT_EQ(pool_limits_context(*small, 352), "");
  EXPECT_EQ(pool_limits_context(*plan, 1024), "");
  EXPECT_EQ(make_engine_plan(config, model(), 1000).error().code, ErrorCode::kOutOfMemory);
  EXPECT_NE(describe(*plan).find("123 pages of 32 tokens"), std::string::npos);
}

TEST(ServingConfig, Builders) {
  EXPECT_EQ(ServingConfig::for_cuda().device, DeviceKind::kCuda);
  EXPECT_EQ(ServingConfig::for_metal().device, DeviceKind::kMetal);
  const ServingConfig other = unusual();
  const ServingConfig built = ServingConfig::for_cuda()
                                  .with_paged_attention(other.paged_attention)
                                  .with_isq(other.isq[0])
                                  .with_xlora(other.xlora[0]);
  EXPECT_EQ(built.paged_attention.block_size, 32);
  ASSERT_EQ(built.isq.size(), 1u);
  EXPECT_EQ(built.isq[0].method, IsqMethod::kGptq);
  EXPECT_EQ(built.paged_attention.max_blocks, 100);
  EXPECT_EQ(built.paged_attention.gpu_memory_fraction, 0.375f);
  EXPECT_FALSE(built.paged_attention.enable_prefix_caching);
  EXPECT_EQ(built.xlora[0].adapters, other.xlora[0].adapters);
  EXPECT_EQ(built.device, DeviceKind::kCuda);
  const PagedAttentionConfig defaults;
  EXPECT_EQ(defaults.block_size, 16);
  EXPECT_EQ(defaults.max_blocks, 4096);
  EXPECT_EQ(defaults.gpu_memory_fraction, 0.9f);
  EXPECT_TRUE(defaults.enable_prefix_caching);
}

}  // namespace
}  // namespace ruvllm
