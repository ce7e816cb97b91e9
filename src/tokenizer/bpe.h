// Byte pair encoding of one word, by a merge list or by token ranks (tiktoken).
//
// Both reduce to one PairTable: a merge list as it is; a rank vocabulary through every split of a
// token into two tokens, with the merged token's id as the rank. Immutable after make(); encode
// from any thread. O(n log n) in the word's length.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ruvllm/result.h"
#include "spec/tokenizer_data.h"
#include "tokenizer/pair_table.h"
#include "tokenizer/vocabulary.h"

namespace ruvllm {

class Bpe {
 public:
  // `vocabulary`: the texts of data.tokens; with `raw_bytes` as bytes instead of byte-level
  // letters. It must outlive this; `data` need not. Fails when a merge names no token.
  static Result<std::unique_ptr<Bpe>> make(const TokenizerData& data, const Vocabulary& vocabulary,
                                           bool raw_bytes);

  // Appends the ids of one word: well-formed UTF-8, or any bytes with raw_bytes. `scratch` is
  // overwritten.
  void encode_word(std::string_view word, std::vector<int32_t>& out,
                   std::vector<int32_t>& scratch) const;

  // Whether encoding the two sides of text[position] apart gives the same ids, where a U+2581
  // begins at `position` > 0 and none ends there: no merge crosses from the character before.
  bool may_cut_before_metaspace(std::string_view text, size_t position) const {
    return !joins_metaspace_[static_cast<unsigned char>(text[position - 1])];
  }
  bool cuts_at_metaspace() const { return cuts_at_metaspace_; }

 private:
  explicit Bpe(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}
  Status add_merges(const TokenizerData& data);
  void add_rank_pairs();
  void find_characters();
  void find_metaspace_cuts();
  int32_t character_id(std::string_view character) const;
  struct Run;
  void add_character(std::string_view character, Run& run, std::vector<int32_t>& symbols) const;

  const Vocabulary& vocabulary_;
  bool raw_bytes_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
  bool fuse_unknown_ = false;
  int32_t unknown_id_ = -1;
  std::string prefix_, suffix_;    // continuing_subword_prefix, end_of_word_suffix
  std::vector<int32_t> char_ids_;  // raw: of each byte, else of each code point < 65536; -1: none
  std::vector<int32_t> byte_tokens_;  // the <0xNN> tokens; -1: none
  PairTable pairs_;
  bool cuts_at_metaspace_ = false;
  std::vector<bool> joins_metaspace_;  // [256], by last byte: some merge crosses to a U+2581 there
};

// The texts "<0x00>" ... "<0xFF>".
std::string byte_token_text(uint32_t byte);

}  // namespace ruvllm
