#include "formats/tokenizer_gguf.h"

#include <unordered_map>

#include "base/str.h"
#include "formats/sentencepiece_model.h"
#include "formats/tokenizer_gguf_pre.h"

namespace ruvllm {
namespace {

// Converters give this score to tokens that are not of the sentencepiece vocabulary itself.
constexpr double kAddedScore = -1000.0;

// Reads keys below "tokenizer.ggml."; the first complaint is kept.
class Keys {
 public:
  explicit Keys(const GgufFile& file) : file_(file) {}

  const GgufValue* find(std::string_view key) const { return file_.find(full(key)); }
  std::string text(std::string_view key, std::string_view fallback) {
    const GgufValue* value = find(key);
    if (value == nullptr) return std::string(fallback);
    if (const auto text = value->as_string()) return std::string(*text);
    complain(key, *value, "expected a string");
    return std::string(fallback);
  }
  bool flag(std::string_view key, bool fallback) {
    const GgufValue* value = find(key);
    if (value == nullptr) return fallback;
    if (const auto flag = value->as_bool()) return *flag;
    complain(key, *value, "expected a bool");
    return fallback;
  }
  // A token id below `num_tokens`, or -1 when there is none.
  int32_t token_id(std::string_view key, size_t num_tokens, int32_t fallback) {
    const GgufValue* value = find(key);
    if (value == nullptr) return static_cast<size_t>(fallback) < num_tokens ? fallback : -1;
    const auto id = value->as_int64();
    if (id && *id >= 0 && static_cast<uint64_t>(*id) < num_tokens) return static_cast<int32_t>(*id);
    if (id && (*id == -1 || *id == 0xffffffff)) return -1;
    complain(key, *value, concat("expected a token id below ", num_tokens));
    return -1;
  }
  // An array of `count` numbers; empty when the key is absent.
  std::vector<double> numbers(std::string_view key, size_t count) {
    std::vector<double> out;
    const GgufValue* value = find(key);
    if (value == nullptr) return out;
    if (!value->get_doubles(out) || out.size() != count) {
      complain(key, *value, concat("expected an array of ", count, " numbers"));
      out.clear();
    }
    return out;
  }
  std::vector<std::string_view> strings(std::string_view key) {
    std::vector<std::string_view> out;
    const GgufValue* value = find(key);
    if (value != nullptr && !value->get_strings(out)) {
      complain(key, *value, "expected an array of strings");
    }
    return out;
  }
  void complain(std::string_view key, const GgufValue& value, std::string_view expected) {
    if (status_) {
      status_ = fail(ErrorCode::kBadFile, concat(file_.path, ": ", full(key), ": found ",
                                                 value.describe(), ", ", expected));
    }
  }
  const Status& status() const { return status_; }
  std::string full(std::string_view key) const { return concat("tokenizer.ggml.", key); }

 private:
  const GgufFile& file_;
  Status status_;
};

Status read_kinds(Keys& keys, const std::string& path, TokenizerData& data) {
  const std::vector<double> types = keys.numbers("token_type", data.tokens.size());
  data.kinds.assign(data.tokens.size(), PieceKind::kNormal);
  for (size_t i = 0; i < types.size(); ++i) {
    if (types[i] >= 1 && types[i] <= 6) {
      data.kinds[i] = static_cast<PieceKind>(static_cast<int>(types[i]));
    } else if (types[i] != 0) {
      return fail(ErrorCode::kBadFile, concat(path, ": ", keys.full("token_type"), "[", i,
                                              "]: found ", types[i], ", expected 0 to 6"));
    }
  }
  return {};
}

Status read_sentencepiece(Keys& keys, const std::string& path, bool unigram, TokenizerData& data) {
  data.model = unigram ? TokenizerModel::kUnigram : TokenizerModel::kBpe;
  data.merges_by_score = !unigram;
  data.scores = keys.numbers("scores", data.tokens.size());
  RUVLLM_TRY(keys.status());
  if (data.scores.empty()) {
    return fail(ErrorCode::kBadFile, concat(path, ": ", keys.full("scores"), " is missing"));
  }
  RUVLLM_TRY(read_kinds(keys, path, data));
  for (size_t i = 0; i < data.kinds.size(); ++i) {
    if (data.kinds[i] == PieceKind::kUserDefined && data.scores[i] == kAddedScore) {
      data.kinds[i] = PieceKind::kAdded;
    }
    data.byte_fallback = data.byte_fallback || data.kinds[i] == PieceKind::kByte;
  }
  data.unknown_id = keys.token_id("unknown_token_id", data.tokens.size(), unigram ? 2 : 0);
  // There is one unknown piece; converters also give that type to padding.
  for (PieceKind& kind : data.kinds) {
    if (kind == PieceKind::kUnknown) kind = PieceKind::kControl;
  }
  if (data.unknown_id >= 0) data.kinds[static_cast<size_t>(data.unknown_id)] = PieceKind::kUnknown;
  NormalizeSpmWhitespace normalizer;
  normalizer.add_dummy_prefix = keys.flag("add_space_prefix", true);
  normalizer.remove_extra_whitespaces = keys.flag("remove_extra_whitespaces", false);
  if (const GgufValue* map = keys.find("precompiled_charsmap")) {
    std::vector<int64_t> bytes;
    if (!map->get_integers(bytes)) keys.complain("precompiled_charsmap", *map, "expected bytes");
    for (const int64_t byte : bytes) normalizer.charsmap += static_cast<char>(byte);
  }
  DecodeSentencePiece decoder;
  decoder.strip_first_space = normalizer.add_dummy_prefix;
  decoder.strip_all_spaces = normalizer.remove_extra_whitespaces;
  data.decoders.push_back(decoder);
  data.normalizers.push_back(std::move(normalizer));
  return finish_sentencepiece_data(path, data);
}

Status read_merges(Keys& keys, const std::string& path, TokenizerData& data) {
  std::unordered_map<std::string_view, int32_t> ids;
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    ids.emplace(data.tokens[i], static_cast<int32_t>(i));
  }
  const std::vector<std::string_view> merges = keys.strings("merges");
  data.merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    // The left token is at least one byte, which may itself be a space.
    const size_t space = merges[i].find(' ', 1);
    const std::string_view left = merges[i].substr(0, space);
    const std::string_view right =
        space == std::string_view::npos ? std::string_view() : merges[i].substr(space + 1);
    const auto left_id = ids.find(left), right_id = ids.find(right);
    if (left_id == ids.end() || right_id == ids.end()) {
      return fail(ErrorCode::kBadFile, concat(path, ": ", keys.full("merges"), "[", i, "]: found '",
                                              printable(merges[i]), "', expected two tokens"));
    }
    data.merges.emplace_back(left_id->second, right_id->second);
  }
  return {};
}

