// Thousands of short requests at random: shared beginnings, several answers to one prompt,
// priorities, salts, deadlines, cancelled and dropped streams, a pool of 30 % of what the live ones
// need. Every answer is compared with the one the same prompt gets alone; pages are checked all
// along; at the end nothing is left, and memory has not grown.
//
// RUVLLM_SOAK_REQUESTS sets how many (scripts/test-long soak: 20,000); few without it.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "base/rng.h"
#include "engine/random_model.h"
#include "engine/serving_test_util.h"

namespace ruvllm {
namespace {

constexpr int32_t kBlockTokens = 8;
constexpr size_t kLive = 48;
constexpr int32_t kMaxNew = 48;
constexpr uint64_t kSeed = 20260101;

int64_t requests_wanted(int64_t few) {
  const char* text = std::getenv("RUVLLM_SOAK_REQUESTS");
  return text != nullptr ? std::atoll(text) : few;
}

// Of this process, now.
uint64_t resident_memory_bytes() {
  unsigned long long pages = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "r"); file != nullptr) {
    if (std::fscanf(file, "%*u %llu", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return pages * 4096;
}

// 96 prompts: three of four begin like others.
std::vector<std::vector<int32_t>> make_prompts() {
  std::vector<std::vector<int32_t>> prompts(96);
  for (size_t i = 0; i < prompts.size(); ++i) {
    const uint64_t family = i % 4 == 0 ? 100 + i : i % 5;
    const uint64_t shared = random_bits(kSeed, 1, family) % 33;
    const uint64_t own = 1 + random_bits(kSeed, 2, i) % 16;
    for (uint64_t t = 0; t < shared; ++t) {
      prompts[i].push_back(static_cast<int32_t>('a' + random_bits(kSeed, family + 1000, t) % 26));
    }
    for (uint64_t t = 0; t < own; ++t) {
      prompts[i].push_back(static_cast<int32_t>('a' + random_bits(kSeed, i + 2000, t) % 26));
    }
  }
  return prompts;
}

ServingConfig config_of(int32_t blocks) {
  ServingConfig config;
  config.paged_attention.block_size = kBlockTokens;
  config.paged_attention.max_blocks = blocks;
  config.max_concurrent_requests = 32;
  config.max_batched_tokens = 64;
  return config;
}

std::unique_ptr<ServingBackend> open(const ModelLoader& loader, int32_t blocks) {
  auto backend = std::make_unique<ServingBackend>(config_of(blocks), loader, test::byte_decoders(),
                                                  [](EnginePlan& plan) { plan.check_every = 16; });
  LoadOptions options;
  options.threads = 2;
  const Status status = backend->load_model("soak", options);
  EXPECT_TRUE(status) << (status ? "" : status.error().message);
  return backend;
}

GenerateParams greedy(int32_t max_tokens) {
  GenerateParams params = GenerateParams::greedy(max_tokens);
  params.ignore_eos = true;
  return params;
}

// The driver: keeps kLive streams going and does something to some of them.
class Soak {
 public:
  explicit Soak(const ModelLoader& loader) : prompts_(make_prompts()) {
    const auto alone = open(loader, 1024);
    int64_t pages = 0;
    for (const auto& prompt : prompts_) {
      const auto result = alone->generate_detailed(prompt, greedy(kMaxNew));
      EXPECT_TRUE(result);
      answers_.push_back(result->ids);
      pages +=
          (static_cast<int64_t>(prompt.size()) + kMaxNew / 2 + kBlockTokens - 1) / kBlockTokens;
    }
    const double need = static_cast<double>(pages) / static_cast<double>(prompts_.size()) * kLive;
    backend_ = open(loader, static_cast<int32_t>(0.3 * need));
  }

  void run(int64_t requests) {
    uint64_t warm_bytes = 0;
    while ((num_started_ < requests || !live_.empty()) && num_silent_ < 30000) {
      while (live_.size() < kLive && num_started_ < requests) start();
      listen();
      if (warm_bytes == 0 && num_started_ > requests / 4) warm_bytes = resident_memory_bytes();
      if (testing::Test::HasFatalFailure()) return;
    }
    EXPECT_TRUE(test::eventually([&] {  // dropped streams end within a step
      const EngineStats stats = *backend_->stats();
      return stats.running + stats.waiting + stats.kv_pages_used == 0;
    }));
    const EngineStats stats = *backend_->stats();
    EXPECT_TRUE(stats.alive);
    EXPECT_GT(stats.preemptions, 0u);
    EXPECT_GT(stats.prefix_hit_tokens, 0u);
    EXPECT_GT(num_whole_, requests / 2);
    EXPECT_GT(num_cancelled_, 0);
    const uint64_t bytes = resident_memory_bytes();
    std::printf(
        "%lld requests: %lld whole, %lld cut short, %llu preemptions, %llu steps, RSS %llu "
        "-> %llu KiB\n",
        static_cast<long long>(requests), static_cast<long long>(num_whole_),
        static_cast<long long>(num_cancelled_), static_cast<unsigned long long>(stats.preemptions),
        static_cast<unsigned long long>(stats.steps),
        static_cast<unsigned long long>(warm_bytes >> 10),
        static_cast<unsigned long long>(bytes >> 10));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    if (requests >= 5000) {
      EXPECT_LT(bytes, warm_bytes + (uint64_t{2} << 20));
    }
#endif
  }

 private:
  struct Live {
    std::unique_ptr<TokenStream> stream;
    size_t prompt = 0;
    int32_t max_tokens = 0;
    bool sampled = false;
    // Tokens after which the driver gives it up, by a word or without; max_tokens: never. Decided
    // at the start, so that a slow build disturbs the same requests as a fast one.
    int32_t ends_at = 0;
    bool drops = false;
    std::vector<int32_t> ids;
  };

  uint64_t draw(uint64_t bound) { return random_bits(kSeed, 3, num_drawn_++) % bound; }

  // A prompt with one answer, or with several that share its pages.
  void start() {
    const size_t prompt = draw(prompts_.size());
    const uint64_t copies = draw(8) == 0 ? 2 + draw(3) : 1;
    GenerateParams params = greedy(1 + static_cast<int32_t>(draw(kMaxNew)));
    RequestOptions options;
    options.priority = static_cast<int64_t>(draw(5)) - 2;
    if (draw(10) == 0) options.cache_salt = draw(2) == 0 ? "a" : "b";
    if (draw(50) == 0) options.total_timeout = std::chrono::milliseconds(1 + draw(4));
    if (draw(50) == 0) options.queue_timeout = std::chrono::milliseconds(1 + draw(4));
    if (copies > 1) {
      params.temperature = 1.0f;
      params.seed = draw(1000);
    }
    auto streams =
        backend_->generate_answers(prompts_[prompt], params, static_cast<int32_t>(copies), options);
    ASSERT_TRUE(streams) << streams.error().message;
    for (std::unique_ptr<TokenStream>& stream : *streams) {
      const bool disturbed = draw(4) == 0;
      const auto ends_at = static_cast<int32_t>(draw(static_cast<uint64_t>(params.max_tokens)));
      live_.push_back({std::move(stream),
                       prompt,
                       params.max_tokens,
                       copies > 1,
                       disturbed ? ends_at : params.max_tokens,
                       draw(4) == 0,
                       {}});
      if (ends_at == 0 && disturbed && !give_up(live_.back())) live_.pop_back();
      ++num_started_;
    }
  }

  // False: without a word, the stream is to be dropped.
  bool give_up(Live& live) {
    if (!live.drops) {
      live.stream->cancel();
    } else {
      ++num_cancelled_;
    }
    return !live.drops;
  }

  // Takes whatever is there; when nothing is, waits for one of them.
  void listen() {
    bool heard = false;
    for (size_t i = live_.size(); i-- > 0;) {
      while (auto event = live_[i].stream->try_next()) {
        heard = true;
        if (take(live_[i], *event)) continue;
        live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(i));
        break;
      }
    }
    if (heard || live_.empty()) return;
    const size_t i = draw(live_.size());
    const auto event = live_[i].stream->recv_timeout(std::chrono::milliseconds(2));
    if (event) {
      num_silent_ = 0;
      if (!take(live_[i], *event)) live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(i));
    } else if (++num_silent_ >= 30000) {
      ADD_FAILURE() << live_.size() << " requests are stuck";
      live_.clear();
    }
  }

  // False: it was the last event, or nobody listens any more.
  bool take(Live& live, const StreamEvent& event) {
    num_silent_ = 0;
    if (const auto* token = std::get_if<Token>(&event)) {
      live.ids.push_back(token->id);
      const bool ends =
          live.ids.size() == static_cast<size_t>(live.ends_at) && live.ends_at < live.max_tokens;
      return !ends || give_up(live);
    }
    const auto* done = std::get_if<Done>(&event);
    EXPECT_NE(done, nullptr) << std::get<Error>(event).message;
    if (done == nullptr) return false;
    const GenerateResult& result = done->result;
    EXPECT_EQ(result.ids, live.ids);
    const bool whole = result.finish_reason == FinishReason::kLength;
    ++(whole ? num_whole_ : num_cancelled_);
    if (whole) {
      EXPECT_EQ(result.completion_tokens, live.max_tokens);
    }
    if (!live.sampled) {
      const std::vector<int32_t>& answer = answers_[live.prompt];
      EXPECT_TRUE(result.ids.size() <= answer.size() &&
                  std::equal(result.ids.begin(), result.ids.end(), answer.begin()))
          << "prompt " << live.prompt;
    }
    return false;
  }

  std::vector<std::vector<int32_t>> prompts_;
  std::vector<std::vector<int32_t>> answers_;  // of kMaxNew tokens, each computed alone
  std::unique_ptr<ServingBackend> backend_;
  std::vector<Live> live_;
  uint64_t num_drawn_ = 0;
  int64_t num_started_ = 0;
  int64_t num_whole_ = 0;
  int64_t num_cancelled_ = 0;
  int num_silent_ = 0;
};

// A model that notices any page that holds the wrong token.
TEST(ServingSoak, FakeModel) {
  const ModelLoader loader = [](const std::string& name, const LoadOptions&) -> Result<ModelParts> {
    ModelParts parts;
    parts.name = name;
    auto runner = std::make_unique<test::FakeRunner>(256, test::hash_token);
    runner->step_rows = 64;
    parts.runner = std::move(runner);
    parts.tokenizer = std::make_unique<test::ByteTokenizer>();
    return parts;
  };
  Soak(loader).run(requests_wanted(1000));
}

// Real kernels on two threads, random weights.
TEST(ServingSoak, SmallLlama) {
  const auto checkpoint = make_random_checkpoint(*find_shape("llama-tiny"), DType::kF32, 1);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const ModelLoader loader = [&](const std::string& name, const LoadOptions& options) {
    LoaderSettings settings;
    settings.max_step_rows = 64;
    settings.kv_block_tokens = kBlockTokens;
    return load_model_parts(name, *checkpoint, options, settings);
  };
  Soak(loader).run(requests_wanted(300));
}

}  // namespace
}  // namespace ruvllm
