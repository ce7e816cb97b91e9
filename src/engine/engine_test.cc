// The engine's logic on a fake model: stop strings, finish reasons, KV reuse, streams, cancelling.
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <thread>

#include "base/rng.h"
#include "engine/edge_backend.h"
#include "engine/fake_model.h"
#include "engine/stop_filter.h"

namespace ruvllm {
namespace {

using test::answer_with;
using test::ByteDecoder;
using test::ByteTokenizer;
using test::FakeRunner;
using test::hash_token;

// A backend over a FakeRunner that the test can look into.
struct Fake {
  explicit Fake(test::NextToken next, int64_t max_seq_len = 256)
      : backend(test::fake_loader(runner, std::move(next), max_seq_len), test::byte_decoders()) {
    EXPECT_TRUE(backend.load_model("fake", {}));
  }

  FakeRunner* runner = nullptr;
  EdgeBackend backend;
};

GenerateParams greedy(int32_t max_tokens = 64) {
  return GenerateParams::greedy(max_tokens);
}

TEST(StopFilter, NeverShowsAPartOfAStop) {
  const std::vector<std::string> stops = {"STOP", "</s>", "aab", "TOPS"};
  const std::string texts[] = {"hello STOP world", "aaaaab rest", "a STO a", "</",
                               "xSTOPS",           "ST",          "STSTOP!", "no stop at all aa"};
  for (const std::string& text : texts) {
    // The oracle: cut the whole text at the match that completes first.
    size_t end = text.size();
    size_t best_end = std::string::npos;
    for (const std::string& stop : stops) {
      const size_t at = text.find(stop);
      if (at == std::string::npos) continue;
      if (at + stop.size() < best_end || (at + stop.size() == best_end && at < end)) {
        best_end = at + stop.size();
        end = at;
      }
    }
    const std::string expected = text.substr(0, end);
    for (uint64_t cut = 0; cut < 50; ++cut) {
      StopFilter filter(stops);
      std::string shown;
      for (size_t i = 0; i < text.size();) {
        const size_t n = 1 + random_bits(cut, 0, i) % 4;
        shown += filter.push(text.substr(i, n));
        EXPECT_EQ(expected.compare(0, shown.size(), shown), 0) << text << " shows " << shown;
        i += n;
      }
      shown += filter.flush();
      EXPECT_EQ(shown, expected);
      EXPECT_EQ(filter.matched(), best_end != std::string::npos);
    }
  }
}

TEST(StopFilter, HoldsBackOnlyWhatMayBecomeAStop) {
  StopFilter filter({"abcd"});
  EXPECT_EQ(filter.push("xxab"), "xx");
  EXPECT_EQ(filter.push("c"), "");
  EXPECT_EQ(filter.push("ab"), "abc");
  EXPECT_EQ(filter.flush(), "ab");
}

TEST(EdgeBackend, AnswersAndReportsWhy) {
  Fake fake(answer_with("naïve 日本"));
  auto result = fake.backend.generate_detailed("q|", greedy());
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->text, "naïve 日本");
  EXPECT_EQ(result->finish_reason, FinishReason::kStop);
  EXPECT_EQ(result->prompt_tokens, 3);  // BOS q |
  EXPECT_EQ(result->completion_tokens, 14);
  EXPECT_EQ(result->ids.back(), test::kFakeEos);

  result = fake.backend.generate_detailed("q|", greedy(3));
  EXPECT_EQ(result->text, "na\xc3");  // flushed, as decode() of the ids would show it
  EXPECT_EQ(result->finish_reason, FinishReason::kLength);

  GenerateParams params = greedy();
  params.stop = {"e \xe6\x97\xa5"};
  result = fake.backend.generate_detailed("q|", params);
  EXPECT_EQ(result->text, "naïv");
  EXPECT_EQ(result->matched_stop, "e \xe6\x97\xa5");
  EXPECT_EQ(result->finish_reason, FinishReason::kStop);

