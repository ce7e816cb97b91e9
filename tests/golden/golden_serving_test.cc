// The expected values of golden_models_test.cc once more, through the serving backend: scores of
// whole prompts, hidden states, and greedy continuations that are preempted on the way, with pages
// of 1, 8, 16 and 32 tokens.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/str.h"
#include "engine/serving_backend.h"
#include "engine/watched_runner.h"
#include "golden_util.h"

namespace ruvllm::test {
namespace {

constexpr int32_t kGreedyTokens = 24;

// A backend in the exact mode, on the CPU device; the gate holds its steps.
struct Served {
  Served(const ModelCase& model, int32_t block_tokens, int32_t num_blocks) {
    ServingConfig config;
    config.paged_attention.block_size = block_tokens;
    config.paged_attention.max_blocks = num_blocks;
    config.max_batched_tokens = 128;
    LoaderSettings settings;
    settings.max_step_rows = config.max_batched_tokens;
    settings.kv_block_tokens = block_tokens;
    backend.emplace(config,
                    watched(
                        [settings](const std::string& name, const LoadOptions& options) {
                          return load_model_parts(name, options, settings);
                        },
                        [this](const ForwardBatch&) { gate.wait(); }),
                    make_incremental_decoder);
    LoadOptions options;
    options.compute = ComputeType::kF32;
    options.threads = 1;
    const Status status = backend->load_model(model.model, options);
    EXPECT_TRUE(status) << (status ? "" : status.error().message);
  }

  std::unique_ptr<TokenStream> start(std::vector<int32_t> prompt, const GenerateParams& params,
                                     int64_t priority) {
    RequestOptions options;
    options.priority = priority;
    auto stream = backend->generate_stream(std::move(prompt), params, options);
    EXPECT_TRUE(stream) << (stream ? "" : stream.error().message);
    return stream ? *std::move(stream) : nullptr;
  }

