// The serving backend's logic on a fake model: answers, limits, cancelling, deadlines, priorities,
// slow consumers, the error boundary, statistics.
#include <gtest/gtest.h>

#include <thread>

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

GenerateParams greedy(int32_t max_tokens = 64) {
  return GenerateParams::greedy(max_tokens);
}

std::unique_ptr<TokenStream> start(ServingBackend& backend, const std::string& prompt,
                                   const GenerateParams& params,
                                   const RequestOptions& options = {}) {
  auto stream = backend.generate_stream(Prompt(prompt), params, options);
  EXPECT_TRUE(stream) << stream.error().message;
  return *std::move(stream);
}

RequestOptions with_priority(int64_t priority) {
  RequestOptions options;
  options.priority = priority;
  return options;
}

RequestOptions with_timeouts(std::chrono::milliseconds queue, std::chrono::milliseconds total) {
  RequestOptions options;
  options.queue_timeout = queue;
  options.total_timeout = total;
  return options;
}

RequestOptions with_salt(const std::string& salt) {
  RequestOptions options;
  options.cache_salt = salt;
  return options;
}

TEST(ServingBackend, AnswersAndReportsWhy) {
  ServingFake fake(answer_with("naïve 日本"));
  auto result = fake.backend.generate_detailed("q|", greedy());
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->text, "naïve 日本");
  EXPECT_EQ(result->finish_reason, FinishReason::kStop);
  EXPECT_EQ(result->prompt_tokens, 3);
  EXPECT_EQ(result->completion_tokens, 14);
  GenerateParams params = greedy();
  params.stop = {"e \xe6\x97\xa5"};
  result = fake.backend.generate_detailed("q|", params);
  EXPECT_EQ(result->text, "naïv");
  EXPECT_EQ(result->matched_stop, "e \xe6\x97\xa5");
  params.include_stop_in_output = true;
  EXPECT_EQ(fake.backend.generate_detailed("q|", params)->text, "naïve 日");
  EXPECT_EQ(fake.backend.generate_detailed("q|", greedy(3))->finish_reason, FinishReason::kLength);
  EXPECT_EQ(fake.backend.generate_detailed("q|", greedy(0))->completion_tokens, 0);
  EXPECT_EQ(fake.backend.generate_detailed(std::vector<int32_t>{999}, greedy()).error().code,
            ErrorCode::kInvalidArgument);
}

TEST(ServingBackend, ManyAtOnceEachItsOwnAnswer) {
  ServingFake fake(test::hash_token, small_config(40, 6));  // a pool that makes them wait
  std::vector<std::unique_ptr<TokenStream>> streams;
  std::vector<std::string> alone;
  for (int i = 0; i < 24; ++i) {
    const std::string prompt =
        std::string(static_cast<size_t>(i % 5 + 12), 'x') + std::to_string(i % 7);
    alone.push_back(fake.backend.generate(Prompt(prompt), greedy(30)).value());
    streams.push_back(start(fake.backend, prompt, greedy(30)));
  }
  for (size_t i = 0; i < streams.size(); ++i) {
    const Heard heard = listen(*streams[i]);
    ASSERT_TRUE(heard.result);
    EXPECT_EQ(heard.text, alone[i]);
    EXPECT_EQ(heard.text, heard.result->text);
  }
  const EngineStats stats = *fake.backend.stats();
  EXPECT_EQ(stats.running, 0);
  EXPECT_EQ(stats.waiting, 0);
  EXPECT_EQ(stats.kv_pages_used, 0);
  EXPECT_EQ(stats.generated_tokens, 48u * 30u);
  EXPECT_GT(stats.prefix_hit_tokens, 0u);
  EXPECT_GT(stats.steps, 0u);
}

TEST(ServingBackend, PreemptedOnesGoOnWhereTheyWere) {
  ServingFake fake(test::hash_token, small_config(12, 6));
  std::vector<std::unique_ptr<TokenStream>> streams;
  for (int i = 0; i < 6; ++i) {
    streams.push_back(start(fake.backend, std::to_string(i), greedy(60)));
  }
  std::vector<std::string> texts;
  for (auto& stream : streams) texts.push_back(listen(*stream).text);
  EXPECT_GT(fake.backend.stats()->preemptions, 0u);
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(fake.backend.generate(Prompt(std::to_string(i)), greedy(60)).value(),
              texts[static_cast<size_t>(i)]);
  }
}

TEST(ServingBackend, RotaryRegimesNeverMix) {
  ServingFake fake(test::hash_token);
  fake.backend.unload_model();
  ServingBackend backend(
      small_config(),
      [&](const std::string& name, const LoadOptions&) -> Result<ModelParts> {
        ModelParts parts;
        parts.name = name;
        auto runner = std::make_unique<test::FakeRunner>(256, test::hash_token);
        runner->regime_limit = 20;
        fake.runner = runner.get();
        parts.runner = std::move(runner);
        parts.tokenizer = std::make_unique<test::ByteTokenizer>();
        return parts;
      },
      test::byte_decoders());
  ASSERT_TRUE(backend.load_model("fake", {}));
  std::vector<std::unique_ptr<TokenStream>> streams;
  for (int i = 0; i < 4; ++i) {
    streams.push_back(start(backend, std::string(static_cast<size_t>(4 * i + 1), 'a'), greedy(30)));
  }
  for (auto& stream : streams) EXPECT_EQ(listen(*stream).ids.size(), 30u);
  EXPECT_EQ(fake.runner->num_mixed_regimes, 0);
}