  params = greedy();
  params.stop_token_ids = {'v'};
  params.ignore_eos = true;
  result = fake.backend.generate_detailed("q|", params);
  EXPECT_EQ(result->text, "naï");
  EXPECT_EQ(result->ids.back(), 'v');
  EXPECT_EQ(result->matched_stop_id, 'v');

  params = greedy(20);
  params.ignore_eos = true;
  result = fake.backend.generate_detailed("q|", params);
  EXPECT_EQ(result->completion_tokens, 20);
  EXPECT_EQ(result->text, "naïve 日本");

  EXPECT_EQ(fake.backend.generate_detailed("q|", greedy(0))->completion_tokens, 0);
}

TEST(EdgeBackend, LogprobsWhenAsked) {
  Fake fake(answer_with("hi"));
  GenerateParams params = greedy();
  params.top_logprobs = 2;
  const auto result = fake.backend.generate_detailed("|", params);
  ASSERT_EQ(result->tokens.size(), 3u);
  const double expected = 20.0 - std::log(std::exp(20.0) + test::kFakeVocab - 1);
  EXPECT_NEAR(*result->tokens[0].logprob, expected, 1e-6);
  ASSERT_EQ(result->tokens[0].top_logprobs.size(), 2u);
  EXPECT_EQ(result->tokens[0].top_logprobs[0].id, 'h');
  EXPECT_EQ(result->tokens[0].top_logprobs[1].id, 0);
  EXPECT_EQ(result->tokens[0].text, "h");
  EXPECT_TRUE(fake.backend.generate_detailed("|", greedy())->tokens.empty());
}

TEST(EdgeBackend, AFullContextEndsWithLength) {
  Fake fake(hash_token, 40);
  const auto result = fake.backend.generate_detailed("0123456789", greedy(1000));
  EXPECT_EQ(result->finish_reason, FinishReason::kLength);
  EXPECT_EQ(result->prompt_tokens + result->completion_tokens, 40);
  EXPECT_EQ(fake.backend.generate_detailed(std::string(39, 'x'), greedy(9))->completion_tokens, 0);
  const auto too_long = fake.backend.generate_detailed(std::string(40, 'x'), greedy());
  ASSERT_FALSE(too_long);
  EXPECT_NE(too_long.error().message.find("41 tokens"), std::string::npos);
}

TEST(EdgeBackend, KvGrowsWithTheText) {
  Fake fake(hash_token, 1 << 20);
  ASSERT_TRUE(fake.backend.generate_detailed("1234567", greedy(5)));
  EXPECT_EQ(fake.runner->num_kv_blocks(), 2);  // 8 + 4 tokens in blocks of 8
  ASSERT_TRUE(fake.backend.generate_detailed("1234567", greedy(30)));
  EXPECT_EQ(fake.runner->num_kv_blocks(), 5);
}

TEST(EdgeBackend, ReusesThePrefixOfTheLastTurn) {
  Fake fake(hash_token, 4096);
  Fake fresh(hash_token, 4096);
  std::string chat = "system: be brief|";
  for (int turn = 0; turn < 5; ++turn) {
    chat += "question " + std::to_string(turn);
    const int64_t rows_before = fake.runner->num_rows;
    const auto result = fake.backend.generate_detailed(chat, greedy(25));
    ASSERT_TRUE(result);
    if (turn > 0) {
      EXPECT_LE(fake.runner->num_rows - rows_before, 25 + 12);
    }
    EXPECT_TRUE(fresh.backend.load_model("fake", {}));
    EXPECT_EQ(result->ids, fresh.backend.generate_detailed(chat, greedy(25))->ids);
    chat += result->text;
  }
  // The very same prompt computes its last token only.
  const int64_t rows_before = fake.runner->num_rows;
  const auto again = fake.backend.generate_detailed(chat, greedy(1));
  EXPECT_EQ(fake.backend.generate_detailed(chat, greedy(1))->ids, again->ids);
  EXPECT_EQ(fake.runner->num_rows - rows_before, 2);
  // A prompt that differs early, and a shorter one.
  for (const std::string& other : {"system: be quick|" + chat, chat.substr(0, 30)}) {
    EXPECT_TRUE(fresh.backend.load_model("fake", {}));
    EXPECT_EQ(fake.backend.generate_detailed(other, greedy(9))->ids,
              fresh.backend.generate_detailed(other, greedy(9))->ids);
  }
}

TEST(EdgeBackend, ANewRotaryRegimeIsComputedAnew) {
  Fake fake(hash_token, 4096);
  fake.runner->regime_limit = 30;
  Fake plain(hash_token, 4096);
  const auto crossing = fake.backend.generate_detailed("0123456789", greedy(60));
  EXPECT_EQ(crossing->ids, plain.backend.generate_detailed("0123456789", greedy(60))->ids);
  EXPECT_EQ(fake.runner->num_mixed_regimes, 0);
  EXPECT_GT(fake.runner->num_rows, plain.runner->num_rows);
  // Back to a short prompt with the same beginning: the long keys are of no use.
  ASSERT_TRUE(fake.backend.generate_detailed("0123456789", greedy(5)));
  EXPECT_EQ(fake.runner->num_mixed_regimes, 0);
}

TEST(EdgeBackend, OutOfMemoryIsAnError) {
  Fake fake(hash_token, 4096);
  fake.runner->block_limit = 3;
  const auto result = fake.backend.generate_detailed("0123456789", greedy(100));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kOutOfMemory);
  EXPECT_TRUE(fake.backend.generate_detailed("0123456789", greedy(5)));
}

