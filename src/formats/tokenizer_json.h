// Hugging Face's tokenizer.json -> TokenizerData: models BPE and Unigram, and every normalizer,
// pre-tokenizer, post-processor and decoder that TokenizerData can say. What it cannot (WordPiece,
// WordLevel, dropout, ...) is refused by name: a tokenizer is never read half right.
//
// No state. Failure: one line naming `name` (the file), the field, found and expected.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "ruvllm/result.h"
#include "spec/tokenizer_data.h"

namespace ruvllm {

// `name` stands in messages.
Result<TokenizerData> parse_tokenizer_json(std::string_view text, const std::string& name);

// One entry of "added_tokens" (or of tokenizer_config's "added_tokens_decoder", where the id is the
// key): its content and flags. `json` is an object.
Result<AddedToken> parse_added_token(const Json& json, const std::string& where);

}  // namespace ruvllm
