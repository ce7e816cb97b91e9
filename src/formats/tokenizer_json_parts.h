// The pipeline parts of a tokenizer.json: normalizer, pre_tokenizer, post_processor, decoder. Each
// function adds to `data` what the JSON value says; null adds nothing. Failure as in
// tokenizer_json.h.
#pragma once

#include <string>

#include "base/json.h"
#include "ruvllm/result.h"
#include "spec/tokenizer_data.h"

namespace ruvllm {

Status read_normalizer(const Json& json, const std::string& where, TokenizerData& data);
Status read_pre_tokenizer(const Json& json, const std::string& where, TokenizerData& data);
Status read_post_processor(const Json& json, const std::string& where, TokenizerData& data);
Status read_decoder(const Json& json, const std::string& where, TokenizerData& data);

}  // namespace ruvllm
