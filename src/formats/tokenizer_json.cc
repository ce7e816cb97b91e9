#include "formats/tokenizer_json.h"

#include <algorithm>
#include <unordered_map>

#include "formats/json_fields.h"
#include "formats/tokenizer_json_parts.h"

namespace ruvllm {
namespace {

constexpr int64_t kMaxId = (1 << 24) - 1;

using IdsByText = std::unordered_map<std::string_view, int32_t>;

Status bad(const std::string& where, const std::string& message) {
  return fail(ErrorCode::kBadFile, concat(where, ": ", message));
}

// {text: id}. Ids may have holes, but not out of proportion to what the file holds.
Status read_vocab_object(const Json& vocab, const std::string& where, TokenizerData& data,
                         IdsByText& ids) {
  const Json::Object* members = vocab.as_object();
  if (members == nullptr) {
    return bad(where, concat("found ", vocab.type_name(), ", expected an object of text: id"));
  }
  const int64_t max_id = std::min<int64_t>(
      kMaxId, std::max<int64_t>(int64_t{1} << 20, static_cast<int64_t>(members->size()) * 4));
  int64_t last_id = -1;
  for (const auto& [text, value] : *members) {
    const auto id = value.as_int64();
    if (!id || *id < 0 || *id > max_id) {
      return bad(where, concat("token '", printable(text), "' has the id ", printable(value.dump()),
                               ", expected an integer from 0 to ", max_id));
    }
    last_id = std::max(last_id, *id);
  }
  data.tokens.resize(static_cast<size_t>(last_id + 1));
  ids.reserve(members->size());
  for (const auto& [text, value] : *members) {
    const auto id = static_cast<int32_t>(*value.as_int64());
    data.tokens[static_cast<size_t>(id)] = text;
    ids.emplace(text, id);
  }
  return {};
}

// "left right" or ["left", "right"].
bool split_merge(const Json& merge, std::string_view& left, std::string_view& right) {
  if (const std::string* line = merge.as_string()) {
    const std::string_view text = *line;
    const size_t space = text.find(' ');
    if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
      return false;
    }
    left = text.substr(0, space);
    right = text.substr(space + 1);
    return true;
  }
  const Json::Array* pair = merge.as_array();
  if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string() || !(*pair)[1].is_string()) {
    return false;
  }
  left = *(*pair)[0].as_string();
  right = *(*pair)[1].as_string();
  return true;
}

Status read_merges(const Json& merges, const std::string& where, const IdsByText& ids,
                   TokenizerData& data) {
  const Json::Array* list = merges.as_array();
  if (list == nullptr)
    return bad(where, concat("found ", merges.type_name(), ", expected an array"));
  data.merges.reserve(list->size());
  for (size_t i = 0; i < list->size(); ++i) {
    const Json& merge = (*list)[i];
    if (merge.is_string() && merge.as_string()->starts_with("#version")) continue;
    std::string_view left, right;
    if (!split_merge(merge, left, right)) {
      return bad(concat(where, "[", i, "]"),
                 concat("found ", printable(merge.dump()), ", expected two tokens"));
    }
    const auto left_id = ids.find(left), right_id = ids.find(right);
    if (left_id == ids.end() || right_id == ids.end()) {
      return bad(concat(where, "[", i, "]"),
                 concat("'", printable(left_id == ids.end() ? left : right), "' is not in vocab"));
    }
    data.merges.emplace_back(left_id->second, right_id->second);
  }
  return {};
}

Status read_bpe(const Json& model, const std::string& where, TokenizerData& data) {
  JsonFields fields(model, where);
  data.model = TokenizerModel::kBpe;
  data.byte_fallback = fields.flag_or("byte_fallback", false);
  data.ignore_merges = fields.flag_or("ignore_merges", false);
  data.fuse_unknown = fields.flag_or("fuse_unk", false);
  data.continuing_subword_prefix = fields.text_or("continuing_subword_prefix", "");
  data.end_of_word_suffix = fields.text_or("end_of_word_suffix", "");
  if (fields.number_or("dropout", 0.0, 0.0, 1.0) != 0.0) {
    fields.unsupported("dropout", "is set; encoding would be random");
  }
  const Json* vocab = fields.find("vocab");
  const Json* merges = fields.find("merges");
  if (vocab == nullptr) fields.bad("vocab", "is missing");
  if (merges == nullptr) fields.bad("merges", "is missing");
  RUVLLM_TRY(fields.status());
  IdsByText ids;
  RUVLLM_TRY(read_vocab_object(*vocab, concat(where, ".vocab"), data, ids));
  RUVLLM_TRY(read_merges(*merges, concat(where, ".merges"), ids, data));
  const auto unknown = ids.find(fields.text_or("unk_token", ""));
  if (fields.has("unk_token") && unknown != ids.end()) data.unknown_id = unknown->second;
  return fields.status();
}

