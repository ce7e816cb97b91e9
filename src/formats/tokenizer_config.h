// The files beside a tokenizer in a Hugging Face directory: tokenizer_config.json,
// special_tokens_map.json, added_tokens.json, chat_template.jinja / .json. They complete a
// TokenizerData that was read from the tokenizer itself.
#pragma once

#include <string>

#include "ruvllm/result.h"
#include "spec/tokenizer_data.h"

namespace ruvllm {

// Each file of `directory` is optional; one that is there must be well formed.
Status apply_tokenizer_config(const std::string& directory, TokenizerData& data);

// The id of that text among added tokens, then the vocabulary; -1: none.
int32_t find_token_id(const TokenizerData& data, std::string_view text);

}  // namespace ruvllm
