#include "tokenizer/bpe.h"

#include <algorithm>

#include "base/str.h"
#include "tokenizer/merge_symbols.h"
#include "tokenizer/piece_splits.h"
#include "tokenizer/utf8.h"

namespace ruvllm {
namespace {

constexpr std::string_view kMetaspace = "\xe2\x96\x81";

}  // namespace

std::string byte_token_text(uint32_t byte) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  return concat("<0x", kDigits[byte >> 4], kDigits[byte & 15], ">");
}

Result<std::unique_ptr<Bpe>> Bpe::make(const TokenizerData& data, const Vocabulary& vocabulary,
                                       bool raw_bytes) {
  std::unique_ptr<Bpe> bpe(new Bpe(vocabulary));
  bpe->raw_bytes_ = raw_bytes;
  bpe->byte_fallback_ = data.byte_fallback;
  bpe->ignore_merges_ = data.ignore_merges || data.model == TokenizerModel::kRankBpe;
  bpe->fuse_unknown_ = data.fuse_unknown;
  bpe->unknown_id_ = data.unknown_id;
  bpe->prefix_ = data.continuing_subword_prefix;
  bpe->suffix_ = data.end_of_word_suffix;
  bpe->find_characters();
  if (data.model == TokenizerModel::kRankBpe) {
    bpe->add_rank_pairs();
  } else {
    RUVLLM_TRY(bpe->add_merges(data));
  }
  bpe->find_metaspace_cuts();
  return bpe;
}

void Bpe::find_characters() {
  if (raw_bytes_) {
    char_ids_.resize(256);
    for (uint32_t b = 0; b < 256; ++b) {
      const char byte = static_cast<char>(b);
      char_ids_[b] = vocabulary_.find({&byte, 1});
    }
  } else {
    char_ids_.assign(0x10000, -1);
    for (int32_t id = 0; id < vocabulary_.size(); ++id) {
      const std::string_view text = vocabulary_.text(id);
      if (text.empty() || text.size() > 3 || check_utf8(text, 0).size != text.size()) continue;
      char_ids_[decode_utf8(text, 0).code] = vocabulary_.find(text);
    }
  }
  byte_tokens_.resize(256);
  for (uint32_t b = 0; b < 256; ++b) byte_tokens_[b] = vocabulary_.find(byte_token_text(b));
}

Status Bpe::add_merges(const TokenizerData& data) {
  pairs_.reserve(data.merges.size());
  std::string merged;
  for (size_t rank = 0; rank < data.merges.size(); ++rank) {
    const auto [left, right] = data.merges[rank];
    if (left < 0 || right < 0 || left >= vocabulary_.size() || right >= vocabulary_.size()) {
      return fail(ErrorCode::kBadFile,
                  concat("tokenizer: merge ", rank, " is of tokens ", left, " and ", right,
                         ", expected ids below ", vocabulary_.size()));
    }
    std::string_view tail = vocabulary_.text(right);
    tail.remove_prefix(std::min(tail.size(), prefix_.size()));
    merged.assign(vocabulary_.text(left)).append(tail);
    const int32_t id = vocabulary_.find(merged);
    if (id < 0) {
      return fail(ErrorCode::kBadFile, concat("tokenizer: merge ", rank, " makes '",
                                              printable(merged), "', which is no token"));
    }
    pairs_.insert(left, right, static_cast<uint32_t>(rank), id);
  }
  return {};
}

void Bpe::add_rank_pairs() {
  std::vector<TextAndId> tokens;
  for (int32_t id = 0; id < vocabulary_.size(); ++id) {
    const std::string_view text = vocabulary_.text(id);
    if (vocabulary_.find(text) == id) tokens.emplace_back(text, id);
  }
  const std::vector<PieceSplit> splits = splits_of(tokens, tokens);
  pairs_.reserve(splits.size());
  for (const PieceSplit& s : splits) {
    pairs_.insert(s.left, s.right, static_cast<uint32_t>(s.whole), s.whole);
  }
}

void Bpe::find_metaspace_cuts() {
  joins_metaspace_.assign(256, false);
  cuts_at_metaspace_ = !raw_bytes_ && !ignore_merges_ && prefix_.empty() && suffix_.empty() &&
                       char_ids_[0x2581] >= 0;
  if (!cuts_at_metaspace_) return;
  pairs_.for_each([&](int32_t left, int32_t right) {
    const std::string_view before = vocabulary_.text(left), after = vocabulary_.text(right);
    if (after.starts_with(kMetaspace) && !before.empty() && !before.ends_with(kMetaspace)) {
      joins_metaspace_[static_cast<unsigned char>(before.back())] = true;
    }
  });
}

int32_t Bpe::character_id(std::string_view character) const {
  if (raw_bytes_) return char_ids_[static_cast<unsigned char>(character[0])];
  if (character.size() > 3) return vocabulary_.find(character);
  return char_ids_[decode_utf8(character, 0).code];
}

// A pending unknown token: it is written when a known one follows or the word ends.
struct Bpe::Run {
  bool pending_unknown = false;
};

// `character` is one character, or with affixes its text with them.
void Bpe::add_character(std::string_view character, Run& run, std::vector<int32_t>& symbols) const {
  const bool plain = raw_bytes_ || (prefix_.empty() && suffix_.empty());
  const int32_t id = plain ? character_id(character) : vocabulary_.find(character);
  if (id >= 0) {
    if (run.pending_unknown) symbols.push_back(unknown_id_);
    run.pending_unknown = false;
    symbols.push_back(id);
    return;
  }
  if (byte_fallback_ && !raw_bytes_) {
    bool all = true;
    for (const char c : character) all = all && byte_tokens_[static_cast<unsigned char>(c)] >= 0;
    if (all) {
      // The pending unknown stays pending, as in the original.
      for (const char c : character) symbols.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
      return;
    }
  }
  if (unknown_id_ < 0) return;  // dropped
  if (run.pending_unknown && !fuse_unknown_) symbols.push_back(unknown_id_);
  run.pending_unknown = true;
}

void Bpe::encode_word(std::string_view word, std::vector<int32_t>& out,
                      std::vector<int32_t>& symbols) const {
  if (word.empty()) return;
  if (ignore_merges_) {
    const int32_t id = vocabulary_.find(word);
    if (id >= 0) {
      out.push_back(id);
      return;
    }
  }
  symbols.clear();
  symbols.reserve(word.size());
  Run run;
  std::string with_affixes;
  const bool affixes = !raw_bytes_ && !(prefix_.empty() && suffix_.empty());
  for (size_t i = 0; i < word.size();) {
    const size_t size = raw_bytes_ ? 1 : decode_utf8(word, i).size;
    std::string_view character = word.substr(i, size);
    if (affixes) {
      with_affixes =
          concat(i > 0 ? std::string_view(prefix_) : std::string_view(), character,
                 i + size == word.size() ? std::string_view(suffix_) : std::string_view());
      character = with_affixes;
    }
    add_character(character, run, symbols);
    i += size;
  }
  if (run.pending_unknown) symbols.push_back(unknown_id_);
  merge_symbols(pairs_, symbols);
  out.insert(out.end(), symbols.begin(), symbols.end());
}

}  // namespace ruvllm
