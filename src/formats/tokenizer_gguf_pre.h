// What a name in tokenizer.ggml.pre stands for.
#pragma once

#include <string_view>

#include "ruvllm/result.h"
#include "spec/tokenizer_data.h"

namespace ruvllm {

// Sets normalizers, pre_tokenizers and ignore_merges; `adds_bos` is whether such a tokenizer begins
// with BOS unless the file says otherwise. False when the name is not known.
bool apply_gguf_pre(std::string_view name, TokenizerData& data, bool& adds_bos);

}  // namespace ruvllm
