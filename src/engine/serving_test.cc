// The serving backend on a real model: greedy ids and log probabilities are the same bits alone, in
// a batch, in chunks of any size, preempted and resumed, from the prefix cache, with pages of any
// size, on any number of threads.
#include <gtest/gtest.h>

#include <sys/stat.h>

#include "base/rng.h"
#include "base/str.h"
#include "base/test_util.h"
#include "engine/serving_test_util.h"

namespace ruvllm {
namespace {

using Case = test::ServingCase;

// Null: this checkout has no demo model.
std::unique_ptr<ServingBackend> open(const Case& c) {
  const std::string path = test::source_dir() + "/models/demo";
  struct stat info = {};
  if (stat((path + "/model.safetensors").c_str(), &info) != 0) return nullptr;
  return test::open_served(path, c);
}

// Half of the prompts begin alike.
std::vector<std::vector<int32_t>> make_prompts(size_t count) {
  std::vector<std::vector<int32_t>> prompts(count);
  for (size_t i = 0; i < count; ++i) {
    const auto length = 1 + random_bits(7, 1, i) % 70;
    const uint64_t stream = i % 2 == 0 ? 0 : i;
    for (uint64_t k = 0; k < length; ++k) {
      prompts[i].push_back(static_cast<int32_t>(5 + random_bits(9, stream, k) % 300));
    }
    prompts[i].push_back(static_cast<int32_t>(5 + i));
  }
  return prompts;
}

struct Answer {
  std::vector<int32_t> ids;
  std::vector<float> logprobs;
  bool operator==(const Answer&) const = default;
};

GenerateParams params() {
  GenerateParams out = GenerateParams::greedy(12);
  out.ignore_eos = true;
  out.top_logprobs = 0;
  return out;
}

Answer answer_of(const GenerateResult& result) {
  Answer answer{result.ids, {}};
  for (const Token& token : result.tokens) answer.logprobs.push_back(*token.logprob);
  return answer;
}

std::vector<Answer> all_at_once(ServingBackend& backend,
                                const std::vector<std::vector<int32_t>>& prompts) {
  std::vector<std::unique_ptr<TokenStream>> streams;
  for (const auto& prompt : prompts) {
    auto stream = backend.generate_stream(prompt, params());
    EXPECT_TRUE(stream) << stream.error().message;
    streams.push_back(*std::move(stream));
  }
  std::vector<Answer> answers;
  for (auto& stream : streams) answers.push_back(answer_of(*test::listen(*stream).result));
  return answers;
}

TEST(Serving, SameBitsHoweverItIsScheduled) {
  const auto prompts = make_prompts(64);
  auto backend = open({});
  if (backend == nullptr) GTEST_SKIP() << "no demo model";
  std::vector<Answer> alone;
  for (const auto& prompt : prompts) {
    alone.push_back(answer_of(*backend->generate_detailed(prompt, params())));
  }
  EXPECT_EQ(all_at_once(*backend, prompts), alone) << "from the prefix cache";
  EXPECT_GT(backend->stats()->prefix_hit_tokens, 0u);
  Case in_ones, in_sevens, in_64s, tiny_pool, small_pages, no_cache, not_shared, two_threads;
  in_ones.chunk = 1;
  in_sevens.chunk = 7;
  in_64s.chunk = 64;
  in_64s.step_rows = 67;
  tiny_pool.blocks = 16;
  small_pages.block = 1;
  small_pages.blocks = 200;
  no_cache.prefix_caching = false;
  no_cache.block = 32;
  not_shared.share_prefixes = false;
  two_threads.threads = 2;
  const std::pair<const char*, Case> cases[] = {{"chunks of 1", in_ones},
                                                {"chunks of 7", in_sevens},
                                                {"chunks of 64", in_64s},
                                                {"tiny pool", tiny_pool},
                                                {"pages of 1", small_pages},
                                                {"no prefix cache", no_cache},
                                                {"prefixes read by each", not_shared},
                                                {"two threads", two_threads}};
  for (const auto& [name, c] : cases) {
    backend = open(c);
    ASSERT_NE(backend, nullptr);
    EXPECT_EQ(all_at_once(*backend, prompts), alone) << name;
    const EngineStats stats = *backend->stats();
    EXPECT_EQ(stats.kv_pages_used, 0) << name;
    if (c.blocks == tiny_pool.blocks) {
      EXPECT_GT(stats.preemptions, 0u);
    }
  }
}

TEST(Serving, EmbeddingsAreTheSameBitsAloneAndInABatch) {
  const auto backend = open({});
  if (backend == nullptr) GTEST_SKIP() << "no demo model";
  std::vector<Prompt> inputs;
  for (const auto& prompt : make_prompts(20)) inputs.emplace_back(prompt);
  const auto batch = backend->get_embeddings_batch(inputs);
  ASSERT_TRUE(batch);
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_EQ(backend->get_embeddings_batch({inputs[i]})->front(), (*batch)[i]);
  }
}

}  // namespace
}  // namespace ruvllm
