// Unigram segmentation: of all ways to cut a text into pieces, the one of the highest sum of scores
// (Viterbi, left to right). Two sets of rules: tokenizer.json's (f64 sums) and the sentencepiece
// library's (f32 sums, piece kinds). Constant after make; any thread. O(n * longest piece).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ruvllm/result.h"
#include "spec/tokenizer_data.h"
#include "tokenizer/byte_trie.h"
#include "tokenizer/vocabulary.h"

namespace ruvllm {

class Unigram {
 public:
  // `vocabulary` (the texts of data.tokens) must outlive this.
  static Result<std::unique_ptr<Unigram>> make(const TokenizerData& data,
                                               const Vocabulary& vocabulary);

  // Appends the ids of well-formed text.
  void encode_word(std::string_view text, std::vector<int32_t>& out) const;

 private:
  explicit Unigram(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}
  template <typename Score>
  void encode(std::string_view text, std::vector<int32_t>& out) const;
  void emit_unknown(std::string_view text, std::vector<int32_t>& out) const;

  const Vocabulary& vocabulary_;
  bool sentencepiece_ = false;
  bool byte_fallback_ = false;
  int32_t unknown_id_ = -1;
  double unknown_score_ = 0;
  double max_score_ = 0;
  std::vector<double> scores_;         // [V]
  std::vector<bool> is_user_defined_;  // [V]
  std::vector<int32_t> byte_tokens_;   // [256], -1: none
  ByteTrie trie_;
};

}  // namespace ruvllm
