// Vocabularies of byte strings by rank -> TokenizerData: Mistral's tekken.json, and *.tiktoken
// files (lines of base64 and rank). A token's rank orders the merges; its text is kept in GPT-2's
// letters.
//
// No state. Failure: one line naming `name` (the file), the line or field, found and expected.
#pragma once

#include <string>
#include <string_view>

#include "ruvllm/result.h"
#include "spec/tokenizer_data.h"

namespace ruvllm {

Result<TokenizerData> parse_tekken(std::string_view text, const std::string& name);

// The file says nothing of its splitting regex: cl100k's, as Llama 3 and Qwen have it, the latter
// (when the name contains "qwen") with single digits. Special tokens stand elsewhere.
Result<TokenizerData> parse_tiktoken(std::string_view text, const std::string& name);
bool looks_like_tiktoken(std::string_view text);

}  // namespace ruvllm
