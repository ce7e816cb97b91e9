// What the shorter formats of the KV cache cost: the divergence of a model's distributions from
// those with a cache of f32, all else the same; and what they save.
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <string>

#include "base/test_util.h"
#include "engine/perplexity.h"

namespace ruvllm {
namespace {

constexpr const char* kText =
    "Once upon a time there was a little girl named Lily. She lived in a small house near the "
    "woods with her mother and her brother Tom. One day Lily found a red ball under the old tree. "
    "\"Look, Tom!\" she said. \"Somebody has lost a ball.\" Tom was happy and they played with it "
    "until the sun went down. Then a big dog came out of the woods. The dog looked sad. \"Is it "
    "your "
    "ball?\" asked Lily. The dog wagged its tail. Lily gave the ball back, and the dog licked her "
    "hand. From that day on they were friends. Every morning the dog waited at the gate, and every "
    "evening it ran home to a man who lived by the river. The man told them that the dog was old "
    "and "
    "had been alone for a long time. \"You are kind children,\" he said, and he gave each of them "
    "an "
    "apple from his garden. When the winter came, the snow was so deep that nobody could walk to "
    "the "
    "river. Lily was afraid that the dog was cold. She asked her father to bring some wood to the "
    "old "
    "man, and her father took the big sled. They made a warm fire, and the dog lay in front of it. "
    "In the spring the dog had four little puppies, and the smallest of them came to live with "
    "Lily. ";

std::unique_ptr<EdgeModel> load(const std::string& path, KvType kv) {
  LoadOptions options;
  options.compute = ComputeType::kF32;
  options.kv = kv;
  options.threads = 2;
  auto parts = load_model_parts(path, options);
  EXPECT_TRUE(parts) << (parts ? "" : parts.error().message);
  return parts ? std::make_unique<EdgeModel>(std::move(*parts)) : nullptr;
}

// Mean KL(f32 || kv) over the second halves of chunks of `ctx` tokens.
double divergence(const std::string& path, KvType kv, int64_t ctx) {
  const auto reference = load(path, KvType::kF32);
  const auto model = load(path, kv);
  if (!reference || !model) return 1e9;
  const auto ids = (*model->parts.find_tokenizer())->encode(kText, true);
  EXPECT_TRUE(ids);
  PerplexityOptions options;
  options.ctx = ctx;
  const auto result = measure_perplexity(*model, reference.get(), *ids, options);
  EXPECT_TRUE(result) << (result ? "" : result.error().message);
  return result ? result->kld_mean : 1e9;
}

struct Divergences {
  double bf16;
  double f16;
  double int8;
};
Divergences divergences(const std::string& path) {
  constexpr int64_t kCtx = 128;
  const Divergences of = {divergence(path, KvType::kBf16, kCtx),
                          divergence(path, KvType::kF16, kCtx),
                          divergence(path, KvType::kInt8, kCtx)};
  std::printf("KL divergence from f32, nats: bf16 %.2g, f16 %.2g, int8 %.2g\n", of.bf16, of.f16,
              of.int8);
  EXPECT_GT(of.int8, 0.0);
  EXPECT_LE(of.bf16, 1e-3);
  EXPECT_LE(of.f16, of.bf16);
  return of;
}

TEST(KvTypes, DivergenceOfTheDemoModel) {
  EXPECT_LE(divergences(test::source_dir() + "/models/demo").int8, 1e-3);
}

// Divergence grows with the variance of the rounding errors. An int8 code's is (max |x| / 127)^2 /
// 12 and bf16's about 0.54 (x / 256)^2 / 12, so over a row their ratio is 7.5 max^2 / mean square,
// which a row of D elements holds below 7.5 D. Heads of 8 elements use few of the codes' 8 bits
// well, and two bytes of scale are much beside 8: they are what int8 is worst at.
TEST(KvTypes, DivergenceOfStories260K) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no reference data on this machine";
  constexpr int kHeadDim = 8;
  const Divergences of = divergences(*shared + "/golden/stories260K/hf");
  EXPECT_LE(of.int8, 7.5 * kHeadDim * of.bf16);
  EXPECT_LE(of.int8, 5e-3);
}

// A scale of two bytes for each head's row of a token is what int8 needs beyond half of bf16.
TEST(KvTypes, Int8TakesHalfOfBf16) {
  const std::string path = test::source_dir() + "/models/demo";
  const auto bf16 = load(path, KvType::kBf16);
  const auto int8 = load(path, KvType::kInt8);
  ASSERT_TRUE(bf16 && int8);
  const ModelRunner& runner = *int8->parts.runner;
  const double per_row = 2.0 * runner.config().head_dim;
  const double ratio = static_cast<double>(runner.kv_block_bytes()) /
                       static_cast<double>(bf16->parts.runner->kv_block_bytes());
  EXPECT_NEAR(ratio, (runner.config().head_dim + 2) / per_row, 1e-3);
}

}  // namespace
}  // namespace ruvllm
