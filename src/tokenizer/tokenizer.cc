#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <charconv>
#include <variant>

#include "base/check.h"
#include "base/str.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/decode_stages.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/spm_bpe.h"
#include "tokenizer/unigram.h"
#include "tokenizer/utf8.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/word_cache.h"

namespace ruvllm {
namespace {

constexpr std::string_view kMetaspace = "\xe2\x96\x81";

using Model = std::variant<std::unique_ptr<Bpe>, std::unique_ptr<SpmBpe>, std::unique_ptr<Unigram>>;

class TokenizerImpl final : public Tokenizer {
 public:
  static Result<std::unique_ptr<Tokenizer>> make(TokenizerData data);

  Result<std::vector<int32_t>> encode(std::string_view text, bool add_special) const override {
    return encode_text(text, add_special, /*parse_control=*/!sentencepiece_);
  }
  Result<std::vector<int32_t>> encode_rendered(std::string_view text) const override {
    return encode_text(text, /*add_special=*/false, /*parse_control=*/true);
  }
  std::string decode(const std::vector<int32_t>& ids, bool skip_special) const override;
  std::string token_bytes(int32_t id) const override;
  int32_t vocab_size() const override { return static_cast<int32_t>(kinds_.size()); }

  // Passes a token to the first stage; unknown ids and skipped tokens are nothing.
  void decode_token(int32_t id, bool skip_special, DecodeStage& first) const {
    if (id < 0 || id >= vocab_size()) return;
    const auto i = static_cast<size_t>(id);
    if (skip_special && is_special_[i]) return;
    if (!has_text_[i]) return;
    first.vocabulary_token(kinds_[i], decode_texts_.text(id));
  }
  const DecodePlan& decode_plan() const { return decode_plan_; }

 private:
  struct Work {  // of one call of encode
    std::vector<int32_t> ids;
    std::vector<int32_t> scratch;
    WordCache cache;
    Status status;
  };

  Status build_model(TokenizerData& data);
  Status build_added_tokens(const TokenizerData& data);

  Result<std::vector<int32_t>> encode_text(std::string_view text, bool add_special,
                                           bool parse_control) const;
  void encode_segment(std::string_view text, bool at_start, Work& work) const;
  void encode_piece(std::string_view piece, Work& work) const;
  template <typename Bpe>
  void encode_cut_at_spaces(const Bpe& bpe, std::string_view piece, Work& work) const;

