// Prompts as the engine takes them: text and chat messages to token ids, with the request's options
// (template, special tokens, truncation, banned words) applied. Any thread; calls only the
// backend's constant parts (tokenizer, chat template).
#pragma once

#include <string>
#include <vector>

#include "ruvllm/backend.h"
#include "server/api_request.h"

namespace ruvllm::server {

struct EncodedPrompt {
  std::vector<int32_t> ids;
  std::string text;  // what `echo` shows; empty when nothing asked for it
};

// Sets request.params.max_tokens and banned_sequences, too.
Api<std::vector<EncodedPrompt>> encode_prompts(CompletionRequest& request, LlmBackend& backend,
                                               const ModelFacts& facts);
Api<EncodedPrompt> encode_chat(ChatRequest& request, LlmBackend& backend, const ModelFacts& facts);
// The ids of the messages alone, whatever their number.
Api<std::vector<int32_t>> encode_messages(const ChatRequest& request, LlmBackend& backend);
Api<const Tokenizer*> tokenizer_of(LlmBackend& backend);

}  // namespace ruvllm::server
