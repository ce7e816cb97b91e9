// Byte pair encoding by the rules of the sentencepiece library: pieces merge when their
// concatenation is a piece, in the order of its score; user-defined pieces in the text are taken
// whole; "unused" pieces serve as steps and are taken apart in the end; what stays unknown becomes
// byte pieces or the unknown piece (one for a run).
//
// Constant after make; any thread. O(n log n).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ruvllm/result.h"
#include "spec/tokenizer_data.h"
#include "tokenizer/byte_trie.h"
#include "tokenizer/pair_table.h"
#include "tokenizer/vocabulary.h"

namespace ruvllm {

class SpmBpe {
 public:
  // `vocabulary` (the texts of data.tokens) must outlive this.
  static Result<std::unique_ptr<SpmBpe>> make(const TokenizerData& data,
                                              const Vocabulary& vocabulary);

  // Appends the ids of normalized, well-formed text.
  void encode_word(std::string_view text, std::vector<int32_t>& out,
                   std::vector<int32_t>& scratch) const;

  // As Bpe::may_cut_before_metaspace.
  bool may_cut_before_metaspace(std::string_view text, size_t position) const {
    return !joins_metaspace_[static_cast<unsigned char>(text[position - 1])];
  }
  bool cuts_at_metaspace() const { return cuts_at_metaspace_; }

 private:
  explicit SpmBpe(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}
  // Symbols: [0, V) pieces; [V, V + lone_chars_.size()) characters that are no piece but begin or
  // end one; then frozen_base_ + id, a user-defined piece; kUnknownBase - code, any other
  // character.
  static constexpr int32_t kUnknownBase = -1;

  void find_lone_characters();
  void add_pairs(const TokenizerData& data);
  void find_metaspace_cuts();
  int32_t symbol_of(std::string_view character) const;
  void append_symbols(std::string_view text, std::vector<int32_t>& symbols) const;
  void emit_unknown(std::string_view character, std::vector<int32_t>& out,
                    bool& after_unknown) const;

  const Vocabulary& vocabulary_;
  std::vector<bool> is_piece_;  // normal, user-defined or unused: takes part in merges
  std::vector<bool> is_unused_;
  bool has_unused_ = false;
  bool byte_fallback_ = false;
  int32_t unknown_id_ = -1;
  std::vector<int32_t> byte_tokens_;  // [256]
  std::vector<std::string> lone_chars_;
  Vocabulary lone_char_ids_;
  int32_t frozen_base_ = 0;
  ByteTrie user_defined_;
  PairTable pairs_;
  bool cuts_at_metaspace_ = false;
  std::vector<bool> joins_metaspace_ = std::vector<bool>(256);
};

}  // namespace ruvllm
