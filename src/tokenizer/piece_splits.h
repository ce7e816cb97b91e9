// All ways to cut a piece in two known parts: the merges that a vocabulary without a merge list
// stands for. O(bytes of the vocabulary) plus the number of splits.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "base/function_ref.h"

namespace ruvllm {

using TextAndId = std::pair<std::string_view, int32_t>;

// Calls visit(left, right, whole) for each whole == left + right, both among `parts`.
void for_each_split(const std::vector<TextAndId>& wholes, const std::vector<TextAndId>& parts,
                    FunctionRef<void(int32_t, int32_t, int32_t)> visit);

}  // namespace ruvllm
