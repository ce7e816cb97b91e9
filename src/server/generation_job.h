// GenerationJob: one completion or chat request from its encoded prompts to its answer: it starts
// prompts x n generations, turns their events into JSON or server-sent events, and ends them when
// the client goes away.
//
// start() on any thread, once; then pump() on one thread at a time (the Pump's) until it says that
// the job is over. The backend, tokenizer and metrics must outlive it.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/answer_json.h"
#include "server/exchange.h"
#include "server/metrics.h"
#include "server/prompt_encoder.h"

namespace ruvllm::server {

struct JobContext {
  LlmBackend* backend = nullptr;
  const Tokenizer* tokenizer = nullptr;
  ServerMetrics* metrics = nullptr;
  ModelFacts facts;
  std::chrono::milliseconds queue_timeout{0};  // 0: none
  std::chrono::milliseconds total_timeout{0};
};

class GenerationJob : public std::enable_shared_from_this<GenerationJob> {
 public:
  using Clock = std::chrono::steady_clock;

  // `slot` is held until the job is over (admission control).
  GenerationJob(std::shared_ptr<Exchange> exchange, GenerationRequest request,
                std::vector<EncodedPrompt> prompts, std::shared_ptr<const JobContext> context,
                std::shared_ptr<void> slot);
  ~GenerationJob();

  // Queues the generations. On failure the exchange is not answered. `notify` (any thread, must
  // not block) means: pump() has work.
  Api<void> start(std::function<void()> notify);

  enum class Progress : uint8_t { kWaiting, kMore, kOver };
  // Handles what is ready; kMore: call again soon.
  Progress pump();
  bool is_over() const { return over_; }
  // Some of its streams cannot notify.
  bool needs_polling() const { return needs_polling_; }
  // Time limits and signs of life; about ten times a second. True: over.
  bool check_time(Clock::time_point now);
  // Ends it with an error (the server stops).
  void abort(const ApiError& error);

  // Of the Pump. What happens before `added` needs no wake-up: adding is one.
  std::atomic<bool> queued{false};
  std::atomic<bool> added{false};

 private:
  struct Choice {
    int32_t index = 0;
    size_t prompt = 0;
    std::unique_ptr<TokenStream> stream;
    bool is_running = false;
    bool is_done = false;
    int64_t num_tokens = 0;
    int64_t text_offset = 0;
    bool began = false;  // its first chunk was written
    Clock::time_point last_token;
    GenerateResult result;
  };

  Api<void> start_prompt(size_t prompt);
  RequestOptions engine_options() const;
  void on_event(Choice& choice, StreamEvent& event);
  void on_token(Choice& choice, const Token& token);
  void on_done(Choice& choice, GenerateResult&& result);
  void begin_stream();
  void begin_choice(Choice& choice);
  void write_chunk(Choice& choice, std::string_view text, const Token* token);
  void write_last_chunk(Choice& choice);
  void append_choice(std::string& out, Choice& choice);
  void append_own_fields(std::string& out, const Choice& choice) const;
  void append_result_fields(std::string& out, Choice& choice);
  void finish();
  void end_all(ServerMetrics::Finish reason);
  void fail(const ApiError& error);
  Usage usage() const;
  std::string whole_answer();

  std::shared_ptr<Exchange> exchange_;
  GenerationRequest request_;
  std::vector<EncodedPrompt> prompts_;
  std::shared_ptr<const JobContext> context_;
  std::shared_ptr<void> slot_;
  AnswerWriter writer_;
  std::function<void()> notify_;
  std::vector<Choice> choices_;
  std::vector<int64_t> cached_tokens_;  // per prompt
  std::string out_;                     // stream data of this pump()
  bool needs_polling_ = false;
  bool over_ = false;
  bool any_token_ = false;
  Clock::time_point last_write_;
};

// "cmpl-..." or "chatcmpl-...": the request's id, made visible in the answer's.
std::string answer_id(const Exchange& exchange, const GenerationRequest& request);

}  // namespace ruvllm::server
