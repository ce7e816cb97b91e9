#include "tokenizer/piece_splits.h"

#include <string>

#include "tokenizer/byte_trie.h"

namespace ruvllm {

std::vector<PieceSplit> splits_of(const std::vector<TextAndId>& wholes,
                                  const std::vector<TextAndId>& parts) {
  std::vector<std::string> reversed_texts;
  std::vector<TextAndId> reversed_parts;
  reversed_texts.reserve(parts.size());
  for (const auto& [text, id] : parts) {
    reversed_texts.emplace_back(text.rbegin(), text.rend());
    reversed_parts.emplace_back(reversed_texts.back(), id);
  }
  const ByteTrie by_start(parts);
  const ByteTrie by_end(std::move(reversed_parts));

  std::vector<int32_t> left;  // [length]: the part that is the whole's first `length` bytes, or -1
  std::string reversed;
  std::vector<PieceSplit> splits;
  for (const auto& [text, id] : wholes) {
    if (text.size() < 2) continue;
    left.assign(text.size() + 1, -1);
    by_start.for_each_prefix(text, 0, [&](size_t length, int32_t part) { left[length] = part; });
    reversed.assign(text.rbegin(), text.rend());
    by_end.for_each_prefix(reversed, 0, [&](size_t length, int32_t part) {
      const size_t cut = text.size() - length;
      if (cut > 0 && left[cut] >= 0) splits.push_back({left[cut], part, id});
    });
  }
  return splits;
}

}  // namespace ruvllm