Status read_unigram(const Json& model, const std::string& where, TokenizerData& data) {
  JsonFields fields(model, where);
  data.model = TokenizerModel::kUnigram;
  data.byte_fallback = fields.flag_or("byte_fallback", false);
  data.fuse_unknown = true;
  const Json* vocab = fields.find("vocab");
  const Json::Array* list = vocab != nullptr ? vocab->as_array() : nullptr;
  if (list == nullptr) fields.bad("vocab", "expected an array of [text, score]");
  if (list != nullptr && list->size() > static_cast<size_t>(kMaxId)) {
    fields.unsupported("vocab", "has ", list->size(), " tokens, expected at most ", kMaxId);
  }
  RUVLLM_TRY(fields.status());
  data.tokens.reserve(list->size());
  data.scores.reserve(list->size());
  for (const Json& item : *list) {
    const Json::Array* pair = item.as_array();
    const bool good =
        pair != nullptr && pair->size() == 2 && (*pair)[0].is_string() && (*pair)[1].is_number();
    if (!good) {
      return bad(concat(where, ".vocab[", data.tokens.size(), "]"),
                 concat("found ", printable(item.dump()), ", expected [text, score]"));
    }
    data.tokens.push_back(*(*pair)[0].as_string());
    data.scores.push_back(*(*pair)[1].as_double());
  }
  data.unknown_id = static_cast<int32_t>(
      fields.integer_or("unk_id", -1, 0, static_cast<int64_t>(data.tokens.size()) - 1));
  return fields.status();
}

Status read_model(const Json& model, const std::string& where, TokenizerData& data) {
  const Json* type_field = model.find("type");
  std::string type =
      type_field != nullptr && type_field->is_string() ? *type_field->as_string() : "";
  if (type.empty()) {  // files from before the field existed
    const Json* vocab = model.find("vocab");
    if (model.find("merges") != nullptr) type = "BPE";
    if (vocab != nullptr && vocab->is_array()) type = "Unigram";
  }
  if (type == "BPE") return read_bpe(model, where, data);
  if (type == "Unigram") return read_unigram(model, where, data);
  return fail(ErrorCode::kUnsupported, concat(where, ": type '", printable(type),
                                              "' is not supported (BPE and Unigram are)"));
}

}  // namespace

Result<AddedToken> parse_added_token(const Json& json, const std::string& where) {
  JsonFields fields(json, where);
  AddedToken token;
  token.content = fields.text_or("content", "");
  token.special = fields.flag_or("special", false);
  token.lstrip = fields.flag_or("lstrip", false);
  token.rstrip = fields.flag_or("rstrip", false);
  token.single_word = fields.flag_or("single_word", false);
  token.normalized = fields.flag_or("normalized", !token.special);
  RUVLLM_TRY(fields.status());
  return token;
}

Result<TokenizerData> parse_tokenizer_json(std::string_view text, const std::string& name) {
  auto parsed = Json::parse(text);
  if (!parsed) return fail(parsed.error().code, concat(name, ": ", parsed.error().message));
  const Json& root = *parsed;
  if (!root.is_object()) {
    return fail(ErrorCode::kBadFile,
                concat(name, ": found ", root.type_name(), ", expected an object"));
  }
  TokenizerData data;
  const Json* model = root.find("model");
  if (model == nullptr) return fail(ErrorCode::kBadFile, concat(name, ": model is missing"));
  RUVLLM_TRY(read_model(*model, concat(name, ": model"), data));

  using ReadPart = Status (*)(const Json&, const std::string&, TokenizerData&);
  const std::pair<const char*, ReadPart> parts[] = {{"normalizer", read_normalizer},
                                                    {"pre_tokenizer", read_pre_tokenizer},
                                                    {"post_processor", read_post_processor},
                                                    {"decoder", read_decoder}};
  for (const auto& [key, read] : parts) {
    if (const Json* part = root.find(key)) RUVLLM_TRY(read(*part, concat(name, ": ", key), data));
  }
  if (const Json* added = root.find("added_tokens"); added != nullptr && !added->is_null()) {
    const Json::Array* list = added->as_array();
    if (list == nullptr)
      return fail(ErrorCode::kBadFile, concat(name, ": added_tokens is no array"));
    for (size_t i = 0; i < list->size(); ++i) {
      const std::string where = concat(name, ": added_tokens[", i, "]");
      RUVLLM_ASSIGN(AddedToken token, parse_added_token((*list)[i], where));
      JsonFields fields((*list)[i], where);
      token.id = static_cast<int32_t>(fields.integer("id", 0, kMaxId));
      RUVLLM_TRY(fields.status());
      data.added_tokens.push_back(std::move(token));
    }
  }
  return data;
}

}  // namespace ruvllm
