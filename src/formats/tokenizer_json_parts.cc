#include "formats/tokenizer_json_parts.h"

#include <limits>

#include "formats/json_fields.h"
#include "formats/tokenizer_base64.h"

namespace ruvllm {
namespace {

constexpr int64_t kMaxId = std::numeric_limits<int32_t>::max();
constexpr int64_t kMaxCount = 1 << 20;

Status not_supported(const std::string& where, std::string_view type) {
  return fail(ErrorCode::kUnsupported,
              concat(where, ": type '", printable(type), "' is not supported"));
}

// Calls read_one for each member of a Sequence's list. The parser bounds the nesting.
template <typename ReadOne>
Status read_sequence(JsonFields& fields, std::string_view key, ReadOne&& read_one) {
  const Json* list = fields.find(key);
  if (list == nullptr || !list->is_array()) {
    fields.bad(key, "found ", list == nullptr ? "nothing" : list->type_name(),
               ", expected an array");
    return fields.status();
  }
  size_t index = 0;
  for (const Json& item : *list->as_array()) {
    RUVLLM_TRY(read_one(item, concat(fields.where(), ".", key, "[", index++, "]")));
  }
  return {};
}

struct TextPattern {
  std::string text;
  bool is_regex = false;
};

// {"String": text} or {"Regex": text}.
TextPattern read_pattern(JsonFields& fields) {
  const Json* pattern = fields.find("pattern");
  for (const bool is_regex : {false, true}) {
    const Json* text = pattern == nullptr ? nullptr : pattern->find(is_regex ? "Regex" : "String");
    if (text != nullptr && text->is_string()) return {*text->as_string(), is_regex};
  }
  fields.bad("pattern", "expected {\"String\": text} or {\"Regex\": text}");
  return {};
}

SplitBehavior read_behavior(JsonFields& fields, std::string_view fallback) {
  const std::string name = fields.text_or("behavior", fallback);
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  fields.bad("behavior", "found '", printable(name),
             "', expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
  return SplitBehavior::kIsolated;
}

PreMetaspace::Prepend read_prepend_scheme(JsonFields& fields) {
  // Older files say add_prefix_space instead.
  const bool prefix = fields.flag_or("add_prefix_space", true);
  const std::string scheme = fields.text_or("prepend_scheme", "always");
  if (!prefix || scheme == "never") return PreMetaspace::kNever;
  if (scheme == "first") return PreMetaspace::kFirst;
  if (scheme != "always") {
    fields.bad("prepend_scheme", "found '", printable(scheme),
               "', expected always, first or never");
  }
  return PreMetaspace::kAlways;
}

}  // namespace

Status read_normalizer(const Json& json, const std::string& where, TokenizerData& data) {
  if (json.is_null()) return {};
  JsonFields fields(json, where);
  const std::string type = fields.text_or("type", "");
  auto& out = data.normalizers;
  if (type == "Sequence") {
    return read_sequence(fields, "normalizers", [&](const Json& item, const std::string& at) {
      return read_normalizer(item, at, data);
    });
  }
  if (type == "NFC") {
    out.push_back(NormalizeUnicode{NormalizeUnicode::kNfc});
  } else if (type == "NFD") {
    out.push_back(NormalizeUnicode{NormalizeUnicode::kNfd});
  } else if (type == "NFKC") {
    out.push_back(NormalizeUnicode{NormalizeUnicode::kNfkc});
  } else if (type == "NFKD") {
    out.push_back(NormalizeUnicode{NormalizeUnicode::kNfkd});
  } else if (type == "Lowercase") {
    out.push_back(NormalizeLowercase{});
  } else if (type == "StripAccents") {
    out.push_back(NormalizeStripAccents{});
  } else if (type == "Nmt") {
    out.push_back(NormalizeNmt{});
  } else if (type == "ByteLevel") {
    out.push_back(NormalizeByteLevel{});
  } else if (type == "Strip") {
    out.push_back(
        NormalizeStrip{fields.flag_or("strip_left", true), fields.flag_or("strip_right", true)});
  } else if (type == "Prepend") {
    out.push_back(NormalizePrepend{fields.text_or("prepend", "")});
  } else if (type == "Replace") {
    TextPattern pattern = read_pattern(fields);
    out.push_back(
        NormalizeReplace{std::move(pattern.text), pattern.is_regex, fields.text_or("content", "")});
  } else if (type == "BertNormalizer") {
    NormalizeBert bert;
    bert.clean_text = fields.flag_or("clean_text", true);
    bert.handle_chinese_chars = fields.flag_or("handle_chinese_chars", true);
    bert.lowercase = fields.flag_or("lowercase", true);
    bert.strip_accents = fields.flag_or("strip_accents", bert.lowercase);
    out.push_back(bert);
  } else if (type == "Precompiled") {
    const auto map = decode_base64(fields.text_or("precompiled_charsmap", ""));
    if (!map) fields.bad("precompiled_charsmap", "expected base64");
    out.push_back(NormalizePrecompiled{map.value_or("")});
  } else {
    return not_supported(where, type);
  }
  return fields.status();
}

Status read_pre_tokenizer(const Json& json, const std::string& where, TokenizerData& data) {
  if (json.is_null()) return {};
  JsonFields fields(json, where);
  const std::string type = fields.text_or("type", "");
  auto& out = data.pre_tokenizers;
  if (type == "Sequence") {
    return read_sequence(fields, "pretokenizers", [&](const Json& item, const std::string& at) {
      return read_pre_tokenizer(item, at, data);
    });
  }
  if (type == "Split") {
    TextPattern pattern = read_pattern(fields);
    const SplitBehavior behavior = read_behavior(fields, "");
    const bool invert = fields.flag_or("invert", false);
    if (pattern.is_regex) {
      out.push_back(PreSplitRegex{std::move(pattern.text), behavior, invert});
    } else {
      out.push_back(PreSplitLiteral{std::move(pattern.text), behavior, invert});
    }
  } else if (type == "ByteLevel") {
    out.push_back(
        PreByteLevel{fields.flag_or("add_prefix_space", true), fields.flag_or("use_regex", true)});
  } else if (type == "Metaspace") {
    PreMetaspace metaspace;
    metaspace.replacement = fields.text_or("replacement", metaspace.replacement);
    metaspace.prepend = read_prepend_scheme(fields);
    metaspace.split = fields.flag_or("split", true);
    out.push_back(std::move(metaspace));
  } else if (type == "Digits") {
    out.push_back(PreDigits{fields.flag_or("individual_digits", false)});
  } else if (type == "Punctuation") {
    out.push_back(PrePunctuation{read_behavior(fields, "Isolated")});
  } else if (type == "Whitespace") {
    out.push_back(PreWhitespace{});
  } else if (type == "WhitespaceSplit") {
    out.push_back(PreWhitespaceSplit{});
  } else if (type == "BertPreTokenizer") {
    out.push_back(PreBert{});
  } else if (type == "CharDelimiterSplit") {
    out.push_back(PreSplitLiteral{fields.text_or("delimiter", ""), SplitBehavior::kRemoved, false});
  } else if (type == "FixedLength") {
    out.push_back(PreFixedLength{fields.integer_or("length", 5, 1, kMaxCount)});
  } else {
    return not_supported(where, type);
  }
  return fields.status();
}

namespace {

// "cls" and "sep" of the Bert and Roberta processors: [text, id].
int32_t read_text_and_id(JsonFields& fields, std::string_view key) {
  const Json* pair = fields.find(key);
  const Json::Array* items = pair != nullptr ? pair->as_array() : nullptr;
  if (items != nullptr && items->size() == 2) {
    const auto id = (*items)[1].as_int64();
    if (id && *id >= 0 && *id <= kMaxId) return static_cast<int32_t>(*id);
  }
  fields.bad(key, "expected [text, id]");
  return 0;
}

// The ids of one special token of a TemplateProcessing.
Status append_special(const Json* special_tokens, const Json& piece, const std::string& where,
                      std::vector<int32_t>& out) {
  const Json* name = piece.find("id");
  const Json* entry = special_tokens != nullptr && name != nullptr && name->is_string()
                          ? special_tokens->find(*name->as_string())
                          : nullptr;
  const Json* ids = entry != nullptr ? entry->find("ids") : nullptr;
  if (ids == nullptr || !ids->is_array()) {
    return fail(ErrorCode::kBadFile,
                concat(where, ": expected the name of one of special_tokens with its ids"));
  }
  for (const Json& item : *ids->as_array()) {
    const auto id = item.as_int64();
    if (!id || *id < 0 || *id > kMaxId) {
      return fail(ErrorCode::kBadFile, concat(where, ": an id is not an integer from 0"));
    }
    out.push_back(static_cast<int32_t>(*id));
  }
  return {};
}

Status read_template(JsonFields& fields, TokenizerData& data) {
  std::vector<int32_t> before, after;
  int num_sequences = 0;
  const Json* special_tokens = fields.find("special_tokens");
  RUVLLM_TRY(
      read_sequence(fields, "single", [&](const Json& piece, const std::string& at) -> Status {
        if (const Json* sequence = piece.find("Sequence")) {
          const Json* id = sequence->find("id");
          if (id == nullptr || !id->is_string() || *id->as_string() != "A" || ++num_sequences > 1) {
            return fail(ErrorCode::kUnsupported, concat(at, ": expected the sequence A, once"));
          }
          return {};
        }
        const Json* special = piece.find("SpecialToken");
        if (special == nullptr) {
          return fail(ErrorCode::kBadFile, concat(at, ": expected a Sequence or a SpecialToken"));
        }
        return append_special(special_tokens, *special, at, num_sequences == 0 ? before : after);
      }));
  if (num_sequences != 1) {
    return fail(ErrorCode::kUnsupported,
                concat(fields.where(), ".single: expected the sequence A"));
  }
  // A later processor wraps what earlier ones made.
  data.prefix_ids.insert(data.prefix_ids.begin(), before.begin(), before.end());
  data.suffix_ids.insert(data.suffix_ids.end(), after.begin(), after.end());
  return {};
}

}  // namespace

Status read_post_processor(const Json& json, const std::string& where, TokenizerData& data) {
  if (json.is_null()) return {};
  JsonFields fields(json, where);
  const std::string type = fields.text_or("type", "");
  if (type == "Sequence") {
    return read_sequence(fields, "processors", [&](const Json& item, const std::string& at) {
      return read_post_processor(item, at, data);
    });
  }
  if (type == "TemplateProcessing") {
    RUVLLM_TRY(read_template(fields, data));
  } else if (type == "RobertaProcessing" || type == "BertProcessing") {
    data.prefix_ids.insert(data.prefix_ids.begin(), read_text_and_id(fields, "cls"));
    data.suffix_ids.push_back(read_text_and_id(fields, "sep"));
  } else if (type != "ByteLevel") {  // ByteLevel only moves offsets
    return not_supported(where, type);
  }
  return fields.status();
}

Status read_decoder(const Json& json, const std::string& where, TokenizerData& data) {
  if (json.is_null()) return {};
  JsonFields fields(json, where);
  const std::string type = fields.text_or("type", "");
  auto& out = data.decoders;
  if (type == "Sequence") {
    return read_sequence(fields, "decoders", [&](const Json& item, const std::string& at) {
      return read_decoder(item, at, data);
    });
  }
  if (type == "ByteLevel") {
    out.push_back(DecodeByteLevel{});
  } else if (type == "ByteFallback") {
    out.push_back(DecodeByteFallback{});
  } else if (type == "Fuse") {
    out.push_back(DecodeFuse{});
  } else if (type == "Metaspace") {
    DecodeMetaspace metaspace;
    metaspace.replacement = fields.text_or("replacement", metaspace.replacement);
    metaspace.strip_prefix = read_prepend_scheme(fields) != PreMetaspace::kNever;
    out.push_back(std::move(metaspace));
  } else if (type == "Replace") {
    TextPattern pattern = read_pattern(fields);
    out.push_back(
        DecodeReplace{std::move(pattern.text), pattern.is_regex, fields.text_or("content", "")});
  } else if (type == "Strip") {
    const auto start = static_cast<int32_t>(fields.integer_or("start", 0, 0, kMaxCount));
    const auto stop = static_cast<int32_t>(fields.integer_or("stop", 0, 0, kMaxCount));
    out.push_back(DecodeStrip{fields.text_or("content", ""), start, stop});
  } else if (type == "WordPiece") {
    out.push_back(DecodeWordPiece{fields.text_or("prefix", "##"), fields.flag_or("cleanup", true)});
  } else if (type == "BPEDecoder") {
    out.push_back(DecodeBpeSuffix{fields.text_or("suffix", "</w>")});
  } else {
    return not_supported(where, type);
  }
  return fields.status();
}

}  // namespace ruvllm
