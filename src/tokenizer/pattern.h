// A pattern of a tokenizer file, literal or regex, ready to split text: by a hand-written scanner
// where the regex is known, else by PCRE2 with limits on its steps.
//
// Constant after make; any thread. make fails with kUnsupported when the regex is not known and
// this build has no PCRE2, or PCRE2 cannot read it. Only matching through PCRE2 can fail (the
// limits).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "ruvllm/result.h"
#include "spec/tokenizer_data.h"
#include "tokenizer/scanners.h"

namespace ruvllm {

class Pcre2Regex;  // pcre2_regex.h

struct Span {
  size_t begin = 0, end = 0;
  bool is_match = false;
};

class Pattern {
 public:
  static Result<Pattern> regex(std::string_view text);
  static Pattern literal(std::string text);
  // `text`'s scanner is not used: for tests.
  static Result<Pattern> regex_by_pcre2(std::string_view text);

  // Not null when matches cover every text without gaps.
  Scanner scanner() const { return scanner_; }

  // Calls visit for each match and each gap between matches, in order, which together are `text`;
  // empty ones are left out.
  Status for_each_span(std::string_view text, FunctionRef<void(Span)> visit) const;

 private:
  Status for_each_match(std::string_view text, FunctionRef<void(size_t, size_t)> visit) const;

  Scanner scanner_ = nullptr;
  Finder finder_ = nullptr;
  std::string literal_;
  std::shared_ptr<const Pcre2Regex> pcre2_;
};

// What a pre-tokenizer's Split makes of the spans of a text: the pieces that stay.
std::vector<Span> apply_behavior(const std::vector<Span>& spans, SplitBehavior behavior);

}  // namespace ruvllm
