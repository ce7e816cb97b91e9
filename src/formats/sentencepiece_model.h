// sentencepiece's tokenizer.model -> TokenizerData. The file is a protocol buffer (ModelProto of
// sentencepiece_model.proto), of which the needed subset is read here by hand: pieces with scores
// and types, trainer_spec, normalizer_spec. Unknown fields are skipped, as the format wants.
//
// The result says `sentencepiece`: encoding follows that library, which looks for no control pieces
// in the text. WORD and CHAR models and denormalizers are refused by name. No state.
// Failure: one line naming `name` (the file), the field, found and expected.
#pragma once

#include <string>
#include <string_view>

#include "ruvllm/result.h"
#include "spec/tokenizer_data.h"

namespace ruvllm {

Result<TokenizerData> parse_sentencepiece_model(std::string_view bytes, const std::string& name);

// Completes data whose tokens, scores, kinds and normalizers are filled: the unknown piece, control
// pieces as special tokens, the decoder. Shared with the GGUF form of the same vocabularies.
Status finish_sentencepiece_data(const std::string& where, TokenizerData& data);

}  // namespace ruvllm
