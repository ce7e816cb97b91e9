#include "tokenizer/added_tokens.h"

#include <cstring>

#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace ruvllm {

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens,
                                   const std::vector<std::string>& contents)
    : tokens_(std::move(tokens)) {
  std::vector<std::pair<std::string_view, int32_t>> keys;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    keys.emplace_back(contents[i], static_cast<int32_t>(i));
  }
  trie_ = ByteTrie(std::move(keys));
  for (int b = 0; b < 256; ++b) {
    if (trie_.may_start(static_cast<char>(b))) start_bytes_.push_back(static_cast<char>(b));
  }
}

bool AddedTokenFinder::find(std::string_view text, size_t from, Match& match) const {
  if (trie_.empty()) return false;
  while (from < text.size()) {
    if (start_bytes_.size() == 1) {  // nearly always '<'
      const void* at = std::memchr(text.data() + from, start_bytes_[0], text.size() - from);
      if (at == nullptr) return false;
      from = static_cast<size_t>(static_cast<const char*>(at) - text.data());
    } else {
      while (from < text.size() && !trie_.may_start(text[from])) ++from;
      if (from == text.size()) return false;
    }
    const auto [length, index] = trie_.longest_prefix(text, from);
    if (index >= 0) {
      match = {from, from + length, &tokens_[static_cast<size_t>(index)]};
      return true;
    }
    ++from;
  }
  return false;
}

bool AddedTokenFinder::accept(std::string_view text, size_t done, Match& match) const {
  if (match.token->single_word) {
    if (match.begin > 0 && is_word(decode_utf8_before(text, match.begin).code)) return false;
    if (match.end < text.size() && is_word(decode_utf8(text, match.end).code)) return false;
  }
  if (match.token->lstrip) {
    while (match.begin > done) {
      const DecodedChar c = decode_utf8_before(text, match.begin);
      if (!is_space(c.code)) break;
      match.begin -= c.size;
    }
  }
  if (match.token->rstrip) {
    // Within the spaces that the token before took: they end where that one ended.
    if (match.end < done) match.end = done;
    while (match.end < text.size()) {
      const DecodedChar c = decode_utf8(text, match.end);
      if (!is_space(c.code)) break;
      match.end += c.size;
    }
  }
  return true;
}

}  // namespace ruvllm
