// StopFilter: passes streamed text on and ends it before the first stop string.
//
// Whatever might still become a stop string is held back (the longest end of the text that begins
// one), so no part of a stop string is ever shown, however it is cut into pieces. Cost per byte:
// one step of a Knuth-Morris-Pratt automaton per stop string. One text each; one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ruvllm {

class StopFilter {
 public:
  // None of `stops` is empty. include: the text ends after the stop string, not before.
  explicit StopFilter(const std::vector<std::string>& stops, bool include = false);

  // Adds text and returns what may be shown. After a match it returns nothing any more.
  std::string push(std::string_view text);
  // The text has ended: what was held back.
  std::string flush();

  bool matched() const { return match_ >= 0; }
  // The stop string that ended the text; "" while there is none.
  std::string_view matched_stop() const;

 private:
  struct Automaton {
    std::string pattern;
    std::vector<int32_t> failure;  // [length + 1]: longest proper border of each prefix
    int32_t state = 0;             // bytes of the pattern the text now ends with
  };

  std::vector<Automaton> automata_;
  bool include_;
  std::string held_;
  int match_ = -1;
};

}  // namespace ruvllm
