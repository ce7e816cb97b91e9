// A compiled PCRE2 regex (UTF, UCP, multi-line as Oniguruma has it) with limits on the steps of one
// match. A build without PCRE2 links a form whose make fails. Any thread.
#pragma once

#include <memory>
#include <string_view>

#include "base/function_ref.h"
#include "ruvllm/result.h"

namespace ruvllm {

class Pcre2Regex {
 public:
  virtual ~Pcre2Regex() = default;
  static Result<std::shared_ptr<const Pcre2Regex>> make(std::string_view regex);
  // All matches of well-formed text, left to right, without empty ones.
  virtual Status for_each_match(std::string_view text,
                                FunctionRef<void(size_t, size_t)> visit) const = 0;
};

}  // namespace ruvllm
