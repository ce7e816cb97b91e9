// The normalizers of a tokenizer file, in order: text in, text out.
//
// Constant after make; any thread. Text must be well-formed UTF-8 and stays so. apply fails only
// where a PCRE2 regex hits its limits.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ruvllm/result.h"
#include "spec/tokenizer_data.h"

namespace ruvllm {

class NormalizerChain {
 public:
  // kUnsupported for the Unicode forms and for Precompiled in a build without utf8proc.
  // `user_defined`: pieces that sentencepiece's normalizer leaves untouched.
  static Result<NormalizerChain> make(const std::vector<Normalizer>& stages,
                                      const std::vector<std::string>& user_defined);

  bool empty() const { return stages_.empty(); }
  Status apply(std::string& text) const;

  class Stage;

 private:
  std::vector<std::shared_ptr<const Stage>> stages_;
};

}  // namespace ruvllm
