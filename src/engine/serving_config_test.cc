// Every field of ServingConfig: to the plan, to its flag, to JSON and back; the builders.
#include <gtest/gtest.h>

#include <algorithm>

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
  isq[0].overrides = {{"down_proj", 8, 0}};
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
  for (const char* text :
       {"3", R"({"max_concurrent_request": 3})", R"({"max_concurrent_requests": 0})",
        R"({"max_concurrent_requests": "3"})", R"({"paged_attention": {"block_size": 4096}})",
        R"({"paged_attention": {"blocks": 1}})", R"({"paged_attention": 1})",
        R"({"device": "tpu"})", R"({"isq": [{"scheme": "rtn5"}]})", R"({"isq": ["rtn4"]})",
        R"({"xlora": [{"mixing_mode": "loud"}]})", R"({"kv_cache_memory_bytes": -1})"}) {
    const auto config = serving_config_from_json(*Json::parse(text));
    ASSERT_FALSE(config) << text;
    EXPECT_EQ(config.error().code, ErrorCode::kInvalidArgument) << text;
  }
  EXPECT_EQ(serving_config_from_json(*Json::parse(R"({"max_batched_tokens": 5})"))
                ->max_concurrent_requests,
            ServingConfig().max_concurrent_requests);
}

TEST(ServingConfig, EveryFieldHasAFlagOfItsOwnAndARange) {
  std::vector<std::string_view> flags;
  for (const ServingField& field : serving_fields()) {
    EXPECT_TRUE(field.flag.starts_with("--"));
    EXPECT_EQ(std::ranges::find(flags, field.flag), flags.end()) << field.flag;
    flags.push_back(field.flag);
    ServingConfig config;
    const ServingTarget target = field.target(config);
    auto* const* whole = std::get_if<int32_t*>(&target);
    if (whole == nullptr) continue;
    EXPECT_TRUE(check_serving_config(config));
    for (const int64_t value : {field.min - 1, field.max + 1}) {
      **whole = static_cast<int32_t>(value);
      const Status status = check_serving_config(config);
      ASSERT_FALSE(status) << field.path;
      EXPECT_NE(status.error().message.find(field.name()), std::string::npos);
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
  EXPECT_EQ(make_engine_plan(config, model(), 30'000)->max_tokens, 11 * 32);
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
  EXPECT_EQ(built.isq.size(), 1u);
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
