// All ways to cut a piece in two known parts: the merges that a vocabulary without a merge list
// stands for. O(bytes of the vocabulary) plus the number of splits.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace ruvllm {

using TextAndId = std::pair<std::string_view, int32_t>;

struct PieceSplit {
  int32_t left;
  int32_t right;
  int32_t whole;
};

// Each whole == left + right, both among `parts`.
std::vector<PieceSplit> splits_of(const std::vector<TextAndId>& wholes,
                                  const std::vector<TextAndId>& parts);

}  // namespace ruvllm
