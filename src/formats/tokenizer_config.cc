#include "formats/tokenizer_config.h"

#include <algorithm>
#include <optional>

#include "base/mmap_file.h"
#include "formats/json_fields.h"
#include "formats/tokenizer_json.h"

namespace ruvllm {
namespace {

constexpr uint64_t kMaxConfigBytes = 64 << 20;
constexpr uint64_t kMaxTemplateBytes = 4 << 20;

// A JSON file of an object; nullopt when there is none.
Result<std::optional<Json>> read_json_file(const std::string& path) {
  if (!file_exists(path)) return std::nullopt;
  RUVLLM_ASSIGN(const std::string text, read_text_file(path, kMaxConfigBytes));
  auto json = Json::parse(text);
  if (!json) return fail(json.error().code, concat(path, ": ", json.error().message));
  if (!json->is_object()) {
    return fail(ErrorCode::kBadFile,
                concat(path, ": found ", json->type_name(), ", expected an object"));
  }
  return *std::move(json);
}

// "bos_token": a text, or an object with its content.
void read_special_text(const Json& config, std::string_view key, std::string& out) {
  const Json* value = config.find(key);
  if (value != nullptr && value->is_object()) value = value->find("content");
  if (value != nullptr && value->is_string()) out = *value->as_string();
}

// One text, or a list of named ones of which the model's usual one is "default".
Status read_chat_template(const Json& config, const std::string& path, TokenizerData& data) {
  const Json* value = config.find("chat_template");
  if (value == nullptr || value->is_null()) return {};
  if (const std::string* text = value->as_string()) {
    data.chat_template = *text;
    return {};
  }
  if (const Json::Array* list = value->as_array()) {
    for (const Json& item : *list) {
      const Json* name = item.find("name");
      const Json* text = item.find("template");
      if (name == nullptr || text == nullptr || !name->is_string() || !text->is_string()) continue;
      if (data.chat_template.empty() || *name->as_string() == "default") {
        data.chat_template = *text->as_string();
      }
    }
    return {};
  }
  return fail(ErrorCode::kBadFile, concat(path, ": chat_template is ", value->type_name(),
                                          ", expected a text or a list of named texts"));
}

void add_token(AddedToken token, TokenizerData& data) {
  for (const AddedToken& known : data.added_tokens) {
    if (known.id == token.id || known.content == token.content) return;
  }
  data.added_tokens.push_back(std::move(token));
}

bool parse_id(std::string_view text, int32_t& id) {
  constexpr int32_t kMaxId = (1 << 24) - 1;
  return parse_number(text, id) && id >= 0 && id <= kMaxId;
}

// "added_tokens_decoder": {"32000": {"content": ..., flags}}.
Status read_added_tokens_decoder(const Json& config, const std::string& path, TokenizerData& data) {
  const Json* value = config.find("added_tokens_decoder");
  const Json::Object* members = value != nullptr ? value->as_object() : nullptr;
  if (members == nullptr) return {};
  for (const auto& [key, json] : *members) {
    const std::string where = concat(path, ": added_tokens_decoder.", printable(key));
    RUVLLM_ASSIGN(AddedToken token, parse_added_token(json, where));
    if (!parse_id(key, token.id)) {
      return fail(ErrorCode::kBadFile, concat(where, ": expected a token id as the key"));
    }
    add_token(std::move(token), data);
  }
  return {};
}

// added_tokens.json: {text: id}, tokens that a fine-tuning added to a sentencepiece vocabulary.
Status read_added_tokens_file(const std::string& path, TokenizerData& data) {
  RUVLLM_ASSIGN(const std::optional<Json> json, read_json_file(path));
  if (!json) return {};
  for (const auto& [text, value] : *json->as_object()) {
    AddedToken token;
    token.content = text;
    token.special = text.starts_with('<') && text.ends_with('>');
    if (!parse_id(value.dump(), token.id)) {
      return fail(ErrorCode::kBadFile,
                  concat(path, ": '", printable(text), "' has no token id as its value"));
    }
    add_token(std::move(token), data);
  }
  return {};
}

// Tokenizer classes of transformers that put BOS and EOS as the config says, whatever
// tokenizer.json's post-processor does.
bool class_obeys_add_bos(const Json& config) {
  const Json* value = config.find("tokenizer_class");
  if (value == nullptr || !value->is_string()) return false;
  for (const char* name : {"Llama", "CodeLlama", "Gemma", "Cohere"}) {
    if (value->as_string()->starts_with(name)) return true;
  }
  return false;
}

void set_special_id(std::vector<int32_t>& ids, int32_t id, bool wanted) {
  if (id < 0) return;
  const bool has = std::find(ids.begin(), ids.end(), id) != ids.end();
  if (wanted && !has) ids.push_back(id);
  if (!wanted) std::erase(ids, id);
}

void apply_add_bos(const Json& config, TokenizerData& data) {
  if (!class_obeys_add_bos(config)) return;
  const auto flag = [&](std::string_view key) {
    const Json* value = config.find(key);
    return value != nullptr ? value->as_bool() : std::nullopt;
  };
  if (const auto wanted = flag("add_bos_token")) {
    set_special_id(data.prefix_ids, data.bos_id, *wanted);
  }
  if (const auto wanted = flag("add_eos_token")) {
    set_special_id(data.suffix_ids, data.eos_id, *wanted);
  }
}

}  // namespace

int32_t find_token_id(const TokenizerData& data, std::string_view text) {
  if (text.empty()) return -1;
  for (const AddedToken& token : data.added_tokens) {
    if (token.content == text) return token.id;
  }
  const auto at = std::find(data.tokens.begin(), data.tokens.end(), text);
  return at != data.tokens.end() ? static_cast<int32_t>(at - data.tokens.begin()) : -1;
}

Status apply_tokenizer_config(const std::string& directory, TokenizerData& data) {
  const std::string map_path = concat(directory, "/special_tokens_map.json");
  RUVLLM_ASSIGN(const std::optional<Json> map, read_json_file(map_path));
  const std::string config_path = concat(directory, "/tokenizer_config.json");
  RUVLLM_ASSIGN(const std::optional<Json> config, read_json_file(config_path));
  for (const std::optional<Json>* source : {&map, &config}) {
    if (!*source) continue;
    read_special_text(**source, "bos_token", data.bos_token);
    read_special_text(**source, "eos_token", data.eos_token);
  }
  if (config) {
    RUVLLM_TRY(read_added_tokens_decoder(*config, config_path, data));
    RUVLLM_TRY(read_chat_template(*config, config_path, data));
    JsonFields fields(*config, config_path);
    data.clean_up_spaces = fields.flag_or("clean_up_tokenization_spaces", false);
    RUVLLM_TRY(fields.status());
  }
  RUVLLM_TRY(read_added_tokens_file(concat(directory, "/added_tokens.json"), data));
  const int32_t bos_id = find_token_id(data, data.bos_token);
  const int32_t eos_id = find_token_id(data, data.eos_token);
  if (bos_id >= 0) data.bos_id = bos_id;
  if (eos_id >= 0) data.eos_id = eos_id;
  if (config) apply_add_bos(*config, data);

  const std::string template_json_path = concat(directory, "/chat_template.json");
  RUVLLM_ASSIGN(const std::optional<Json> template_json, read_json_file(template_json_path));
  if (template_json) RUVLLM_TRY(read_chat_template(*template_json, template_json_path, data));
  const std::string template_path = concat(directory, "/chat_template.jinja");
  if (file_exists(template_path)) {
    RUVLLM_ASSIGN(data.chat_template, read_text_file(template_path, kMaxTemplateBytes));
  }
  return {};
}

}  // namespace ruvllm