TEST(ServingBackend, Masks) {
  ServingFake fake(answer_with("ab"));
  GenerateParams params = greedy(10);
  params.min_tokens = 4;
  auto result = fake.backend.generate_detailed("|", params);
  ASSERT_TRUE(result);
  EXPECT_GE(result->completion_tokens, 4);
  params = greedy(3);
  params.allowed_token_ids = {'x', 'y'};
  EXPECT_EQ(fake.backend.generate_detailed("|", params)->text, "xxx");
  params.banned_sequences = {{'x', 'x'}};
  EXPECT_EQ(fake.backend.generate_detailed("|", params)->text, "xyx");
  params.banned_sequences = {{'x'}, {'y'}};
  const auto none = fake.backend.generate_detailed("|", params);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kInvalidArgument);
}

TEST(ServingBackend, PromptScoresEvenWhenCached) {
  ServingFake fake(test::hash_token);
  const std::string text(40, 'z');
  GenerateParams params = greedy(2);
  params.prompt_logprobs = 1;
  const auto first = fake.backend.generate_detailed(text, params);
  const auto second = fake.backend.generate_detailed(text, params);
  ASSERT_TRUE(first && second);
  ASSERT_EQ(second->prompt_logprobs.size(), 41u);
  EXPECT_EQ(second->prompt_logprobs[0].rank, 0);
  for (size_t i = 1; i < 41; ++i) {
    EXPECT_EQ(second->prompt_logprobs[i].logprob, first->prompt_logprobs[i].logprob);
    EXPECT_EQ(second->prompt_logprobs[i].top_logprobs.size(), 1u);
    EXPECT_GE(second->prompt_logprobs[i].rank, 1);
  }
  params.max_tokens = 0;
  const auto score_only = fake.backend.generate_detailed(text, params);
  ASSERT_TRUE(score_only);
  EXPECT_EQ(score_only->prompt_logprobs.size(), 41u);
  EXPECT_EQ(score_only->completion_tokens, 0);
}

TEST(ServingBackend, CancelFreesEverything) {
  ServingFake fake(answer_with(std::string(200, 'a')));
  fake.runner->step_time = 1ms;
  auto stream = start(fake.backend, "|", greedy(200));
  ASSERT_TRUE(stream->next());
  stream->cancel();
  const Heard heard = listen(*stream);
  EXPECT_EQ(heard.result->finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(fake.backend.stats()->kv_pages_used, 0);
  start(fake.backend, "|", greedy(200)).reset();  // dropped without a word
  EXPECT_TRUE(eventually([&] { return fake.backend.stats()->running == 0; }));
}

TEST(ServingBackend, DeadlinesAndPriorities) {
  ServingFake fake(answer_with(std::string(200, 'a')), small_config(64, 1));
  fake.runner->step_time = 2ms;
  auto long_one = start(fake.backend, "|", greedy(100), with_timeouts(0ms, 40ms));
  ASSERT_TRUE(long_one->next());  // it runs, the others wait
  auto late = start(fake.backend, "a|", greedy(2), with_priority(5));
  auto soon = start(fake.backend, "b|", greedy(2), with_priority(-5));
  auto hopeless = start(fake.backend, "c|", greedy(2), with_timeouts(5ms, 0ms));
  const Heard hopeless_heard = listen(*hopeless);
  EXPECT_EQ(hopeless_heard.result->finish_reason, FinishReason::kDeadline);
  const Heard long_heard = listen(*long_one);
  EXPECT_EQ(long_heard.result->finish_reason, FinishReason::kDeadline);
  EXPECT_GT(long_heard.result->completion_tokens, 0);
  const Heard soon_heard = listen(*soon);
  const Heard late_heard = listen(*late);
  EXPECT_LT(soon_heard.result->timings.queue_seconds, late_heard.result->timings.queue_seconds);
}

TEST(ServingBackend, AFullQueueRefuses) {
  ServingConfig config = small_config(64, 1);
  config.max_waiting_requests = 2;
  ServingFake fake(answer_with(std::string(200, 'a')), config);
  fake.runner->step_time = 1ms;
  std::vector<std::unique_ptr<TokenStream>> streams;
  for (int i = 0; i < 3; ++i) streams.push_back(start(fake.backend, "|", greedy(200)));
  const auto refused = fake.backend.generate_stream("|", greedy(2));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  streams.clear();
  EXPECT_TRUE(eventually([&] { return fake.backend.generate_stream("|", greedy(2)).has_value(); }));
}

TEST(ServingBackend, ASlowConsumerHoldsOnlyItselfUp) {
  ServingFake fake(answer_with(std::string(900, 'a')), small_config(256, 4), 1024);
  auto slow = start(fake.backend, "s|", greedy(800));
  EXPECT_TRUE(eventually([&] { return fake.backend.stats()->generated_tokens >= 256; }));
  const Heard quick = listen(*start(fake.backend, "q|", greedy(500)));
  EXPECT_EQ(quick.ids.size(), 500u);
  EXPECT_LE(fake.backend.stats()->generated_tokens, 500u + 257u);
  EXPECT_EQ(listen(*slow).ids.size(), 800u);
}

TEST(ServingBackend, NotifiesUntilDestroyed) {
  ServingFake fake(answer_with("hello"));
  auto stream = start(fake.backend, "|", greedy(20));
  std::atomic<int> calls = 0;
  ASSERT_TRUE(stream->set_notify([&] { ++calls; }));
  std::string text;
  bool done = false;
  EXPECT_TRUE(eventually([&] {
    while (auto event = stream->try_next()) {
      if (auto* token = std::get_if<Token>(&*event)) text += token->text;
      done = done || std::holds_alternative<Done>(*event);
    }
    return done;
  }));
  EXPECT_EQ(text, "hello");
  EXPECT_GE(calls, 1);
}

TEST(ServingBackend, AFailingRequestEndsAlone) {
  ServingFake fake([](const std::vector<int32_t>& tokens) -> int32_t {
    return tokens[1] == '!' && tokens.size() > 6 ? -1 : 'a';
  });
  auto good = start(fake.backend, "ok", greedy(40));
  auto bad = start(fake.backend, "!", greedy(40));
  const Heard bad_heard = listen(*bad);
  ASSERT_TRUE(bad_heard.error);
  EXPECT_EQ(bad_heard.error->code, ErrorCode::kInternal);
  EXPECT_EQ(listen(*good).ids.size(), 40u);
  EXPECT_TRUE(fake.backend.stats()->alive);
}

TEST(ServingBackend, EmbeddingsAloneAndInABatch) {
  ServingFake fake(test::hash_token);
  std::vector<Prompt> inputs;
  for (int i = 0; i < 20; ++i)
    inputs.emplace_back(std::string(static_cast<size_t>(3 * i + 1), 'q'));
  auto busy = start(fake.backend, "x", greedy(100));
  const auto batch = fake.backend.get_embeddings_batch(inputs);
  ASSERT_TRUE(batch) << batch.error().message;
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_EQ(*fake.backend.get_embeddings(std::get<std::string>(inputs[i])), (*batch)[i]);
  }
  listen(*busy);
}