  Gate gate;
  std::optional<ServingBackend> backend;  // goes before the gate
};

GenerateParams greedy() {
  GenerateParams params = GenerateParams::greedy(kGreedyTokens);
  params.ignore_eos = true;
  params.top_logprobs = 0;
  return params;
}

std::optional<GenerateResult> result_of(TokenStream& stream) {
  while (auto event = stream.next()) {
    if (auto* done = std::get_if<Done>(&*event)) return std::move(done->result);
    if (const auto* error = std::get_if<Error>(&*event)) {
      ADD_FAILURE() << error->message;
      return std::nullopt;
    }
  }
  return std::nullopt;
}

std::vector<int32_t> copy_of(std::span<const int32_t> ids) {
  return {ids.begin(), ids.end()};
}

int32_t pages(int64_t tokens, int32_t block_tokens) {
  return static_cast<int32_t>((tokens + block_tokens - 1) / block_tokens);
}

class GoldenServing : public testing::TestWithParam<ModelCase> {
 protected:
  void expect_greedy(const GenerateResult& result, const ExpectedFile& expected, int sequence) {
    const auto want = expected.i32(concat("greedy_", sequence));
    const auto logprobs = expected.f32(concat("greedy_logprobs_", sequence));
    EXPECT_EQ(result.ids, copy_of(want)) << "sequence " << sequence;
    ASSERT_EQ(result.tokens.size(), logprobs.size());
    for (size_t t = 0; t < logprobs.size(); ++t) {
      EXPECT_NEAR(*result.tokens[t].logprob, logprobs[t], kLogprobTolerance)
          << "sequence " << sequence << " token " << t;
    }
  }
  void expect_preempted_runs(int32_t block_tokens);
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(GoldenServing);

// Log probabilities of every token of the vocabulary at every position are the logits but for a
// constant of each row.
TEST_P(GoldenServing, ScoresAndHiddenStates) {
  const ExpectedFile expected(GetParam().folder + "/expected.safetensors");
  Served served(GetParam(), 16, 64);
  ASSERT_TRUE(served.backend->is_model_loaded());
  const auto ids = expected.i32("ids_1");
  const auto logits = expected.f32("logits_1");
  const auto vocab = static_cast<size_t>(served.backend->model_info()->vocab_size);
  GenerateParams params = greedy();
  params.prompt_logprobs = static_cast<int32_t>(vocab);
  std::vector<std::unique_ptr<TokenStream>> streams;
  for (int i = 0; i < 3; ++i) {
    if (i != 1) params.prompt_logprobs = 0;
    streams.push_back(served.start(copy_of(expected.i32(concat("ids_", i))), params, 0));
    ASSERT_NE(streams.back(), nullptr);
    params.prompt_logprobs = static_cast<int32_t>(vocab);
  }
  for (int i = 0; i < 3; ++i) {
    const auto result = result_of(*streams[static_cast<size_t>(i)]);
    ASSERT_TRUE(result);
    expect_greedy(*result, expected, i);
    const auto logprobs = expected.f32(concat("logprobs_", i));
    ASSERT_EQ(result->prompt_logprobs.size(), logprobs.size() + 1);
    for (size_t t = 0; t < logprobs.size(); ++t) {
      EXPECT_NEAR(result->prompt_logprobs[t + 1].logprob, logprobs[t], kLogprobTolerance)
          << "sequence " << i << " token " << t;
    }
    if (i != 1) continue;
    const double tolerance = 2.0 * kTolerance * GetParam().logits_std();  // of a difference
    for (size_t t = 0; t + 1 < ids.size(); ++t) {
      const auto row = logits.subspan(t * vocab, vocab);
      const double constant = static_cast<double>(row[0]) - log_probability(row, 0);
      const auto& top = result->prompt_logprobs[t + 1].top_logprobs;
      ASSERT_EQ(top.size(), vocab);
      for (const TokenLogprob& token : top) {
        ASSERT_NEAR(static_cast<double>(token.logprob) + constant,
                    row[static_cast<size_t>(token.id)], tolerance)
            << "position " << t << " token " << token.id;
      }
    }
  }
  // The vector of a text: the mean of its hidden states, of length 1.
  const auto states = expected.f32("hidden_1");
  const size_t width = states.size() / ids.size();
  std::vector<double> mean(width, 0.0);
  for (size_t i = 0; i < states.size(); ++i) mean[i % width] += states[i];
  double square = 0.0;
  for (const double value : mean) square += value * value;
  const auto vectors = served.backend->get_embeddings_batch({copy_of(ids)});
  ASSERT_TRUE(vectors) << vectors.error().message;
  ASSERT_EQ(vectors->front().size(), width);
  for (size_t i = 0; i < width; ++i) {
    EXPECT_NEAR(vectors->front()[i], mean[i] / std::sqrt(square), kTolerance);
  }
}

// Each golden sequence beside others of better priority, in a pool where all fit at the start and
// none does at the end: the golden one loses its pages and is computed again.
void GoldenServing::expect_preempted_runs(int32_t block_tokens) {
  const ExpectedFile expected(GetParam().folder + "/expected.safetensors");
  constexpr int32_t kOthers = 4;
  const int32_t length = std::max(block_tokens - 4, 4);  // grows into other pages soon
  for (int i = 0; i < 3; ++i) {
    const auto ids = expected.i32(concat("ids_", i));
    const auto count = static_cast<int64_t>(ids.size());
    const int32_t at_start = kOthers * pages(length, block_tokens) + pages(count, block_tokens) + 1;
    const int32_t alone = std::max(pages(count + kGreedyTokens, block_tokens),
                                   pages(length + kGreedyTokens, block_tokens));
    Served served(GetParam(), block_tokens, std::max(at_start, alone + 1));
    ASSERT_TRUE(served.backend->is_model_loaded());
    served.gate.set(false);
    const auto first = served.start({1}, GenerateParams::greedy(1), 0);  // waits at the gate
    std::vector<std::unique_ptr<TokenStream>> others;
    for (int32_t k = 0; k < kOthers; ++k) {
      std::vector<int32_t> prompt(static_cast<size_t>(length));
      for (int32_t t = 0; t < length; ++t) {
        prompt[static_cast<size_t>(t)] =
            (17 * t + 31 * k + 3) % served.backend->model_info()->vocab_size;
      }
      others.push_back(served.start(std::move(prompt), greedy(), -1000));
    }
    const auto stream = served.start(copy_of(ids), greedy(), 1000);
    ASSERT_NE(stream, nullptr);
    served.gate.set(true);
    const auto result = result_of(*stream);
    ASSERT_TRUE(result);
    EXPECT_GE(result->preemptions, 1) << "sequence " << i << " pages of " << block_tokens;
    EXPECT_GE(served.backend->stats()->preemptions, 1u);
    expect_greedy(*result, expected, i);
  }
}

TEST_P(GoldenServing, GreedyThoughPreempted) {
  expect_preempted_runs(8);
}

class GoldenServingPages : public GoldenServing {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(GoldenServingPages);

TEST_P(GoldenServingPages, GreedyThoughPreempted) {
  for (const int32_t block_tokens : {1, 16, 32}) expect_preempted_runs(block_tokens);
}

std::vector<ModelCase> cpu_cases() {
  std::vector<ModelCase> cases = model_cases();
  std::erase_if(cases, [](const ModelCase& model) { return model.reference_ops; });
  return cases;
}

// Some of every kind: plain, caps and windows, experts, learned positions, two rotary regimes.
std::vector<ModelCase> some_cases() {
  const std::string_view some[] = {"llama_gqa", "gemma2",        "mistral_swa", "mixtral",
                                   "gpt2",      "phi3_longrope", "qwen3"};
  std::vector<ModelCase> cases = cpu_cases();
  std::erase_if(cases, [&](const ModelCase& model) {
    return std::ranges::find(some, model.name) == std::end(some);
  });
  return cases;
}

std::string case_name(const testing::TestParamInfo<ModelCase>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(All, GoldenServing, testing::ValuesIn(cpu_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(All, GoldenServingPages, testing::ValuesIn(some_cases()), case_name);

}  // namespace
}  // namespace ruvllm::test