TEST(EdgeBackend, StreamsTheSameText) {
  Fake fake(answer_with("one two STOP three"));
  GenerateParams params = greedy();
  params.stop = {"STOP"};
  auto stream = fake.backend.generate_stream("|", params);
  ASSERT_TRUE(stream);
  std::string text;
  std::optional<GenerateResult> result;
  while (auto event = (*stream)->next()) {
    if (const auto* token = std::get_if<Token>(&*event)) text += token->text;
    if (auto* done = std::get_if<Done>(&*event)) result = done->result;
  }
  EXPECT_EQ(text, "one two ");
  ASSERT_TRUE(result);
  EXPECT_EQ(result->text, text);
  EXPECT_FALSE((*stream)->next());
  EXPECT_FALSE((*stream)->try_next());
  EXPECT_FALSE((*stream)->recv_timeout(std::chrono::milliseconds(1)));
}

TEST(EdgeBackend, CancelEndsWithinOneToken) {
  Fake fake(hash_token, 100000);
  fake.runner->step_time = std::chrono::milliseconds(2);
  auto stream = fake.backend.generate_stream("|", greedy(100000));
  ASSERT_TRUE(stream);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE((*stream)->next());
  std::thread([&] { (*stream)->cancel(); }).join();
  const int64_t steps = fake.runner->num_steps;
  std::optional<GenerateResult> result;
  while (auto event = (*stream)->next()) {
    if (auto* done = std::get_if<Done>(&*event)) result = done->result;
  }
  ASSERT_TRUE(result);
  EXPECT_EQ(result->finish_reason, FinishReason::kCancelled);
  EXPECT_LE(fake.runner->num_steps, steps + 1);
}

TEST(EdgeBackend, AStreamNobodyReadsIsBoundedAndCanBeDropped) {
  Fake fake(hash_token, 100000);
  auto first = fake.backend.generate_stream("|", greedy(100000));
  ASSERT_TRUE(first);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_LE(fake.runner->num_steps, 260);
  // A second one waits, and can be cancelled while it does.
  auto second = fake.backend.generate_stream("|", greedy(3));
  ASSERT_TRUE(second);
  EXPECT_FALSE((*second)->recv_timeout(std::chrono::milliseconds(5)));
  (*second)->cancel();
  const auto event = (*second)->next();
  ASSERT_TRUE(event);
  ASSERT_TRUE(std::holds_alternative<Done>(*event));
  EXPECT_EQ(std::get<Done>(*event).result.finish_reason, FinishReason::kCancelled);
  first->reset();
  EXPECT_EQ(fake.backend.generate_detailed("|", greedy(3))->completion_tokens, 3);
}

