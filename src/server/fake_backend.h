// FakeBackend: an LlmBackend without a model, for tests. Its tokenizer has one token per byte; the
// "model" answers with the prompt's bytes, upper-cased and repeated. It honours max_tokens, stop
// strings, seeds (they rotate the answer), priorities and deadlines only as far as tests look.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ruvllm/backend.h"

namespace ruvllm::test {

class ByteTokenizer final : public Tokenizer {
 public:
  Result<std::vector<int32_t>> encode(std::string_view text, bool) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string decode(const std::vector<int32_t>& ids, bool) const override {
    std::string text;
    for (const int32_t id : ids) text += static_cast<char>(id);
    return text;
  }
  int32_t vocab_size() const override { return 256; }
};

class PlainTemplate final : public ChatTemplate {
 public:
  Result<std::string> render(const std::vector<ChatMessage>&, bool) const override { return ""; }
  Result<std::string> render_json(std::string_view messages, std::string_view, std::string_view,
                                  bool add_generation_prompt) const override {
    return std::string(messages) + (add_generation_prompt ? ">" : "");
  }
};

class FakeBackend final : public LlmBackend {
 public:
  struct Behaviour {
    int64_t max_seq_len = 256;
    bool never_ends = false;  // streams give tokens until they are cancelled
    bool silent = false;      // streams give nothing until they are cancelled
    bool notifies = true;
    std::optional<Error> refuses;  // generate_stream fails
    BackendFeatures features = {true, true, true, true, true, true, true, true, true};
  } behaviour;

  std::atomic<int> num_streams{0};  // alive
  std::atomic<int> num_cancelled{0};
  std::atomic<bool> alive{true};
  GenerateParams last_params;  // of the latest generate_stream
  RequestOptions last_options;
  std::string adapter;  // the one there is; empty: none
  mutable std::mutex mutex;

  Status load_model(const std::string&, const LoadOptions&) override { return {}; }
  void unload_model() override {}
  bool is_model_loaded() const override { return true; }
  Result<ModelInfo> model_info() const override {
    ModelInfo info;
    info.name = "fake";
    info.max_seq_len = behaviour.max_seq_len;
    info.vocab_size = 256;
    info.hidden_size = 2;
    return info;
  }
  Result<const Tokenizer*> tokenizer() const override { return &tokenizer_; }
  Result<const ChatTemplate*> chat_template() const override { return &template_; }
  Status load_adapter(const std::string& name, const std::string& path, bool) override {
    if (path != "good") return fail(ErrorCode::kBadFile, "a bad adapter");
    const std::scoped_lock lock(mutex);
    adapter = name;
    return {};
  }
  Status unload_adapter(const std::string& name) override {
    const std::scoped_lock lock(mutex);
    if (adapter != name) return fail(ErrorCode::kNotFound, "no adapter of that name");
    adapter.clear();
    return {};
  }
  std::vector<AdapterInfo> adapters() const override {
    const std::scoped_lock lock(mutex);
    std::vector<AdapterInfo> out;
    if (!adapter.empty()) out.emplace_back().name = adapter;
    return out;
  }
  bool has_adapter(std::string_view name) const override {
    const std::scoped_lock lock(mutex);
    return !adapter.empty() && adapter == name;
  }
  Result<std::string> generate(const Prompt&, const GenerateParams&) override { return "x"; }
  Result<GenerateResult> generate_detailed(const Prompt&, const GenerateParams&) override {
    GenerateResult result;
    result.ids = {'x'};
    return result;
  }
  Result<std::unique_ptr<TokenStream>> generate_stream(const Prompt& prompt,
                                                       const GenerateParams& params) override {
    return generate_stream(prompt, params, {});
  }
  Result<std::unique_ptr<TokenStream>> generate_stream(const Prompt& prompt,
                                                       const GenerateParams& params,
                                                       const RequestOptions& options) override;
  BackendFeatures features() const override { return behaviour.features; }
  std::optional<EngineStats> stats() const override {
    EngineStats stats;
    stats.running = num_streams.load();
    stats.kv_page_tokens = 16;
    stats.kv_pages_total = 100;
    stats.alive = alive.load();
    return stats;
  }
  Result<std::vector<float>> get_embeddings(const std::string&) override {
    return std::vector<float>{1.0f, -0.5f};
  }
  Result<std::vector<std::vector<float>>> get_embeddings_batch(
      const std::vector<Prompt>& inputs) override {
    return std::vector<std::vector<float>>(inputs.size(), {1.0f, -0.5f});
  }

