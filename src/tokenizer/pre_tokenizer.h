// Cuts normalized text into the words that the model encodes one by one: the stages of the
// tokenizer file in order, each applied to every piece of the one before.
//
// Constant after make; any thread. No allocation per word for the usual stages (a known regex,
// ByteLevel). split fails only where a PCRE2 regex hits its limits.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "ruvllm/result.h"
#include "spec/tokenizer_data.h"

namespace ruvllm {

class PreTokenizerChain {
 public:
  // With raw_bytes a final ByteLevel stage leaves bytes as they are instead of writing letters.
  static Result<PreTokenizerChain> make(const std::vector<PreTokenizer>& stages, bool raw_bytes);

  // `at_start`: the text is the beginning of the whole input (Metaspace "first").
  Status split(std::string_view text, bool at_start,
               FunctionRef<void(std::string_view)> word) const;

  class Stage;

 private:
  Status run(size_t stage, std::string_view text, bool at_start,
             FunctionRef<void(std::string_view)> word) const;

  std::vector<std::shared_ptr<const Stage>> stages_;
};

}  // namespace ruvllm
