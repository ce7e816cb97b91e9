// sentencepiece's own normalizer: the character map (longest rule first), then runs of spaces, the
// dummy prefix and U+2581 for spaces, in one pass. Constant after make; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ruvllm/result.h"
#include "spec/tokenizer_data.h"
#include "tokenizer/byte_trie.h"
#include "tokenizer/charsmap.h"

namespace ruvllm {

class SpmNormalizer {
 public:
  // `user_defined`: pieces that are left untouched.
  static Result<SpmNormalizer> make(const NormalizeSpmWhitespace& options,
                                    const std::vector<std::string>& user_defined);
  std::string apply(std::string_view text) const;

 private:
  struct Piece {
    size_t length;          // of the text
    std::string_view text;  // what it becomes
  };
  Piece next(std::string_view text, size_t from) const;

  NormalizeSpmWhitespace options_;
  std::optional<Charsmap> map_;
  ByteTrie user_defined_;
};

}  // namespace ruvllm