 private:
  ByteTokenizer tokenizer_;
  PlainTemplate template_;
};

class FakeStream final : public TokenStream {
 public:
  FakeStream(FakeBackend& backend, std::vector<int32_t> prompt, GenerateParams params)
      : backend_(backend), prompt_(std::move(prompt)), params_(std::move(params)) {
    backend_.num_streams.fetch_add(1);
  }
  ~FakeStream() override { backend_.num_streams.fetch_sub(1); }

  std::optional<StreamEvent> try_next() override {
    const auto step = static_cast<size_t>(result_.completion_tokens);
    if (ended_ || (backend_.behaviour.silent && !cancelled_)) return std::nullopt;
    if (cancelled_) return end(FinishReason::kCancelled);
    if (!result_.matched_stop.empty()) return end(FinishReason::kStop);
    if (result_.completion_tokens >= params_.max_tokens) return end(FinishReason::kLength);
    if (backend_.behaviour.never_ends) result_.completion_tokens = 0;
    Token token;
    const auto byte =
        static_cast<char>(prompt_[(step + params_.seed.value_or(0)) % prompt_.size()]);
    token.text = std::string(1, byte >= 'a' && byte <= 'z' ? static_cast<char>(byte - 32) : byte);
    token.id = static_cast<unsigned char>(token.text[0]);
    if (params_.top_logprobs >= 0) {
      token.logprob = -0.5f;
      for (int i = 0; i < params_.top_logprobs; ++i) token.top_logprobs.push_back({'a' + i, -1.0f});
    }
    for (const std::string& stop : params_.stop) {
      if (token.text == stop) {
        result_.matched_stop = stop;
        token.text.clear();
      }
    }
    ++result_.completion_tokens;
    result_.text += token.text;
    result_.ids.push_back(token.id);
    if (params_.top_logprobs >= 0) result_.tokens.push_back(token);
    return token;
  }
  std::optional<StreamEvent> recv_timeout(std::chrono::milliseconds) override { return try_next(); }
  std::optional<StreamEvent> next() override { return try_next(); }
  void cancel() override {
    if (!cancelled_.exchange(true)) backend_.num_cancelled.fetch_add(1);
  }
  bool set_notify(std::function<void()> notify) override {
    if (!backend_.behaviour.notifies) return false;
    notify();
    return true;
  }

 private:
  std::optional<StreamEvent> end(FinishReason reason) {
    ended_ = true;
    result_.finish_reason = reason;
    result_.prompt_tokens = static_cast<int64_t>(prompt_.size());
    if (params_.prompt_logprobs >= 0) {
      for (const int32_t id : prompt_)
        result_.prompt_logprobs.push_back({id, -1.0f, 3, {{65, -0.1f}}});
    }
    if (params_.gates != GateDetail::kNone) result_.gates = trace();
    return Done{std::move(result_)};
  }

  // Two experts that take turns.
  GateTrace trace() const {
    GateTrace trace;
    trace.experts = {"law", "poetry"};
    if (params_.gates == GateDetail::kModules) trace.modules = {"m"};
    trace.num_rows = result_.prompt_tokens + result_.completion_tokens - 1;
    for (int64_t i = 0; i < trace.num_rows; ++i) {
      trace.values.push_back(i % 2 == 0 ? 0.75f : 0.25f);
      trace.values.push_back(i % 2 == 0 ? 0.25f : 0.75f);
    }
    return trace;
  }

  FakeBackend& backend_;
  std::vector<int32_t> prompt_;
  GenerateParams params_;
  GenerateResult result_;
  std::atomic<bool> cancelled_{false};
  bool ended_ = false;
};

inline Result<std::unique_ptr<TokenStream>> FakeBackend::generate_stream(
    const Prompt& prompt, const GenerateParams& params, const RequestOptions& options) {
  if (behaviour.refuses) return std::unexpected(*behaviour.refuses);
  {
    const std::scoped_lock lock(mutex);
    last_params = params;
    last_options = options;
  }
  return std::make_unique<FakeStream>(*this, std::get<std::vector<int32_t>>(prompt), params);
}

}  // namespace ruvllm::test
