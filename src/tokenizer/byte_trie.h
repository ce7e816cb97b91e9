// A set of byte strings with numbers, searched from a place in a text: which of them begin there?
// A double-array trie: one addition and one comparison per byte. Constant after construction.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace ruvllm {

class ByteTrie {
 public:
  ByteTrie() = default;
  // Empty keys are left out; of equal keys the last counts. Values are >= 0.
  explicit ByteTrie(std::vector<std::pair<std::string_view, int32_t>> keys);

  bool empty() const { return nodes_.size() <= 1; }
  bool may_start(char byte) const { return starts_[static_cast<unsigned char>(byte)]; }

  // Calls visit(length, value) for each key that text[from..] begins with, shortest first.
  template <typename Visit>
  void for_each_prefix(std::string_view text, size_t from, Visit&& visit) const {
    int32_t node = 0;
    for (size_t i = from; i < text.size(); ++i) {
      node = step(node, static_cast<unsigned char>(text[i]) + 1);
      if (node < 0) return;
      const int32_t leaf = step(node, 0);
      if (leaf >= 0) visit(i + 1 - from, nodes_[static_cast<size_t>(leaf)].base);
    }
  }

  // The longest such key: {length, value}, or {0, -1}.
  std::pair<size_t, int32_t> longest_prefix(std::string_view text, size_t from) const {
    std::pair<size_t, int32_t> best{0, -1};
    if (!may_start(text[from])) return best;
    for_each_prefix(text, from, [&](size_t length, int32_t value) { best = {length, value}; });
    return best;
  }

 private:
  // A child's index is its parent's base plus its label (byte + 1; 0 for the end of a key, whose
  // node holds the value in `base`). `parent` proves that the child is this parent's.
  struct Node {
    int32_t base = 0;
    int32_t parent = -1;
  };
  int32_t step(int32_t node, int32_t label) const {
    const auto child = static_cast<size_t>(nodes_[static_cast<size_t>(node)].base + label);
    return child < nodes_.size() && nodes_[child].parent == node ? static_cast<int32_t>(child) : -1;
  }
  int32_t place(const std::vector<int32_t>& labels, size_t& first_free);

  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::vector<bool> starts_ = std::vector<bool>(256);
};

}  // namespace ruvllm
