// In a steady state of decoding a step of the serving backend allocates nothing: plan, model,
// sampling, text, bookkeeping, events.
#include <gtest/gtest.h>

#include <sys/stat.h>

#include "base/count_allocations.h"
#include "base/str.h"
#include "base/test_util.h"
#include "engine/serving_test_util.h"
#include "engine/watched_runner.h"

#ifdef RUVLLM_COUNT_ALLOCATIONS
namespace ruvllm {
namespace {

constexpr size_t kRequests = 8;
constexpr int32_t kTokens = 100;
constexpr int64_t kFirstSteps = 10;  // buffers find their sizes

std::string demo_model() {
  return test::source_dir() + "/models/demo";
}

// Counts what happens between the steps that only decode, all requests together.
struct Counter {
  void operator()(const ForwardBatch& batch) {
    gate.wait();
    const int64_t now = test::num_allocations;
    const bool steady = batch.ids.size() == kRequests && batch.sequences.size() == kRequests;
    steady_steps = steady ? steady_steps + 1 : 0;
    if (steady_steps > kFirstSteps) {
      ++num_counted;
      allocations += now - before;
    } else {
      allocations_before += now - before;
    }
    before = now;
  }

  test::Gate gate;
  int64_t before = 0;
  int64_t steady_steps = 0;
  int64_t num_counted = 0;
  int64_t allocations = 0;
  int64_t allocations_before = 0;  // in steps that take prompts up
};

void expect_no_allocations(const GenerateParams& params) {
  struct stat info = {};
  if (stat((demo_model() + "/model.safetensors").c_str(), &info) != 0) {
    GTEST_SKIP() << "no demo model";
  }
  Counter counter;
  ServingConfig config;
  config.paged_attention.max_blocks = 256;
  config.max_batched_tokens = 256;
  LoaderSettings settings;
  settings.max_step_rows = 256;
  settings.kv_block_tokens = config.paged_attention.block_size;
  ServingBackend backend(config,
                         test::watched(
                             [&](const std::string& name, const LoadOptions& options) {
                               return load_model_parts(name, options, settings);
                             },
                             [&](const ForwardBatch& batch) { counter(batch); }),
                         make_incremental_decoder);
  LoadOptions options;
  options.threads = 2;
  ASSERT_TRUE(backend.load_model(demo_model(), options));
  counter.gate.set(false);
  std::vector<std::unique_ptr<TokenStream>> streams;
  for (size_t i = 0; i < kRequests; ++i) {
    auto stream =
        backend.generate_stream(Prompt(concat("Story ", i, ": once upon a time")), params);
    ASSERT_TRUE(stream) << stream.error().message;
    streams.push_back(*std::move(stream));
  }
  counter.gate.set(true);
  for (auto& stream : streams) {
    int32_t tokens = 0;
    while (const auto event = stream->next()) tokens += std::holds_alternative<Token>(*event);
    EXPECT_EQ(tokens, kTokens);
  }
  EXPECT_GT(counter.num_counted, kTokens / 2);
  EXPECT_GT(counter.allocations_before, 0) << "nothing is counted";
  EXPECT_EQ(counter.allocations, 0) << "in " << counter.num_counted << " steps";
}

TEST(ServingAllocations, NoneInAGreedyStep) {
  GenerateParams params = GenerateParams::greedy(kTokens);
  params.ignore_eos = true;
  expect_no_allocations(params);
}

TEST(ServingAllocations, NoneInASampledStep) {
  GenerateParams params;  // all filters and the repetition penalty
  params.max_tokens = kTokens;
  params.ignore_eos = true;
  params.seed = 1;
  params.stop = {"not to be found"};
  expect_no_allocations(params);
}

}  // namespace
}  // namespace ruvllm
#endif