Status read_byte_level(Keys& keys, const std::string& path, TokenizerData& data, bool& adds_bos) {
  data.model = TokenizerModel::kBpe;
  const std::string pre = keys.text("pre", "default");
  if (!apply_gguf_pre(pre, data, adds_bos)) {
    return fail(ErrorCode::kUnsupported,
                concat(path, ": ", keys.full("pre"), " '", printable(pre), "' is not known"));
  }
  RUVLLM_TRY(read_merges(keys, path, data));
  RUVLLM_TRY(read_kinds(keys, path, data));
  for (size_t i = 0; i < data.kinds.size(); ++i) {
    if (data.kinds[i] != PieceKind::kControl && data.kinds[i] != PieceKind::kUserDefined) continue;
    AddedToken token;
    token.id = static_cast<int32_t>(i);
    token.content = data.tokens[i];
    token.special = data.kinds[i] == PieceKind::kControl;
    data.added_tokens.push_back(std::move(token));
  }
  data.kinds.clear();
  data.decoders.push_back(DecodeByteLevel{});
  return {};
}

void read_special_tokens(Keys& keys, bool is_sentencepiece, bool adds_bos, bool adds_eos,
                         TokenizerData& data) {
  const size_t num_tokens = data.tokens.size();
  data.bos_id = keys.token_id("bos_token_id", num_tokens, is_sentencepiece ? 1 : -1);
  data.eos_id = keys.token_id("eos_token_id", num_tokens, is_sentencepiece ? 2 : -1);
  if (data.bos_id >= 0) data.bos_token = data.tokens[static_cast<size_t>(data.bos_id)];
  if (data.eos_id >= 0) data.eos_token = data.tokens[static_cast<size_t>(data.eos_id)];
  if (keys.flag("add_bos_token", adds_bos) && data.bos_id >= 0) data.prefix_ids = {data.bos_id};
  if (keys.flag("add_eos_token", adds_eos) && data.eos_id >= 0) data.suffix_ids = {data.eos_id};
}

}  // namespace

Result<TokenizerData> read_gguf_tokenizer(const GgufFile& file) {
  Keys keys(file);
  if (keys.find("model") == nullptr) {
    return fail(ErrorCode::kNotFound, concat(file.path, ": no tokenizer (tokenizer.ggml.model)"));
  }
  const std::string model = keys.text("model", "");
  TokenizerData data;
  for (const std::string_view token : keys.strings("tokens")) data.tokens.emplace_back(token);
  RUVLLM_TRY(keys.status());
  if (data.tokens.empty()) {
    return fail(ErrorCode::kBadFile, concat(file.path, ": ", keys.full("tokens"), " is missing"));
  }
  bool adds_bos = false;
  if (model == "llama") {
    adds_bos = true;
    RUVLLM_TRY(read_sentencepiece(keys, file.path, false, data));
  } else if (model == "t5") {
    RUVLLM_TRY(read_sentencepiece(keys, file.path, true, data));
  } else if (model == "gpt2") {
    RUVLLM_TRY(read_byte_level(keys, file.path, data, adds_bos));
  } else {
    return fail(ErrorCode::kUnsupported, concat(file.path, ": ", keys.full("model"), " '",
                                                printable(model), "' is not supported"));
  }
  read_special_tokens(keys, data.sentencepiece, adds_bos, model == "t5", data);
  if (const GgufValue* text = file.find("tokenizer.chat_template")) {
    data.chat_template = text->as_string().value_or("");
  }
  RUVLLM_TRY(keys.status());
  return data;
}

}  // namespace ruvllm
