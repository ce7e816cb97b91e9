#include "engine/stop_filter.h"

#include <algorithm>
#include <utility>

namespace ruvllm {

StopFilter::StopFilter(const std::vector<std::string>& stops, bool include) : include_(include) {
  for (const std::string& stop : stops) {
    if (stop.empty()) continue;
    Automaton automaton = {stop, std::vector<int32_t>(stop.size() + 1, 0), 0};
    int32_t border = 0;
    for (size_t i = 1; i < stop.size(); ++i) {
      while (border > 0 && stop[i] != stop[static_cast<size_t>(border)]) {
        border = automaton.failure[static_cast<size_t>(border)];
      }
      if (stop[i] == stop[static_cast<size_t>(border)]) ++border;
      automaton.failure[i + 1] = border;
    }
    automata_.push_back(std::move(automaton));
  }
}

std::string StopFilter::push(std::string_view text) {
  if (matched()) return {};
  if (automata_.empty()) return std::string(text);
  for (const char byte : text) {
    held_ += byte;
    size_t longest_match = 0;
    for (size_t i = 0; i < automata_.size(); ++i) {
      Automaton& a = automata_[i];
      while (a.state > 0 && a.pattern[static_cast<size_t>(a.state)] != byte) {
        a.state = a.failure[static_cast<size_t>(a.state)];
      }
      if (a.pattern[static_cast<size_t>(a.state)] == byte) ++a.state;
      // Of those that end here, the one that began first ends the text earliest.
      if (static_cast<size_t>(a.state) == a.pattern.size() && a.pattern.size() > longest_match) {
        longest_match = a.pattern.size();
        match_ = static_cast<int>(i);
      }
    }
    if (matched()) {
      if (!include_) held_.resize(held_.size() - longest_match);
      return std::exchange(held_, {});
    }
  }
  int32_t hold = 0;
  for (const Automaton& a : automata_) hold = std::max(hold, a.state);
  std::string shown = held_.substr(0, held_.size() - static_cast<size_t>(hold));
  held_.erase(0, shown.size());
  return shown;
}

std::string StopFilter::flush() {
  return matched() ? std::string() : std::exchange(held_, {});
}

std::string_view StopFilter::matched_stop() const {
  return matched() ? std::string_view(automata_[static_cast<size_t>(match_)].pattern)
                   : std::string_view();
}

}  // namespace ruvllm
