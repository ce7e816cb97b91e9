// The merge loop of byte pair encoding: again and again the adjacent pair of the lowest rank, the
// leftmost among equals, is replaced by its merged symbol.
//
// Three forms of the same rule, by length: a scan for the least rank (a word), a heap (a line), and
// buckets by rank (megabytes without a break). O(n log n) at worst. merge_symbols_slowly is the
// oracle: the rule word by word, quadratic.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "tokenizer/pair_table.h"

namespace ruvllm {

// Replaces `symbols` by what is left after all merges. Symbols that are no left or right of any
// pair stay as they are.
void merge_symbols(const PairTable& pairs, std::vector<int32_t>& symbols);

// The same, and notes in `sources[merged]` the latest pair that was found to make that symbol, for
// each symbol with noted[merged]. (sentencepiece takes "unused" pieces apart this way.)
struct MergeSources {
  std::vector<bool> noted;
  std::vector<std::pair<int32_t, int32_t>> sources;
};
void merge_symbols(const PairTable& pairs, std::vector<int32_t>& symbols, MergeSources& sources);

void merge_symbols_slowly(const PairTable& pairs, std::vector<int32_t>& symbols);

}  // namespace ruvllm
