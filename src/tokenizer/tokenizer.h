// Text to token ids and back, for every tokenizer that TokenizerData can describe.
//
// make_tokenizer checks the data and builds the lookup tables once; the result is immutable and may
// be used from any thread. encode never fails on any bytes (ill-formed UTF-8 is treated as U+FFFD
// where the original library would refuse it); it is O(n log n) at worst.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ruvllm/backend.h"
#include "ruvllm/result.h"
#include "spec/tokenizer_data.h"

namespace ruvllm {

// Fails with kUnsupported naming the part (a regex without a scanner in a build without PCRE2, a
// normalizer that needs utf8proc), with kBadFile when the data contradicts itself.
Result<std::unique_ptr<Tokenizer>> make_tokenizer(TokenizerData data);

// Turns ids into text piece by piece. The pieces joined, plus flush(), equal Tokenizer::decode of
// all ids; a piece never ends within a UTF-8 character. One generation each; not thread-safe. The
// tokenizer must outlive it. Cost per token does not grow with the number of tokens before.
class IncrementalDecoder {
 public:
  virtual ~IncrementalDecoder() = default;
  virtual std::string push(int32_t id) = 0;
  virtual std::string flush() = 0;
};

// `tokenizer` must come from make_tokenizer.
std::unique_ptr<IncrementalDecoder> make_incremental_decoder(const Tokenizer& tokenizer,
                                                             bool skip_special);

}  // namespace ruvllm
