// NamePattern: the regular expressions that adapter configs select modules with (target_modules,
// exclude_modules, keys of rank_pattern and alpha_pattern), matched against whole module names.
//
// Knows what Python's `re` understands of: literals, . [...] \d \w \s \b, groups (capturing or
// not), |, * + ? {m,n} greedy or lazy, ^ $, lookahead (?=...) (?!...). Anything else is refused by
// name. Hostile patterns end in an error, not in a long wait: the steps of a match are bounded.
// Constant after compile; any thread may match.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "ruvllm/result.h"

namespace ruvllm {

class NamePattern {
 public:
  static Result<NamePattern> compile(std::string_view pattern);

  // Whether the whole of `name` matches. kUnsupported when that takes too long to find out.
  Result<bool> matches(std::string_view name) const;

 private:
  enum class Kind : uint8_t {
    kSet,        // one character of `set`
    kSequence,   // children one after the other
    kChoice,     // one of the children
    kRepeat,     // child 0, min to max times
    kStart,      // ^
    kEnd,        // $
    kBoundary,   // \b
    kLookahead,  // child 0 matches here; or does not (negated)
  };
  struct Node {
    Kind kind = Kind::kSequence;
    std::bitset<256> set;
    std::vector<int32_t> children;  // indices of nodes_
    int32_t min = 0;
    int32_t max = 0;
    bool negated = false;
  };
  class Parser;
  class Matcher;

  std::string text_;
  std::vector<Node> nodes_;
  int32_t root_ = 0;
};

}  // namespace ruvllm
