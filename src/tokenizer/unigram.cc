#include "tokenizer/unigram.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "base/str.h"
#include "tokenizer/bpe.h"
#include "tokenizer/utf8.h"

namespace ruvllm {
namespace {

constexpr double kUnknownPenalty = 10.0;
constexpr int32_t kUnknown = -1;

// Of the ways to reach a position: the best sum, and its last piece.
template <typename Score>
struct Best {
  Score score = 0;
  uint32_t length = 0;  // 0: not reached
  int32_t id = kUnknown;
};

}  // namespace

Result<std::unique_ptr<Unigram>> Unigram::make(const TokenizerData& data,
                                               const Vocabulary& vocabulary) {
  const auto num_tokens = static_cast<size_t>(vocabulary.size());
  if (data.scores.size() != num_tokens) {
    return fail(ErrorCode::kBadFile,
                concat("tokenizer: ", data.scores.size(), " scores for ", num_tokens, " tokens"));
  }
  std::unique_ptr<Unigram> unigram(new Unigram(vocabulary));
  unigram->sentencepiece_ = data.sentencepiece;
  unigram->byte_fallback_ = data.byte_fallback;
  unigram->unknown_id_ = data.unknown_id;
  unigram->scores_ = data.scores;
  unigram->is_user_defined_.resize(num_tokens);
  double min_score = std::numeric_limits<double>::infinity();
  double max_score = -std::numeric_limits<double>::infinity();
  std::vector<std::pair<std::string_view, int32_t>> keys;
  for (size_t i = 0; i < num_tokens; ++i) {
    const auto id = static_cast<int32_t>(i);
    if (vocabulary.text(id).empty()) continue;
    const PieceKind kind = data.sentencepiece ? data.kinds[i] : PieceKind::kNormal;
    if (kind == PieceKind::kNormal) {
      min_score = std::min(min_score, data.scores[i]);
      max_score = std::max(max_score, data.scores[i]);
    }
    unigram->is_user_defined_[i] = kind == PieceKind::kUserDefined;
    if (kind == PieceKind::kNormal || kind == PieceKind::kUserDefined) {
      keys.emplace_back(vocabulary.text(id), id);
    }
  }
  unigram->max_score_ = max_score;
  unigram->unknown_score_ = min_score - kUnknownPenalty;
  if (data.sentencepiece) {
    unigram->unknown_score_ = static_cast<float>(min_score) - static_cast<float>(kUnknownPenalty);
  }
  unigram->trie_ = ByteTrie(std::move(keys));
  unigram->byte_tokens_.resize(256);
  for (uint32_t b = 0; b < 256; ++b) {
    unigram->byte_tokens_[b] = vocabulary.find(byte_token_text(b));
  }
  return unigram;
}

void Unigram::encode_word(std::string_view text, std::vector<int32_t>& out) const {
  if (sentencepiece_) {
    encode<float>(text, out);
  } else {
    encode<double>(text, out);
  }
}

template <typename Score>
void Unigram::encode(std::string_view text, std::vector<int32_t>& out) const {
  if (text.empty()) return;
  std::vector<Best<Score>> best(text.size() + 1);
  for (size_t from = 0; from < text.size();) {
    const Score score_here = best[from].score;
    const uint32_t char_size = decode_utf8(text, from).size;
    bool has_single = false;
    const auto offer = [&](size_t length, double candidate, int32_t id) {
      Best<Score>& target = best[from + length];
      if (target.length == 0 || candidate > target.score) {
        target = {static_cast<Score>(candidate), static_cast<uint32_t>(length), id};
      }
    };
    trie_.for_each_prefix(text, from, [&](size_t length, int32_t id) {
      double score = scores_[static_cast<size_t>(id)];
      if constexpr (std::is_same_v<Score, float>) {
        score = static_cast<float>(score);
        if (is_user_defined_[static_cast<size_t>(id)]) {  // always chosen
          score = static_cast<float>(length) * static_cast<float>(max_score_) - 0.1;
        }
      }
      offer(length, score + score_here, id);  // in f64 also where sums are kept in f32
      has_single = has_single || length == char_size;
    });
    if (!has_single) {
      offer(char_size, static_cast<Score>(unknown_score_) + score_here, kUnknown);
    }
    from += char_size;
  }
  std::vector<std::pair<size_t, int32_t>> pieces;  // {begin, id}, from the end
  for (size_t end = text.size(); end > 0; end -= best[end].length) {
    const size_t begin = end - best[end].length;
    if (best[end].id == kUnknown && !pieces.empty() && pieces.back().second == kUnknown) {
      pieces.back().first = begin;  // a run of unknown characters is one
    } else {
      pieces.emplace_back(begin, best[end].id);
    }
  }
  size_t end = 0;
  for (size_t i = pieces.size(); i-- > 0;) {
    const auto [begin, id] = pieces[i];
    end = i > 0 ? pieces[i - 1].first : text.size();
    if (id != kUnknown) {
      out.push_back(id);
    } else {
      emit_unknown(text.substr(begin, end - begin), out);
    }
  }
}

void Unigram::emit_unknown(std::string_view text, std::vector<int32_t>& out) const {
  if (!sentencepiece_) {  // the run may happen to be a token that was too improbable
    const int32_t id = vocabulary_.find(text);
    if (id >= 0) {
      out.push_back(id);
      return;
    }
  }
  if (byte_fallback_) {
    const bool all = std::all_of(text.begin(), text.end(), [&](char c) {
      return byte_tokens_[static_cast<unsigned char>(c)] >= 0;
    });
    if (all) {
      for (const char c : text) out.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
      return;
    }
  }
  if (unknown_id_ >= 0) out.push_back(unknown_id_);
}

}  // namespace ruvllm
