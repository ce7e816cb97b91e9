// Tokens that stand outside the model (special tokens, words added by fine-tuning): found in the
// text first, the leftmost and of these the longest; the text between goes through the model.
// Constant after construction; any thread. O(text * longest token).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "spec/tokenizer_data.h"
#include "tokenizer/byte_trie.h"

namespace ruvllm {

class AddedTokenFinder {
 public:
  AddedTokenFinder() = default;
  // `contents[i]` is what is searched for tokens[i]: its content, or that normalized.
  AddedTokenFinder(std::vector<AddedToken> tokens, const std::vector<std::string>& contents);

  bool empty() const { return tokens_.empty(); }

  // Calls text_between(begin, end) for what is no token (never empty) and token(id) for what is, in
  // order.
  template <typename TextBetween, typename Token>
  void split(std::string_view text, TextBetween&& text_between, Token&& token) const {
    size_t done = 0;
    Match match;
    for (size_t from = 0; find(text, from, match);) {
      from = match.end;
      if (!accept(text, done, match)) continue;
      if (done < match.begin) text_between(done, match.begin);
      token(match.token->id);
      done = match.end;
    }
    if (done < text.size()) text_between(done, text.size());
  }

 private:
  struct Match {
    size_t begin = 0, end = 0;
    const AddedToken* token = nullptr;
  };
  bool find(std::string_view text, size_t from, Match& match) const;
  // Applies single_word, lstrip and rstrip. `done`: where the last token ended.
  bool accept(std::string_view text, size_t done, Match& match) const;

  std::vector<AddedToken> tokens_;
  ByteTrie trie_;
  std::vector<char> start_bytes_;  // of all contents, when they are few
};

}  // namespace ruvllm
