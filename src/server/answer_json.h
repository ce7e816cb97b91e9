// The JSON of completion and chat answers, whole and in chunks, written straight into a string.
// Pure functions of their arguments.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ruvllm/backend.h"
#include "server/api_request.h"

namespace ruvllm::server {

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;
};

// Writes the parts of answers to one request.
class AnswerWriter {
 public:
  // `id`, model and time are the same in all chunks. The tokenizer must outlive the writer.
  AnswerWriter(const GenerationRequest& request, const Tokenizer& tokenizer, std::string id,
               std::string_view model, int64_t created);

  const std::string& id() const { return id_; }

  // {"id":...,"object":...,"created":...,"model":...,"choices":[
  void open(std::string& out, bool is_chunk) const;
  // ],"usage":...}  (nullopt: without usage; `null_usage`: "usage":null)
  void close(std::string& out, const std::optional<Usage>& usage, bool null_usage = false) const;
  void usage(std::string& out, const Usage& usage) const;

  // Of a completion:
  // {"tokens":[...],"token_logprobs":[...],"top_logprobs":[...],"text_offset":[...]} `prompt`:
  // scored tokens that come first. `offset`: characters before, moved on.
  void completion_logprobs(std::string& out, std::span<const PromptToken> prompt,
                           std::span<const Token> tokens, int64_t& offset) const;
  // Of a chat: {"content":[...]}
  void chat_logprobs(std::string& out, std::span<const Token> tokens) const;
  void prompt_logprobs(std::string& out, std::span<const PromptToken> prompt) const;

 private:
  void token_text(std::string& out, int32_t id) const;  // as a JSON string
  void top_object(std::string& out, int32_t id, float logprob,
                  const std::vector<TokenLogprob>& top) const;
  bool is_left_out(int32_t id) const;
  void chat_entry(std::string& out, int32_t id, float logprob) const;

  const GenerationRequest& request_;
  const Tokenizer& tokenizer_;
  std::string id_;
  std::string head_tail_;  // ,"created":...,"model":...
};

void append_ids(std::string& out, std::span<const int32_t> ids);
// Unicode characters of `text` (ill-formed bytes count one each).
int64_t num_characters(std::string_view text);
std::string_view finish_name(FinishReason reason);
// {"experts":[...],"first_completion_row":...,"rows":[[...],...]}, with "modules" when rows hold a
// list for each of them; or null.
void append_gates(std::string& out, const GenerateResult& result);
// null, the stop string, or the id of the stop token.
void append_stop_reason(std::string& out, const GenerateResult& result);

}  // namespace ruvllm::server
