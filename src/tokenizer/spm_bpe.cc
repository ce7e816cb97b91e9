#include "tokenizer/spm_bpe.h"

#include <algorithm>

#include "base/str.h"
#include "tokenizer/bpe.h"
#include "tokenizer/merge_symbols.h"
#include "tokenizer/piece_splits.h"
#include "tokenizer/utf8.h"

namespace ruvllm {
namespace {

constexpr std::string_view kMetaspace = "\xe2\x96\x81";

std::string_view first_character(std::string_view text) {
  return text.substr(0, decode_utf8(text, 0).size);
}
std::string_view last_character(std::string_view text) {
  return text.substr(text.size() - decode_utf8_before(text, text.size()).size);
}

}  // namespace

Result<std::unique_ptr<SpmBpe>> SpmBpe::make(const TokenizerData& data,
                                             const Vocabulary& vocabulary) {
  std::unique_ptr<SpmBpe> bpe(new SpmBpe(vocabulary));
  const auto num_tokens = static_cast<size_t>(vocabulary.size());
  bpe->byte_fallback_ = data.byte_fallback;
  bpe->unknown_id_ = data.unknown_id;
  bpe->is_piece_.resize(num_tokens);
  bpe->is_unused_.resize(num_tokens);
  std::vector<TextAndId> user_defined;
  for (size_t i = 0; i < num_tokens; ++i) {
    const PieceKind kind = data.kinds[i];
    const std::string_view text = vocabulary.text(static_cast<int32_t>(i));
    if (text.empty()) continue;
    bpe->is_unused_[i] = kind == PieceKind::kUnused;
    bpe->has_unused_ = bpe->has_unused_ || bpe->is_unused_[i];
    bpe->is_piece_[i] =
        kind == PieceKind::kNormal || kind == PieceKind::kUserDefined || bpe->is_unused_[i];
    if (kind == PieceKind::kUserDefined) user_defined.emplace_back(text, static_cast<int32_t>(i));
  }
  bpe->byte_tokens_.resize(256);
  for (uint32_t b = 0; b < 256; ++b) {
    bpe->byte_tokens_[b] = vocabulary.find(byte_token_text(b));
    if (data.byte_fallback && bpe->byte_tokens_[b] < 0) {
      return fail(ErrorCode::kBadFile,
                  concat("tokenizer: byte_fallback is on, but there is no piece '",
                         byte_token_text(b), "'"));
    }
  }
  bpe->user_defined_ = ByteTrie(std::move(user_defined));
  bpe->find_lone_characters();
  bpe->add_pairs(data);
  bpe->find_metaspace_cuts();
  return bpe;
}

// The piece of that text that takes part in merges, or -1.
int32_t SpmBpe::symbol_of(std::string_view character) const {
  const int32_t id = vocabulary_.find(character);
  if (id >= 0 && is_piece_[static_cast<size_t>(id)]) return id;
  const int32_t lone = lone_char_ids_.find(character);
  return lone >= 0 ? vocabulary_.size() + lone : -1;
}

void SpmBpe::find_lone_characters() {
  std::vector<std::string> found;
  for (int32_t id = 0; id < vocabulary_.size(); ++id) {
    if (!is_piece_[static_cast<size_t>(id)]) continue;
    const std::string_view text = vocabulary_.text(id);
    for (const std::string_view c : {first_character(text), last_character(text)}) {
      if (symbol_of(c) < 0) found.emplace_back(c);
    }
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  lone_chars_ = std::move(found);
  lone_char_ids_ = Vocabulary(lone_chars_);
  frozen_base_ = vocabulary_.size() + static_cast<int32_t>(lone_chars_.size());
}

void SpmBpe::add_pairs(const TokenizerData& data) {
  std::vector<TextAndId> wholes;
  for (int32_t id = 0; id < vocabulary_.size(); ++id) {
    const std::string_view text = vocabulary_.text(id);
    if (is_piece_[static_cast<size_t>(id)] && vocabulary_.find(text) == id) {
      wholes.emplace_back(text, id);
    }
  }
  std::vector<TextAndId> parts = wholes;
  for (size_t i = 0; i < lone_chars_.size(); ++i) {
    parts.emplace_back(lone_chars_[i], vocabulary_.size() + static_cast<int32_t>(i));
  }
  // A rank for each distinct score, the best first; scores are f32 in the library.
  std::vector<float> scores;
  for (const auto& [text, id] : wholes) {
    scores.push_back(static_cast<float>(data.scores[static_cast<size_t>(id)]));
  }
  std::sort(scores.begin(), scores.end(), std::greater<>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
  const auto rank_of = [&](int32_t id) {
    const auto score = static_cast<float>(data.scores[static_cast<size_t>(id)]);
    const auto at = std::lower_bound(scores.begin(), scores.end(), score, std::greater<>());
    return static_cast<uint32_t>(at - scores.begin());
  };
  const std::vector<PieceSplit> splits = splits_of(wholes, parts);
  pairs_.reserve(splits.size());
  for (const PieceSplit& s : splits) pairs_.insert(s.left, s.right, rank_of(s.whole), s.whole);
}

void SpmBpe::find_metaspace_cuts() {
  const int32_t space = vocabulary_.find(kMetaspace);
  cuts_at_metaspace_ =
      space >= 0 && is_piece_[static_cast<size_t>(space)] && !has_unused_ && user_defined_.empty();
  if (!cuts_at_metaspace_) return;
  const auto text_of = [&](int32_t symbol) -> std::string_view {
    if (symbol < vocabulary_.size()) return vocabulary_.text(symbol);
    return lone_chars_[static_cast<size_t>(symbol - vocabulary_.size())];
  };
  pairs_.for_each([&](int32_t left, int32_t right) {
    const std::string_view before = text_of(left);
    if (text_of(right).starts_with(kMetaspace) && !before.ends_with(kMetaspace)) {
      joins_metaspace_[static_cast<unsigned char>(before.back())] = true;
    }
  });
}

void SpmBpe::append_symbols(std::string_view text, std::vector<int32_t>& symbols) const {
  for (size_t i = 0; i < text.size();) {
    if (!user_defined_.empty()) {
      const auto [length, id] = user_defined_.longest_prefix(text, i);
      if (length > 0) {
        symbols.push_back(frozen_base_ + id);
        i += length;
        continue;
      }
    }
    // A user-defined piece may have ended within a character only in a damaged file.
    const CheckedChar c = check_utf8(text, i);
    const uint32_t size = c.size > 0 ? c.size : c.bad_bytes;
    const int32_t symbol = symbol_of(text.substr(i, size));
    const char32_t code = c.size > 0 ? decode_utf8(text, i).code : kReplacementCharacter;
    symbols.push_back(symbol >= 0 ? symbol : kUnknownBase - static_cast<int32_t>(code));
    i += size;
  }
}

void SpmBpe::emit_unknown(std::string_view character, std::vector<int32_t>& out,
                          bool& after_unknown) const {
  if (byte_fallback_) {
    for (const char c : character) out.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
  } else if (!after_unknown && unknown_id_ >= 0) {
    out.push_back(unknown_id_);
  }
  after_unknown = true;
}

void SpmBpe::encode_word(std::string_view text, std::vector<int32_t>& out,
                         std::vector<int32_t>& symbols) const {
  symbols.clear();
  append_symbols(text, symbols);
  MergeSources sources;
  if (has_unused_) {
    sources.noted = is_unused_;
    sources.sources.resize(is_unused_.size());
    merge_symbols(pairs_, symbols, sources);
  } else {
    merge_symbols(pairs_, symbols);
  }
  bool after_unknown = false;
  std::vector<int32_t> todo;
  std::string character;
  for (const int32_t symbol : symbols) {
    todo.push_back(symbol);
    while (!todo.empty()) {
      const int32_t s = todo.back();
      todo.pop_back();
      if (s <= kUnknownBase) {
        character.clear();
        append_utf8(character, static_cast<char32_t>(kUnknownBase - s));
        emit_unknown(character, out, after_unknown);
      } else if (s >= frozen_base_) {
        out.push_back(s - frozen_base_);
        after_unknown = false;
      } else if (s >= vocabulary_.size()) {
        emit_unknown(lone_chars_[static_cast<size_t>(s - vocabulary_.size())], out, after_unknown);
      } else if (has_unused_ && is_unused_[static_cast<size_t>(s)] &&
                 sources.sources[static_cast<size_t>(s)] != std::pair<int32_t, int32_t>()) {
        const auto [left, right] = sources.sources[static_cast<size_t>(s)];
        todo.push_back(right);
        todo.push_back(left);
      } else {
        out.push_back(s);
        after_unknown = false;
      }
    }
  }
}

}  // namespace ruvllm
