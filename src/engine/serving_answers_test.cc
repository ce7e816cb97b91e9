// Several answers to one prompt: each is the one it would be alone, the prompt is computed once and
// its pages are shared, and any of them may end while the others go on.
#include <gtest/gtest.h>

#include "base/rng.h"
#include "engine/edge_backend.h"
#include "engine/golden_adapters.h"
#include "engine/random_model.h"
#include "engine/serving_test_util.h"

namespace ruvllm {
namespace {

using namespace std::chrono_literals;
using test::answer_with;
using test::eventually;
using test::Heard;
using test::listen;
using test::ServingFake;
using test::small_config;

using Streams = std::vector<std::unique_ptr<TokenStream>>;

GenerateParams greedy(int32_t max_tokens) {
  GenerateParams params = GenerateParams::greedy(max_tokens);
  params.ignore_eos = true;
  return params;
}

GenerateParams sampled(int32_t max_tokens) {
  GenerateParams params = greedy(max_tokens);
  params.temperature = 1.0f;
  params.seed = 77;
  params.top_logprobs = 0;
  return params;
}

Streams start(LlmBackend& backend, const Prompt& prompt, const GenerateParams& params, int32_t n,
              const RequestOptions& options = {}) {
  auto streams = backend.generate_answers(prompt, params, n, options);
  EXPECT_TRUE(streams) << streams.error().message;
  return *std::move(streams);
}

struct Answer {
  std::vector<int32_t> ids;
  std::vector<float> logprobs;
  std::vector<float> gates;
  bool operator==(const Answer&) const = default;
};

Answer answer_of(TokenStream& stream) {
  const Heard heard = listen(stream);
  EXPECT_TRUE(heard.result) << heard.error->message;
  Answer answer;
  if (!heard.result) return answer;
  EXPECT_EQ(heard.ids, heard.result->ids);
  answer.ids = heard.result->ids;
  for (const Token& token : heard.result->tokens) answer.logprobs.push_back(*token.logprob);
  if (heard.result->gates) answer.gates = heard.result->gates->values;
  return answer;
}

std::vector<Answer> answers_of(Streams streams) {
  std::vector<Answer> answers;
  for (const auto& stream : streams) answers.push_back(answer_of(*stream));
  return answers;
}

// Prompts whose last page is full, nearly full, nearly empty, or the only one.
std::vector<std::vector<int32_t>> make_prompts() {
  std::vector<std::vector<int32_t>> prompts;
  for (const int length : {1, 16, 31, 33}) {
    std::vector<int32_t> ids;
    for (int t = 0; t < length; ++t) {
      const auto stream = static_cast<uint64_t>(length);
      ids.push_back(static_cast<int32_t>(random_bits(5, stream, static_cast<uint64_t>(t)) % 300));
    }
    prompts.push_back(std::move(ids));
  }
  return prompts;
}

// --- The same bits ---

TEST(ServingAnswers, EachIsTheOneItIsAlone) {
  constexpr int32_t kAnswers = 5;
  const auto checkpoint = make_random_checkpoint(*find_shape("llama-tiny"), DType::kF32, 1);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const auto prompts = make_prompts();
  const auto open = [&](bool cached, int32_t blocks, int32_t rows, int32_t threads) {
    ServingConfig config;
    config.paged_attention.block_size = 8;
    config.paged_attention.max_blocks = blocks;
    config.paged_attention.enable_prefix_caching = cached;
    config.max_batched_tokens = rows;
    auto backend = std::make_unique<ServingBackend>(
        config,
        [&, rows](const std::string& name, const LoadOptions& options) {
          return load_model_parts(name, *checkpoint, options,
                                  {.max_step_rows = rows, .kv_block_tokens = 8, .progress = {}});
        },
        make_incremental_decoder, [](EnginePlan& plan) { plan.check_every = 1; });
    LoadOptions options;
    options.threads = threads;
    EXPECT_TRUE(backend->load_model("tiny", options));
    return backend;
  };
  const auto first = open(false, 512, 64, 1);
  std::vector<std::vector<Answer>> alone;
  for (const auto& prompt : prompts) {
    std::vector<Answer> answers;
    for (int32_t i = 0; i < kAnswers; ++i) {
      const GenerateParams params = params_of_answer(sampled(20), i);
      answers.push_back(answer_of(*first->generate_stream(prompt, params).value()));
    }
    EXPECT_NE(answers[0].ids, answers[1].ids);
    alone.push_back(std::move(answers));
  }
  for (const auto& backend : {open(false, 512, 64, 1), open(true, 512, 7, 2), open(true, 12, 64, 1),
                              open(false, 12, 16, 1)}) {
    std::vector<Streams> all;
    for (const auto& prompt : prompts) {
      all.push_back(start(*backend, prompt, sampled(20), kAnswers));
    }
    for (size_t p = 0; p < prompts.size(); ++p) {
      EXPECT_EQ(answers_of(std::move(all[p])), alone[p]) << "prompt " << p;
    }
    EXPECT_EQ(backend->stats()->kv_pages_used, 0);
    if (backend->stats()->kv_pages_total == 12) {
      EXPECT_GT(backend->stats()->preemptions, 0u);
    }
  }
  EdgeBackend edge(
      [&](const std::string& name, const LoadOptions& options) {
        return load_model_parts(name, *checkpoint, options);
      },
      make_incremental_decoder);
  ASSERT_TRUE(edge.load_model("tiny", {}));
  EXPECT_EQ(answers_of(start(edge, prompts.back(), sampled(20), kAnswers)), alone.back());
}

TEST(ServingAnswers, WithXLoraToo) {
  const std::string root = test::golden_root();
  if (root.empty()) GTEST_SKIP() << "no reference data";
  LoadOptions options;
  options.compute = ComputeType::kF32;
  options.xlora = root + "/xlora/n3_d1_layerwise";
  GenerateParams params = sampled(10);
  params.gates = GateDetail::kMean;
  const auto prompts = make_prompts();
  const auto open = [&](bool cached, int32_t blocks) {
    test::ServingCase c;
    c.block = 4;
    c.step_rows = 16;
    c.prefix_caching = cached;
    c.blocks = blocks;
    return test::open_served(root + "/bases/llama_h64", c, options);
  };
  const auto first = open(false, 512);
  std::vector<std::vector<Answer>> alone(prompts.size());
  for (size_t p = 0; p < prompts.size(); ++p) {
    for (int32_t i = 0; i < 3; ++i) {
      alone[p].push_back(
          answer_of(*first->generate_stream(prompts[p], params_of_answer(params, i)).value()));
    }
    EXPECT_FALSE(alone[p][0].gates.empty());
  }
  for (const auto& backend : {open(false, 512), open(true, 512), open(true, 28)}) {
    std::vector<Streams> all;
    for (const auto& prompt : prompts) all.push_back(start(*backend, prompt, params, 3));
    // One that leads ends while its prompt is computed, or soon after.
    all.push_back(start(*backend, prompts.back(), params, 3));
    all.back().front()->cancel();
    all.back().erase(all.back().begin());
    for (size_t p = 0; p < prompts.size(); ++p) {
      EXPECT_EQ(answers_of(std::move(all[p])), alone[p]) << "prompt " << p;
    }
    EXPECT_EQ(answers_of(std::move(all.back())),
              std::vector<Answer>(alone.back().begin() + 1, alone.back().end()));
    EXPECT_EQ(backend->stats()->kv_pages_used, 0);
  }
}

// --- Rows and pages ---

TEST(ServingAnswers, ThePromptIsComputedOnceAndItsPagesAreShared) {
  ServingConfig config = small_config(400, 8);
  config.paged_attention.enable_prefix_caching = false;
  ServingFake fake(test::hash_token, config, 1024);
  const std::vector<int32_t> prompt(401, 'p');
  Streams streams = start(fake.backend, prompt, greedy(300), 4);
  // Nobody reads: each stops at 256 tokens, of which the last is not computed.
  EXPECT_TRUE(eventually([&] { return fake.backend.stats()->generated_tokens == 4 * 256; }));
  EXPECT_EQ(fake.runner->num_rows, 401 + 4 * 255);
  // 50 full pages of the prompt for all, then 32 of each one's own.
  EXPECT_TRUE(eventually([&] { return fake.backend.stats()->kv_pages_used == 50 + 4 * 32; }));
  EXPECT_EQ(fake.backend.stats()->running, 4);
  const std::vector<Answer> answers = answers_of(std::move(streams));
  for (const Answer& answer : answers) EXPECT_EQ(answer.ids, answers[0].ids);
  EXPECT_EQ(answers[0].ids, fake.backend.generate_detailed(prompt, greedy(300))->ids);
  EXPECT_EQ(fake.backend.stats()->kv_pages_used, 0);
  EXPECT_EQ(fake.backend.stats()->prompt_tokens, 401u * 2);
}

TEST(ServingAnswers, MoreThanRunAtATime) {
  for (const int32_t running : {1, 2, 5}) {
    ServingFake fake(test::hash_token, small_config(64, running));
    const std::string alone = fake.backend.generate("once", greedy(30)).value();
    for (const auto& stream : start(fake.backend, "once", greedy(30), 7)) {
      EXPECT_EQ(listen(*stream).text, alone);
    }
    const EngineStats stats = *fake.backend.stats();
    EXPECT_EQ(stats.running + stats.waiting + stats.kv_pages_used, 0);
    EXPECT_EQ(stats.started, 8u);
  }
}

TEST(ServingAnswers, AllOrNone) {
  ServingConfig config = small_config(64, 2);
  config.max_waiting_requests = 3;
  ServingFake fake(answer_with(std::string(200, 'a')), config);
  fake.runner->step_time = 1ms;
  const auto code = [&](int32_t n) {
    const auto streams = fake.backend.generate_answers("|", greedy(200), n, {});
    return streams ? std::optional<ErrorCode>() : streams.error().code;
  };
  EXPECT_EQ(code(0), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(6), ErrorCode::kInvalidArgument);
  const Streams first = start(fake.backend, "|", greedy(200), 3);
  EXPECT_EQ(code(3), ErrorCode::kUnavailable);
  EXPECT_EQ(code(2), std::nullopt);
  for (const auto& stream : first) EXPECT_EQ(listen(*stream).ids.size(), 200u);
}

// --- Some of them end ---

TEST(ServingAnswers, AnyOfThemMayEndAtAnyTime) {
  ServingFake fake(test::hash_token, small_config(64, 8), 256,
                   [](EnginePlan& plan) { plan.check_every = 1; });
  const std::string prompt(90, 'p');  // six steps
  const std::vector<int32_t> alone = fake.backend.generate_detailed(prompt, greedy(20))->ids;
  fake.runner->step_time = 1ms;
  for (uint64_t round = 0; round < 40; ++round) {
    RequestOptions options;
    options.cache_salt = "round " + std::to_string(round);  // computed anew each time
    Streams streams = start(fake.backend, prompt, greedy(20), 4, options);
    std::this_thread::sleep_for(std::chrono::microseconds(random_bits(1, 0, round) % 12000));
    std::vector<bool> cancelled(4);
    for (size_t i = 0; i < 4; ++i) {
      const uint64_t fate = random_bits(1, 1 + i, round) % 4;
      if (fate == 0) streams[i].reset();
      if (fate == 1) streams[i]->cancel();
      cancelled[i] = fate == 1;
    }
    for (size_t i = 0; i < 4; ++i) {
      if (streams[i] == nullptr) continue;
      const Heard heard = listen(*streams[i]);
      ASSERT_TRUE(heard.result);
      if (heard.result->finish_reason == FinishReason::kCancelled) {
        EXPECT_TRUE(cancelled[i]);
        continue;
      }
      EXPECT_EQ(heard.ids, alone);
    }
  }
  EXPECT_TRUE(eventually([&] {
    const EngineStats stats = *fake.backend.stats();
    return stats.running + stats.waiting + stats.kv_pages_used == 0;
  }));
}

TEST(ServingAnswers, ADeadlineEndsAll) {
  ServingFake fake(answer_with(std::string(200, 'a')), small_config(64, 8));
  fake.runner->step_time = 3ms;
  RequestOptions options;
  options.total_timeout = 10ms;
  for (const size_t length : {150, 1}) {  // while the prompt is computed; in the middle of answers
    for (const auto& stream :
         start(fake.backend, std::string(length, '|'), greedy(90), 3, options)) {
      EXPECT_EQ(listen(*stream).result->finish_reason, FinishReason::kDeadline);
    }
  }
  EXPECT_EQ(fake.backend.stats()->kv_pages_used, 0);
}

TEST(ServingAnswers, AFailureAndAnUnloadEndAll) {
  ServingFake fake(answer_with(std::string(200, 'a')));
  GenerateParams none = greedy(5);
  none.allowed_token_ids = {'x'};
  none.banned_sequences = {{'x'}};
  for (const auto& stream : start(fake.backend, "|", none, 3)) {
    EXPECT_EQ(listen(*stream).error->code, ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(fake.backend.stats()->kv_pages_used, 0);
  fake.runner->step_time = 1ms;
  const Streams streams = start(fake.backend, std::string(150, '|'), greedy(90), 3);
  fake.backend.unload_model();
  for (const auto& stream : streams) {
    EXPECT_EQ(listen(*stream).result->finish_reason, FinishReason::kCancelled);
  }
}

TEST(ServingAnswers, TheFirstScoresThePrompt) {
  ServingFake fake(test::hash_token);
  const std::string prompt(40, 'z');
  GenerateParams params = greedy(4);
  params.prompt_logprobs = 0;
  for (const int32_t max_tokens : {4, 0}) {
    params.max_tokens = max_tokens;
    const Streams streams = start(fake.backend, prompt, params, 3);
    for (const auto& stream : streams) {
      const Heard heard = listen(*stream);
      ASSERT_TRUE(heard.result);
      EXPECT_EQ(heard.result->prompt_logprobs.size(), stream == streams[0] ? 41u : 0u);
      EXPECT_EQ(heard.result->completion_tokens, max_tokens);
    }
  }
  // The one that scores ends: the others go on.
  params.max_tokens = 4;
  fake.runner->step_time = 1ms;
  const Streams streams = start(fake.backend, prompt, params, 3);
  streams[0]->cancel();
  const std::vector<int32_t> alone = fake.backend.generate_detailed(prompt, greedy(4))->ids;
  for (size_t i = 1; i < 3; ++i) EXPECT_EQ(listen(*streams[i]).ids, alone);
}

}  // namespace
}  // namespace ruvllm