TEST(ServingBackend, UnloadEndsWhatRuns) {
  ServingFake fake(answer_with(std::string(250, 'a')));
  fake.runner->step_time = 1ms;
  auto running = start(fake.backend, "|", greedy(200));
  ASSERT_TRUE(running->next());
  fake.backend.unload_model();
  EXPECT_EQ(listen(*running).result->finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(fake.backend.generate("|", greedy(2)).error().code, ErrorCode::kUnavailable);
  EXPECT_FALSE(fake.backend.stats());
  ASSERT_TRUE(fake.backend.load_model("again", {}));
  EXPECT_TRUE(fake.backend.generate("|", greedy(2)));
  EXPECT_EQ(fake.backend.load_model("missing", {}).error().code, ErrorCode::kNotFound);
}

TEST(ServingBackend, SaltsSeparateAndCachedTokensAreCounted) {
  ServingFake fake(test::hash_token);
  const std::string prompt(30, 'p');
  const auto run = [&](const std::string& salt) {
    return listen(*start(fake.backend, prompt, greedy(2), with_salt(salt)))
        .result->cached_prompt_tokens;
  };
  EXPECT_EQ(run("a"), 0);
  EXPECT_EQ(run("a"), 24);
  EXPECT_EQ(run("b"), 0);
  EXPECT_EQ(run(""), 0);
}

TEST(ServingBackend, TheConfigurationsQuantizationReachesTheLoader) {
  ServingConfig config = small_config();
  IsqConfig isq;
  isq.method = IsqMethod::kGptq;
  isq.bits = 3;
  isq.group_size = 64;
  isq.symmetric = isq.rotate = true;
  isq.seed = 7;
  isq.calibration_samples = 9;
  isq.overrides = {{"down_proj", 8, 32}, {"head", 0, 0}};
  config.isq = {isq};
  LoadOptions seen;
  const auto loader = [&](const std::string&, const LoadOptions& options) -> Result<ModelParts> {
    seen = options;
    return fail(ErrorCode::kNotFound, "no model");
  };
  EXPECT_FALSE(ServingBackend(config, loader, test::byte_decoders()).load_model("x", {}));
  EXPECT_EQ(seen.isq, "gptq3:g64:sym:rot:seed7,down_proj=8:g32,head=keep");
  EXPECT_EQ(seen.calibration_samples, 9);

  config.isq = {isq, isq};
  EXPECT_FALSE(check_serving_config(config));
  config.isq = {isq};
  config.isq[0].bits = 5;
  EXPECT_FALSE(check_serving_config(config));
}

}  // namespace
}  // namespace ruvllm
