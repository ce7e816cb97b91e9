#include "tokenizer/byte_trie.h"

#include <algorithm>

namespace ruvllm {

ByteTrie::ByteTrie(std::vector<std::pair<std::string_view, int32_t>> keys) {
  // By text, then by place in the list: the last of equal keys stays.
  std::vector<std::pair<std::string_view, size_t>> order;
  order.reserve(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) order.emplace_back(keys[i].first, i);
  std::sort(order.begin(), order.end());
  std::vector<std::pair<std::string_view, int32_t>> sorted;
  sorted.reserve(keys.size());
  for (const auto& [text, i] : order) sorted.emplace_back(text, keys[i].second);
  keys = std::move(sorted);
  const auto is_replaced = [&](size_t i) {
    return keys[i].first.empty() || (i + 1 < keys.size() && keys[i].first == keys[i + 1].first);
  };
  size_t kept = 0;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!is_replaced(i)) keys[kept++] = keys[i];
  }
  keys.resize(kept);
  if (keys.empty()) return;

  struct Range {
    int32_t node;
    size_t first, last, depth;  // the keys [first, last) share their first `depth` bytes
  };
  std::vector<Range> todo = {{0, 0, keys.size(), 0}};
  std::vector<int32_t> labels;
  size_t first_free = 1;
  while (!todo.empty()) {
    const Range range = todo.back();
    todo.pop_back();
    const auto label_of = [&](size_t i) {
      const std::string_view key = keys[i].first;
      return key.size() == range.depth ? 0 : static_cast<unsigned char>(key[range.depth]) + 1;
    };
    labels.clear();
    for (size_t i = range.first; i < range.last; ++i) {
      if (labels.empty() || labels.back() != label_of(i)) labels.push_back(label_of(i));
    }
    const int32_t base = place(labels, first_free);
    nodes_[static_cast<size_t>(range.node)].base = base;
    size_t i = range.first;
    for (const int32_t label : labels) {
      const int32_t child = base + label;
      nodes_[static_cast<size_t>(child)].parent = range.node;
      const size_t begin = i;
      while (i < range.last && label_of(i) == label) ++i;
      if (label == 0) {
        nodes_[static_cast<size_t>(child)].base = keys[begin].second;
      } else {
        todo.push_back({child, begin, i, range.depth + 1});
      }
    }
  }
  for (const auto& [key, value] : keys) starts_[static_cast<unsigned char>(key[0])] = true;
}

// A base whose children at `labels` are all free; makes room for them.
int32_t ByteTrie::place(const std::vector<int32_t>& labels, size_t& first_free) {
  const auto is_free = [&](size_t i) { return i >= nodes_.size() || nodes_[i].parent < 0; };
  const auto lowest = static_cast<size_t>(labels.front());
  size_t tried = 0;
  size_t at = std::max(first_free, lowest + 1);
  for (;; ++at, ++tried) {
    if (!is_free(at)) continue;
    const size_t base = at - lowest;
    const bool fits = std::all_of(labels.begin() + 1, labels.end(), [&](int32_t label) {
      return is_free(base + static_cast<size_t>(label));
    });
    if (fits) break;
  }
  // A search that failed long means that this region is full: begin behind it from now on.
  if (tried > 64) first_free = at - tried / 2;
  const size_t end = at - lowest + static_cast<size_t>(labels.back()) + 1;
  if (end > nodes_.size()) nodes_.resize(std::max(end, nodes_.size() * 3 / 2));
  return static_cast<int32_t>(at - lowest);
}

}  // namespace ruvllm
