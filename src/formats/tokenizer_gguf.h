// The tokenizer in a GGUF file's metadata (tokenizer.ggml.*) -> TokenizerData: kinds "llama"
// (sentencepiece BPE), "t5" (sentencepiece Unigram) and "gpt2" (byte-level BPE, with the splits
// that tokenizer.ggml.pre names). Other kinds and unknown splits are refused by name.
//
// The result owns its data. Failure: one line naming the file and the key.
#pragma once

#include "formats/gguf.h"
#include "ruvllm/result.h"
#include "spec/tokenizer_data.h"

namespace ruvllm {

// kNotFound when the file holds no tokenizer.
Result<TokenizerData> read_gguf_tokenizer(const GgufFile& file);

}  // namespace ruvllm