  bool sentencepiece_ = false;
  std::vector<int32_t> prefix_ids_, suffix_ids_;
  Vocabulary vocabulary_;  // of the model
  Model model_;
  AddedTokenFinder raw_added_, normalized_added_;
  NormalizerChain normalizers_;
  PreTokenizerChain pre_tokenizers_;
  DecodePlan decode_plan_;
  Vocabulary decode_texts_;       // id -> what the first decoder gets
  std::vector<PieceKind> kinds_;  // [vocab_size]
  std::vector<bool> is_special_;  // [vocab_size]
  std::vector<bool> has_text_;    // [vocab_size] false: a hole
};

// A byte-level vocabulary can be kept as bytes when nothing looks at the letters in between.
bool keeps_bytes(const TokenizerData& data) {
  if (data.model == TokenizerModel::kUnigram || data.sentencepiece || data.byte_fallback ||
      !data.continuing_subword_prefix.empty() || !data.end_of_word_suffix.empty()) {
    return false;
  }
  size_t num_byte_level = 0;
  for (const PreTokenizer& stage : data.pre_tokenizers) {
    num_byte_level += std::holds_alternative<PreByteLevel>(stage) ? 1 : 0;
  }
  return num_byte_level == 1 && std::holds_alternative<PreByteLevel>(data.pre_tokenizers.back());
}

Status check_data(const TokenizerData& data) {
  constexpr size_t kMaxTokens = size_t{1} << 24;
  constexpr size_t kMaxAddedTokenBytes = 4096;
  const size_t num_tokens = data.tokens.size();
  if (num_tokens > kMaxTokens) {
    return fail(ErrorCode::kUnsupported,
                concat("tokenizer: ", num_tokens, " tokens, expected at most ", kMaxTokens));
  }
  if (data.sentencepiece && (data.kinds.size() != num_tokens || data.scores.size() != num_tokens)) {
    return fail(ErrorCode::kBadFile,
                concat("tokenizer: ", data.kinds.size(), " piece kinds and ", data.scores.size(),
                       " scores for ", num_tokens, " tokens"));
  }
  for (const double score : data.scores) {
    if (score != score) return fail(ErrorCode::kBadFile, "tokenizer: a score is not a number");
  }
  // Ids may have holes, but not out of proportion.
  const size_t id_limit =
      std::min(kMaxTokens, std::max(size_t{1} << 20, (num_tokens + data.added_tokens.size()) * 4));
  const auto is_id = [&](int32_t id) { return id >= 0 && static_cast<size_t>(id) < id_limit; };
  for (const AddedToken& token : data.added_tokens) {
    if (!is_id(token.id)) {
      return fail(ErrorCode::kBadFile,
                  concat("tokenizer: added token '", printable(token.content), "' has id ",
                         token.id, ", expected below ", id_limit));
    }
    if (token.content.size() > kMaxAddedTokenBytes) {
      return fail(ErrorCode::kUnsupported,
                  concat("tokenizer: added token ", token.id, " has ", token.content.size(),
                         " bytes, expected at most ", kMaxAddedTokenBytes));
    }
  }
  for (const std::vector<int32_t>* ids : {&data.prefix_ids, &data.suffix_ids}) {
    for (const int32_t id : *ids) {
      if (!is_id(id)) {
        return fail(ErrorCode::kBadFile, concat("tokenizer: the post-processor adds id ", id,
                                                ", expected 0 to ", id_limit));
      }
    }
  }
  return {};
}

Result<std::unique_ptr<Tokenizer>> TokenizerImpl::make(TokenizerData data) {
  RUVLLM_TRY(check_data(data));
  auto tokenizer = std::make_unique<TokenizerImpl>();
  tokenizer->sentencepiece_ = data.sentencepiece;
  tokenizer->prefix_ids_ = data.prefix_ids;
  tokenizer->suffix_ids_ = data.suffix_ids;
  std::vector<std::string> user_defined;
  for (size_t i = 0; i < data.kinds.size(); ++i) {
    if (data.kinds[i] == PieceKind::kUserDefined) user_defined.push_back(data.tokens[i]);
  }
  RUVLLM_ASSIGN(tokenizer->normalizers_, NormalizerChain::make(data.normalizers, user_defined));
  RUVLLM_ASSIGN(tokenizer->pre_tokenizers_,
                PreTokenizerChain::make(data.pre_tokenizers, keeps_bytes(data)));
  const bool cleans_up = data.clean_up_spaces && data.model == TokenizerModel::kUnigram;
  RUVLLM_ASSIGN(tokenizer->decode_plan_, DecodePlan::make(data.decoders, cleans_up));
  RUVLLM_TRY(tokenizer->build_added_tokens(data));
  RUVLLM_TRY(tokenizer->build_model(data));
  return tokenizer;
}

Status TokenizerImpl::build_model(TokenizerData& data) {
  const bool raw_bytes = keeps_bytes(data);
  if (raw_bytes) {
    for (std::string& token : data.tokens) {
      // A token with other characters than letters never comes out of byte-level text.
      std::string repaired = to_valid_utf8(token);
      token = letters_to_bytes(repaired).value_or(std::string());
    }
  } else {
    for (std::string& token : data.tokens) {
      if (find_invalid_utf8(token) != token.size()) token = to_valid_utf8(token);
    }
  }
  vocabulary_ = Vocabulary(data.tokens);
  if (data.model == TokenizerModel::kUnigram) {
    RUVLLM_ASSIGN(model_, Unigram::make(data, vocabulary_));
  } else if (data.sentencepiece) {
    RUVLLM_ASSIGN(model_, SpmBpe::make(data, vocabulary_));
  } else {
    RUVLLM_ASSIGN(model_, Bpe::make(data, vocabulary_, raw_bytes));
  }
  return {};
}

// Also what ids decode from: a token that is searched normalized is written normalized.
Status TokenizerImpl::build_added_tokens(const TokenizerData& data) {
  std::vector<AddedToken> raw, normalized;
  std::vector<std::string> raw_texts, normalized_texts;
  std::vector<std::string> texts = data.tokens;
  std::vector<std::string_view> special;
  for (const AddedToken& token : data.added_tokens) {
    const auto id = static_cast<size_t>(token.id);
    if (id >= texts.size()) texts.resize(id + 1);
    std::string text = to_valid_utf8(token.content);
    if (token.normalized) RUVLLM_TRY(normalizers_.apply(text));
    texts[id] = text;
    if (token.special) special.push_back(token.content);
    if (token.content.empty()) continue;
    (token.normalized ? normalized : raw).push_back(token);
    (token.normalized ? normalized_texts : raw_texts).push_back(std::move(text));
  }
  raw_added_ = AddedTokenFinder(std::move(raw), raw_texts);
  normalized_added_ = AddedTokenFinder(std::move(normalized), normalized_texts);

  std::sort(special.begin(), special.end());
  kinds_.assign(texts.size(), PieceKind::kNormal);
  std::copy(data.kinds.begin(), data.kinds.end(), kinds_.begin());
  is_special_.resize(texts.size());
  has_text_.resize(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    has_text_[i] = !texts[i].empty();
    is_special_[i] = std::binary_search(special.begin(), special.end(), texts[i]);
    texts[i] = to_valid_utf8(texts[i]);
    if (decode_plan_.takes_bytes()) texts[i] = letters_to_bytes(texts[i]).value_or(texts[i]);
  }
  decode_texts_ = Vocabulary(texts);
  return {};
}

Result<std::vector<int32_t>> TokenizerImpl::encode_text(std::string_view text, bool add_special,
                                                        bool parse_control) const {
  std::string repaired;
  if (find_invalid_utf8(text) != text.size()) {
    repaired = to_valid_utf8(text);
    text = repaired;
  }
  Work work{{}, {}, WordCache(text.size()), {}};
  work.ids.reserve(text.size() / 3 + 8);
  if (add_special) work.ids = prefix_ids_;
  if (parse_control) {
    raw_added_.split(
        text,
        [&](size_t begin, size_t end) {
          encode_segment(text.substr(begin, end - begin), begin == 0, work);
        },
        [&](int32_t id) { work.ids.push_back(id); });
  } else if (!text.empty()) {
    encode_segment(text, true, work);
  }
  if (!work.status) return std::unexpected(std::move(work.status).error());
  if (add_special) work.ids.insert(work.ids.end(), suffix_ids_.begin(), suffix_ids_.end());
  return std::move(work.ids);
}

// Text between added tokens that are searched in the raw text.
void TokenizerImpl::encode_segment(std::string_view text, bool at_start, Work& work) const {
  if (!work.status) return;
  std::string normalized;
  if (!normalizers_.empty()) {
    normalized = text;
    work.status = normalizers_.apply(normalized);
    if (!work.status) return;
    text = normalized;
  }
  normalized_added_.split(
      text,
      [&](size_t begin, size_t end) {
        if (!work.status) return;
        const Status status =
            pre_tokenizers_.split(text.substr(begin, end - begin), at_start && begin == 0,
                                  [&](std::string_view piece) { encode_piece(piece, work); });
        if (!status) work.status = status;
      },
      [&](int32_t id) { work.ids.push_back(id); });
}

void TokenizerImpl::encode_piece(std::string_view piece, Work& work) const {
  switch (model_.index()) {
    case 0:
      return encode_cut_at_spaces(*std::get<0>(model_), piece, work);
    case 1:
      return encode_cut_at_spaces(*std::get<1>(model_), piece, work);
    default: {
      const Unigram& unigram = *std::get<2>(model_);
      if (sentencepiece_) return unigram.encode_word(piece, work.ids);  // one sum over all
      return work.cache.encode(piece, work.ids, [&](std::string_view word, auto& out) {
        unigram.encode_word(word, out);
      });
    }
  }
}

// Without a pre-tokenizer a whole text is one "word"; where no merge crosses into a U+2581 it falls
// apart into words that the cache knows.
template <typename Bpe>
void TokenizerImpl::encode_cut_at_spaces(const Bpe& bpe, std::string_view piece, Work& work) const {
  const auto encode_word = [&](std::string_view word) {
    work.cache.encode(word, work.ids, [&](std::string_view w, std::vector<int32_t>& out) {
      bpe.encode_word(w, out, work.scratch);
    });
  };
  if (!bpe.cuts_at_metaspace()) return encode_word(piece);
  size_t begin = 0;
  size_t at = piece.find(kMetaspace, 1);
  for (; at != std::string_view::npos; at = piece.find(kMetaspace, at + 1)) {
    if (piece.substr(0, at).ends_with(kMetaspace)) continue;
    if (!bpe.may_cut_before_metaspace(piece, at)) continue;
    encode_word(piece.substr(begin, at - begin));
    begin = at;
  }
  encode_word(piece.substr(begin));
}

std::string TokenizerImpl::decode(const std::vector<int32_t>& ids, bool skip_special) const {
  DecodeSink sink;
  const auto stages = decode_plan_.start(sink);
  for (const int32_t id : ids) decode_token(id, skip_special, *stages.front());
  stages.front()->finish();
  return std::move(sink.out);
}

std::string TokenizerImpl::token_bytes(int32_t id) const {
  if (id < 0 || id >= vocab_size() || !has_text_[static_cast<size_t>(id)]) return {};
  const std::string_view text = decode_texts_.text(id);
  if (decode_plan_.takes_bytes()) return std::string(text);
  if (text.size() == 6 && text.starts_with("<0x") && text.back() == '>') {
    unsigned byte = 0;
    const auto [end, error] = std::from_chars(&text[3], &text[5], byte, 16);
    if (error == std::errc() && end == &text[5]) return std::string(1, static_cast<char>(byte));
  }
  if (text.find(kMetaspace) == std::string_view::npos) return decode({id}, false);
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const bool is_space = text.substr(i).starts_with(kMetaspace);
    out += is_space ? ' ' : text[i];
    i += is_space ? kMetaspace.size() : 1;
  }
  return out;
}

class IncrementalDecoderImpl final : public IncrementalDecoder {
 public:
  IncrementalDecoderImpl(const TokenizerImpl& tokenizer, bool skip_special)
      : tokenizer_(tokenizer),
        skip_special_(skip_special),
        stages_(tokenizer.decode_plan().start(sink_)) {}

  std::string push(int32_t id) override {
    tokenizer_.decode_token(id, skip_special_, *stages_.front());
    return std::exchange(sink_.out, {});
  }
  std::string flush() override {
    stages_.front()->finish();
    std::string rest = std::exchange(sink_.out, {});
    stages_ = tokenizer_.decode_plan().start(sink_);
    return rest;
  }

 private:
  const TokenizerImpl& tokenizer_;
  bool skip_special_;
  DecodeSink sink_;
  std::vector<std::unique_ptr<DecodeStage>> stages_;
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_tokenizer(TokenizerData data) {
  return TokenizerImpl::make(std::move(data));
}

std::unique_ptr<IncrementalDecoder> make_incremental_decoder(const Tokenizer& tokenizer,
                                                             bool skip_special) {
  return std::make_unique<IncrementalDecoderImpl>(static_cast<const TokenizerImpl&>(tokenizer),
                                                  skip_special);
}

}  // namespace ruvllm
