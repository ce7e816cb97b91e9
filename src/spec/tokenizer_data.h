// TokenizerData: everything a tokenizer needs, as plain data. Filled by formats/ from
// tokenizer.json, tokenizer.model (sentencepiece), tiktoken/tekken vocabularies or GGUF metadata;
// read by tokenizer/. No code paths here.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace ruvllm {

enum class TokenizerModel : uint8_t {
  kBpe,
  kUnigram,
  kRankBpe /* tiktoken: merge by token rank */
};

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;  // dropped by decode(skip_special)
  bool lstrip = false;   // swallows whitespace before / after it
  bool rstrip = false;
  bool single_word = false;  // only between non-word characters
  bool normalized = false;   // searched in the normalized text instead of the raw text
};

// --- normalizers, applied in order -------------------------------------------------------------
struct NormalizeUnicode {
  enum Form : uint8_t { kNfc, kNfd, kNfkc, kNfkd } form;
};
struct NormalizeLowercase {};
struct NormalizeStrip {
  bool left = true;
  bool right = true;
};
struct NormalizeStripAccents {};
struct NormalizePrepend {
  std::string text;
};
struct NormalizeReplace {
  std::string pattern;
  bool is_regex = false;
  std::string content;
};
struct NormalizeNmt {};
struct NormalizeByteLevel {};  // bytes -> letters of GPT-2's alphabet
struct NormalizeBert {
  bool clean_text = true;
  bool handle_chinese_chars = true;
  bool strip_accents = true;
  bool lowercase = true;
};
// sentencepiece's precompiled character map: the blob of the file, checked when it is read.
struct NormalizePrecompiled {
  std::string charsmap;
};
// sentencepiece itself: collapse runs of spaces, trim, add the dummy prefix.
struct NormalizeSpmWhitespace {
  bool remove_extra_whitespaces = false;
  bool add_dummy_prefix = false;
  bool escape_whitespaces = true;     // ' ' -> U+2581
  bool whitespace_as_suffix = false;  // the dummy prefix goes to the end
  std::string charsmap;               // as NormalizePrecompiled; "" for none
};
using Normalizer =
    std::variant<NormalizeUnicode, NormalizeLowercase, NormalizeStrip, NormalizeStripAccents,
                 NormalizePrepend, NormalizeReplace, NormalizeNmt, NormalizeByteLevel,
                 NormalizeBert, NormalizePrecompiled, NormalizeSpmWhitespace>;

// --- pre-tokenizers, applied in order ----------------------------------------------------------
enum class SplitBehavior : uint8_t {
  kRemoved,
  kIsolated,
  kMergedWithPrevious,
  kMergedWithNext,
  kContiguous,
};
struct PreSplitRegex {
  std::string pattern;  // Oniguruma/PCRE syntax, as the file has it
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
};
struct PreSplitLiteral {
  std::string pattern;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
};
struct PreByteLevel {
  bool add_prefix_space = false;
  bool use_regex = true;  // first split by GPT-2's pattern
};
struct PreMetaspace {
  std::string replacement = "\xe2\x96\x81";
  enum Prepend : uint8_t { kAlways, kFirst, kNever } prepend = kAlways;
  bool split = true;
};
struct PreDigits {
  bool individual = false;
};
struct PrePunctuation {
  SplitBehavior behavior = SplitBehavior::kIsolated;
};
struct PreWhitespace {};  // \w+|[^\w\s]+
struct PreWhitespaceSplit {};
struct PreBert {};
struct PreFixedLength {
  int64_t num_characters = 5;
};
using PreTokenizer =
    std::variant<PreSplitRegex, PreSplitLiteral, PreByteLevel, PreMetaspace, PreDigits,
                 PrePunctuation, PreWhitespace, PreWhitespaceSplit, PreBert, PreFixedLength>;

// --- decoders, applied in order ----------------------------------------------------------------
struct DecodeByteLevel {};
struct DecodeByteFallback {};
struct DecodeFuse {};
struct DecodeMetaspace {
  std::string replacement = "\xe2\x96\x81";
  bool strip_prefix = true;
};
struct DecodeReplace {
  std::string pattern;
  bool is_regex = false;
  std::string content;
};
struct DecodeStrip {
  std::string content;
  int32_t start = 0;
  int32_t stop = 0;
};
struct DecodeWordPiece {
  std::string prefix;
  bool cleanup = true;
};
struct DecodeBpeSuffix {
  std::string suffix = "</w>";
};  // -> ' ', but "" in the last token
// sentencepiece itself: control pieces vanish, byte pieces become characters one by one, U+2581
// becomes a space, and spaces at the start of the text go.
struct DecodeSentencePiece {
  bool strip_first_space = true;  // the dummy prefix: one
  bool strip_all_spaces = false;  // remove_extra_whitespaces: every leading piece's
  std::string unknown_text = " \xe2\x81\x87 ";
};
using Decoder =
    std::variant<DecodeByteLevel, DecodeByteFallback, DecodeFuse, DecodeMetaspace, DecodeReplace,
                 DecodeStrip, DecodeWordPiece, DecodeBpeSuffix, DecodeSentencePiece>;

// What a piece of a sentencepiece vocabulary is (the numbers of its file format and of GGUF).
// kAdded is ours: a token that was put beside the vocabulary and that the model itself never makes.
enum class PieceKind : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
  kAdded = 7,
};

struct TokenizerData {
  TokenizerModel model = TokenizerModel::kBpe;
  std::vector<std::string> tokens;  // [V'] id -> text as the model's alphabet has it; "" for holes
  std::vector<double> scores;       // unigram: log probabilities; sentencepiece BPE: merge priority
  std::vector<PieceKind> kinds;     // sentencepiece: of each token; else empty
  // BPE: pairs in order of priority, as ids (left, right); the merged token is their concatenation.
  std::vector<std::pair<int32_t, int32_t>> merges;
  bool merges_by_score = false;  // sentencepiece BPE without a merge list: priority is the score
  // The rules of the sentencepiece library instead of tokenizer.json's: `kinds` and `scores` hold,
  // arithmetic is f32, and encode() does not look for control tokens in the text.
  bool sentencepiece = false;
  bool byte_fallback = false;  // unknown characters become <0xNN> tokens
  bool ignore_merges = false;  // a word that is a token is that token, whatever the merges say
  bool fuse_unknown = false;
  int32_t unknown_id = -1;
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;

  std::vector<AddedToken> added_tokens;
  std::vector<Normalizer> normalizers;
  std::vector<PreTokenizer> pre_tokenizers;
  std::vector<Decoder> decoders;

  // What encode(add_special) puts around a text (post-processor): ids before and after.
  std::vector<int32_t> prefix_ids;
  std::vector<int32_t> suffix_ids;

  int32_t bos_id = -1;
  int32_t eos_id = -1;
  bool clean_up_spaces = false;  // transformers' clean_up_tokenization_spaces

  std::string chat_template;  // Jinja text; "" when the file has none
  std::string bos_token;      // texts the template may name
  std::string eos_token;
};

}  // namespace ruvllm
