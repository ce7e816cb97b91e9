#include "formats/tokenizer_tekken.h"

#include <algorithm>
#include <iterator>

#include "formats/json_fields.h"
#include "formats/tokenizer_base64.h"
#include "formats/tokenizer_byte_letters.h"

namespace ruvllm {
namespace {

constexpr int64_t kMaxTokens = 1 << 24;

constexpr std::string_view kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Special tokens of tekken files that do not list theirs (versions before v7), by id.
constexpr std::string_view kOldSpecialTokens[] = {"<unk>",
                                                  "<s>",
                                                  "</s>",
                                                  "[INST]",
                                                  "[/INST]",
                                                  "[AVAILABLE_TOOLS]",
                                                  "[/AVAILABLE_TOOLS]",
                                                  "[TOOL_RESULTS]",
                                                  "[/TOOL_RESULTS]",
                                                  "[TOOL_CALLS]",
                                                  "<pad>",
                                                  "[PREFIX]",
                                                  "[MIDDLE]",
                                                  "[SUFFIX]"};

void set_byte_level(std::string_view regex, TokenizerData& data) {
  data.model = TokenizerModel::kRankBpe;
  PreSplitRegex split;
  split.pattern = regex;
  data.pre_tokenizers.emplace_back(std::move(split));
  data.pre_tokenizers.emplace_back(PreByteLevel{false, false});
  data.decoders.emplace_back(DecodeByteLevel{});
}

void add_special(int32_t id, std::string text, TokenizerData& data) {
  AddedToken token;
  token.id = id;
  token.content = std::move(text);
  token.special = true;
  data.added_tokens.push_back(std::move(token));
}

Status read_special_tokens(const Json& root, const std::string& name, int64_t num_special,
                           TokenizerData& data) {
  const Json* list = root.find("special_tokens");
  if (list == nullptr || !list->is_array()) {
    for (size_t i = 0; i < std::size(kOldSpecialTokens); ++i) {
      if (static_cast<int64_t>(i) < num_special) {
        add_special(static_cast<int32_t>(i), std::string(kOldSpecialTokens[i]), data);
      }
    }
  } else {
    for (const Json& item : *list->as_array()) {
      JsonFields fields(item, concat(name, ": special_tokens"));
      const auto rank = static_cast<int32_t>(fields.integer("rank", 0, num_special - 1));
      std::string text = fields.text_or("token_str", "");
      if (text.empty()) fields.bad("token_str", "is missing");
      RUVLLM_TRY(fields.status());
      add_special(rank, std::move(text), data);
    }
  }
  for (int64_t i = static_cast<int64_t>(data.added_tokens.size()); i < num_special; ++i) {
    const auto id = static_cast<int32_t>(i);
    const bool taken = std::any_of(data.added_tokens.begin(), data.added_tokens.end(),
                                   [&](const AddedToken& t) { return t.id == id; });
    if (!taken) add_special(id, concat("<SPECIAL_", i, ">"), data);
  }
  return {};
}

}  // namespace

Result<TokenizerData> parse_tekken(std::string_view text, const std::string& name) {
  auto parsed = Json::parse(text);
  if (!parsed) return fail(parsed.error().code, concat(name, ": ", parsed.error().message));
  JsonFields root(*parsed, name);
  const Json null;
  const Json* config_json = root.find("config");
  JsonFields config(config_json != nullptr ? *config_json : null, concat(name, ": config"));
  constexpr int64_t kMaxSpecial = 65536;
  const int64_t num_special = config.integer("default_num_special_tokens", 0, kMaxSpecial);
  const int64_t vocab_size = config.integer("default_vocab_size", 1, kMaxTokens);
  const std::string pattern = config.text_or("pattern", "");
  if (pattern.empty()) config.bad("pattern", "is missing");
  RUVLLM_TRY(config.status());
  const Json* vocab = root.find("vocab");
  const Json::Array* list = vocab != nullptr ? vocab->as_array() : nullptr;
  if (list == nullptr) root.bad("vocab", "expected an array");
  RUVLLM_TRY(root.status());

  TokenizerData data;
  set_byte_level(pattern, data);
  const int64_t num_ranked =
      std::min(std::max<int64_t>(vocab_size - num_special, 0), static_cast<int64_t>(list->size()));
  data.tokens.resize(static_cast<size_t>(num_special + num_ranked));
  for (int64_t i = 0; i < num_ranked; ++i) {
    JsonFields fields((*list)[static_cast<size_t>(i)], concat(name, ": vocab[", i, "]"));
    const int64_t rank = fields.integer("rank", 0, num_ranked - 1);
    const auto bytes = decode_base64(fields.text_or("token_bytes", ""));
    if (!bytes || bytes->empty()) fields.bad("token_bytes", "expected base64 of at least one byte");
    RUVLLM_TRY(fields.status());
    data.tokens[static_cast<size_t>(num_special + rank)] = bytes_to_byte_letters(*bytes);
  }
  RUVLLM_TRY(read_special_tokens(*parsed, name, num_special, data));
  for (const AddedToken& token : data.added_tokens) {
    if (token.content == "<s>") data.bos_id = token.id;
    if (token.content == "</s>") data.eos_id = token.id;
    if (token.content == "<unk>") data.unknown_id = token.id;
  }
  if (data.bos_id >= 0) {
    data.bos_token = "<s>";
    data.prefix_ids = {data.bos_id};
  }
  if (data.eos_id >= 0) data.eos_token = "</s>";
  return data;
}

namespace {

// "<base64> <rank>"
bool parse_tiktoken_line(std::string_view line, std::string& bytes, int64_t& rank) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos) return false;
  auto decoded = decode_base64(line.substr(0, space));
  if (!decoded || decoded->empty()) return false;
  bytes = *std::move(decoded);
  return parse_number(line.substr(space + 1), rank);
}

std::string_view take_line(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

}  // namespace

bool looks_like_tiktoken(std::string_view text) {
  std::string bytes;
  int64_t rank = 0;
  return parse_tiktoken_line(take_line(text), bytes, rank);
}

Result<TokenizerData> parse_tiktoken(std::string_view text, const std::string& name) {
  TokenizerData data;
  const bool is_qwen = name.find("qwen") != std::string::npos;
  set_byte_level(is_qwen ? kQwen2Regex : kLlama3Regex, data);
  const int64_t max_rank = std::min<int64_t>(kMaxTokens, static_cast<int64_t>(text.size()));
  for (size_t line_number = 1; !text.empty(); ++line_number) {
    const std::string_view line = take_line(text);
    if (line.empty()) continue;
    std::string bytes;
    int64_t rank = 0;
    if (!parse_tiktoken_line(line, bytes, rank) || rank < 0 || rank >= max_rank) {
      return fail(ErrorCode::kBadFile, concat(name, ": line ", line_number, ": found '",
                                              printable(line), "', expected base64 and a rank"));
    }
    if (static_cast<size_t>(rank) >= data.tokens.size()) {
      data.tokens.resize(static_cast<size_t>(rank) + 1);
    }
    data.tokens[static_cast<size_t>(rank)] = bytes_to_byte_letters(bytes);
  }
  if (data.tokens.empty()) return fail(ErrorCode::kBadFile, concat(name, ": no tokens"));
  return data;
}

}  // namespace ruvllm