TEST(EdgeBackend, ManyCallersTakeTurns) {
  Fake fake(hash_token, 4096);
  Fake alone(hash_token, 4096);
  const auto expected = alone.backend.generate_detailed("abc|", greedy(20))->ids;
  std::vector<std::thread> threads;
  std::atomic<int> same{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 5; ++j) {
        const auto result = fake.backend.generate_detailed("abc|", greedy(20));
        if (result && result->ids == expected) ++same;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(same, 40);
}

TEST(EdgeBackend, UnloadCancelsAndStreamsOutliveTheBackend) {
  std::unique_ptr<TokenStream> stream;
  {
    Fake fake(hash_token, 100000);
    stream = *fake.backend.generate_stream("|", greedy(100000));
    ASSERT_TRUE(stream->next());
    fake.backend.unload_model();
    EXPECT_FALSE(fake.backend.is_model_loaded());
    EXPECT_EQ(fake.backend.generate("x", greedy()).error().code, ErrorCode::kUnavailable);
    EXPECT_EQ(fake.backend.model_info().error().code, ErrorCode::kUnavailable);
  }
  std::optional<GenerateResult> result;
  while (auto event = stream->next()) {
    if (auto* done = std::get_if<Done>(&*event)) result = done->result;
  }
  ASSERT_TRUE(result);
  EXPECT_EQ(result->finish_reason, FinishReason::kCancelled);
}

TEST(EdgeBackend, EmbeddingsAreTheNormalizedMean) {
  Fake fake(hash_token, 64);
  const std::string text = "some text of more than one step";
  const auto found = fake.backend.get_embeddings(text);
  ASSERT_TRUE(found) << found.error().message;
  const auto ids = *ByteTokenizer().encode(text, true);
  std::vector<double> mean(4);
  for (size_t i = 0; i < ids.size(); ++i) {
    for (size_t j = 0; j < 4; ++j) {
      mean[j] += ids[i] * static_cast<double>(j + 1) + static_cast<double>(i + 1);
    }
  }
  double norm = 0.0;
  for (const double m : mean) norm += m * m;
  for (size_t j = 0; j < 4; ++j) EXPECT_NEAR((*found)[j], mean[j] / std::sqrt(norm), 1e-6);
  const auto too_long = fake.backend.get_embeddings(std::string(64, 'x'));
  ASSERT_FALSE(too_long);
  EXPECT_EQ(too_long.error().code, ErrorCode::kInvalidArgument);
  // The cache the embedding left behind is no part of the next answer.
  Fake fresh(hash_token, 64);
  EXPECT_EQ(fake.backend.generate_detailed(text, greedy(5))->ids,
            fresh.backend.generate_detailed(text, greedy(5))->ids);
}

TEST(EdgeBackend, RefusesInOneSentence) {
  Fake fake(hash_token);
  const auto message = [](const auto& result) {
    return result ? std::string("accepted") : result.error().message;
  };
  EXPECT_EQ(message(fake.backend.generate_detailed(std::vector<int32_t>{}, greedy())),
            "the prompt is empty");
  EXPECT_NE(message(fake.backend.generate_detailed(std::vector<int32_t>{1, 5000}, greedy()))
                .find("token 5000"),
            std::string::npos);
  GenerateParams params = greedy();
  params.top_p = 7;
  EXPECT_NE(message(fake.backend.generate_detailed("x", params)).find("top_p is 7"),
            std::string::npos);
  ASSERT_TRUE(fake.backend.load_model("textless", {}));
  EXPECT_EQ(message(fake.backend.generate_detailed("x", greedy())),
            "textless: the model has no tokenizer");
  EXPECT_TRUE(fake.backend.generate_detailed(std::vector<int32_t>{1, 2}, greedy()));
  params = greedy();
  params.stop = {"x"};
  EXPECT_NE(message(fake.backend.generate_detailed(std::vector<int32_t>{1}, params))
                .find("stop strings need a tokenizer"),
            std::string::npos);
  EXPECT_FALSE(fake.backend.load_model("missing", {}));
  EXPECT_FALSE(fake.backend.is_model_loaded());
}

}  // namespace
}  // namespace ruvllm
