// Hand-written forms of the splitting regexes that published tokenizers use. Each is the regex's
// exact meaning (leftmost, first alternative, greedy with backtracking) and is tested against
// PCRE2.
//
// A Scanner returns where the match that begins at `from` ends. Its pattern covers any text: some
// alternative matches at least one character everywhere. text is well-formed UTF-8, from < size.
// A Finder looks for the first match at or after `from` of a pattern that does not. Both are
// O(match) apart from a run of spaces, which may be read twice.
#pragma once

#include <cstddef>
#include <string_view>

namespace ruvllm {

using Scanner = size_t (*)(std::string_view text, size_t from);
using Finder = bool (*)(std::string_view text, size_t from, size_t& begin, size_t& end);

// nullptr when the regex (as the tokenizer file spells it) is not known.
Scanner find_scanner(std::string_view regex);
Finder find_finder(std::string_view regex);

// GPT-2's, which byte-level tokenizers use unless they say otherwise.
extern const std::string_view kGpt2Regex;

// For tests: every known regex.
struct KnownRegex {
  std::string_view regex;
  Scanner scanner;  // exactly one of the two
  Finder finder;
};
struct KnownRegexes {
  const KnownRegex* begin_;
  const KnownRegex* end_;
  const KnownRegex* begin() const { return begin_; }
  const KnownRegex* end() const { return end_; }
};
KnownRegexes known_regexes();

}  // namespace ruvllm
