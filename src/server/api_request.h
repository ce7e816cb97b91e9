// The bodies of /v1/completions and /v1/chat/completions as values: every field of the promised
// surface is read here, obeyed or refused by name. Pure functions; no backend calls.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/json.h"
#include "ruvllm/backend.h"
#include "server/api_error.h"

namespace ruvllm::server {

// What the requests of this server may refer to.
struct ModelFacts {
  std::vector<std::string> names;  // it may be called by any of them; answers name the first
  std::string root;                // what was loaded
  int64_t created = 0;
  int64_t max_seq_len = 0;
  int32_t vocab_size = 0;
  BackendFeatures features;
  std::function<bool(std::string_view)> is_adapter;  // empty: there are none
};

constexpr int32_t kMaxChoices = 128;   // n
constexpr size_t kMaxPrompts = 256;    // in one request
constexpr size_t kMaxSequences = 512;  // prompts * n
constexpr int32_t kMaxLogprobs = 20;
constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 1024;
constexpr size_t kMaxStopIds = 1024;
constexpr size_t kMaxLogitBias = 1024;
constexpr size_t kMaxBadWords = 256;
constexpr size_t kMaxAdapters = 16;  // added up in one request

// What both kinds of request have in common.
struct GenerationRequest {
  // The model that the request names is this adapter, or a sum of some; "": a base name.
  std::string adapter;
  bool is_chat = false;
  GenerateParams params;  // max_tokens is set by max_tokens_for()
  int32_t n = 1;
  std::optional<int64_t> max_tokens;  // as asked
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
  int32_t logprobs = -1;         // -1: none; k: of the chosen token and the k best
  int32_t prompt_logprobs = -1;  // as asked; params.prompt_logprobs may be more (echo)
  bool echo = false;
  bool return_token_ids = false;
  bool tokens_as_ids = false;  // "token_id:N" in place of token texts
  bool add_special_tokens = false;
  std::optional<int64_t> truncate_prompt;  // keep the last so many tokens
  std::vector<std::string> bad_words;
  int64_t priority = 0;
  std::string cache_salt;
  std::string request_id;  // of the body; "": none
};

// One prompt of a request: text to encode, or ids.
using PromptInput = std::variant<std::string, std::vector<int32_t>>;

struct CompletionRequest : GenerationRequest {
  std::vector<PromptInput> prompts;
};

struct ChatRequest : GenerationRequest {
  std::string messages_json;   // content as strings
  std::string variables_json;  // chat_template_kwargs, or ""
  bool add_generation_prompt = true;
  bool continue_final_message = false;
  std::string final_content;  // of the last message
};

// The adapter a request names as its model; "" when it names none or the base model. Else 404.
Api<std::string> read_model(const Json& body, const ModelFacts& facts);

Api<CompletionRequest> read_completion(const Json& body, const ModelFacts& facts);
Api<ChatRequest> read_chat(const Json& body, const ModelFacts& facts);
// The messages part alone, for /tokenize.
Api<ChatRequest> read_messages(const Json& body);
// "prompt" or "input": a string, a list of strings, of ids, or of lists of ids.
Api<std::vector<PromptInput>> read_prompts(const Json& body, std::string_view name,
                                           const ModelFacts& facts);

// Checks a prompt's length and sets params.max_tokens; at most what the context has left.
Api<void> fit_to_context(GenerationRequest& request, size_t prompt_tokens, const ModelFacts& facts);

}  // namespace ruvllm::server
