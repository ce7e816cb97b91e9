// The prompt part of requests: "prompt" and "input" in their four forms, and chat messages.
#include <algorithm>
#include <array>

#include "base/str.h"
#include "server/api_request.h"
#include "server/json_fields.h"

namespace ruvllm::server {
namespace {

std::unexpected<ApiError> bad_prompt(std::string_view name, std::string_view message) {
  return bad_request(std::string(name), concat(name, " ", message));
}

Api<std::vector<int32_t>> read_ids(const Json::Array& list, std::string_view name,
                                   const ModelFacts& facts) {
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (const Json& element : list) {
    const std::optional<int64_t> id = element.is_integer() ? element.as_int64() : std::nullopt;
    if (!id || *id < 0 || *id >= facts.vocab_size) {
      return bad_prompt(
          name, concat("holds something that is no token id from 0 to ", facts.vocab_size - 1));
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

// The text of a message's content: a string, or its text parts joined by line ends.
Api<std::string> content_text(const Json& content) {
  if (const std::string* text = content.as_string()) return *text;
  const Json::Array* parts = content.as_array();
  if (parts == nullptr) {
    return bad_request("messages", concat("messages: content is ", content.type_name(),
                                          ", expected a string or a list of text parts"));
  }
  std::string out;
  for (const Json& part : *parts) {
    const Json* type = part.find("type");
    const Json* text = part.find("text");
    const bool is_text = type != nullptr && type->as_string() != nullptr &&
                         *type->as_string() == "text" && text != nullptr &&
                         text->as_string() != nullptr;
    if (!is_text) {
      return bad_request("messages",
                         "messages: a content part is no {\"type\":\"text\",\"text\":...}; this "
                         "model takes text only");
    }
    if (&part != parts->data()) out += '\n';
    out += *text->as_string();
  }
  return out;
}

Api<Json> read_message(const Json& message, std::string& content) {
  if (!message.is_object()) {
    return bad_request(
        "messages", concat("messages: an entry is ", message.type_name(), ", expected an object"));
  }
  const Json* role = message.find("role");
  if (role == nullptr || role->as_string() == nullptr || role->as_string()->empty()) {
    return bad_request("messages", "messages: an entry has no role");
  }
  const auto is_given = [&](const char* name) {
    const Json* value = message.find(name);
    return value != nullptr && !value->is_null();
  };
  content.clear();
  if (is_given("content")) {
    Api<std::string> text = content_text(*message.find("content"));
    if (!text) return std::unexpected(std::move(text).error());
    content = *std::move(text);
  } else if (!is_given("tool_calls")) {
    return bad_request("messages", "messages: an entry has no content");
  }
  Json::Object out;
  out.push_back({"role", *role});
  out.push_back({"content", Json(content)});
  for (const JsonMember& member : *message.as_object()) {
    if (member.key != "role" && member.key != "content" && !member.value.is_null()) {
      out.push_back(member);
    }
  }
  return Json(std::move(out));
}

// Variables of the template: nothing that this server decides may be replaced.
Api<std::string> read_variables(const Json& body) {
  const Json* value = body.find("chat_template_kwargs");
  if (value == nullptr || value->is_null()) return std::string();
  if (!value->is_object()) {
    return bad_request("chat_template_kwargs", concat("chat_template_kwargs is ",
                                                      value->type_name(), ", expected an object"));
  }
  constexpr std::array<std::string_view, 10> kReserved = {"messages",
                                                          "tools",
                                                          "documents",
                                                          "add_generation_prompt",
                                                          "continue_final_message",
                                                          "tokenize",
                                                          "chat_template",
                                                          "return_dict",
                                                          "bos_token",
                                                          "eos_token"};
  for (const JsonMember& member : *value->as_object()) {
    const std::string& key = member.key;
    if (std::find(kReserved.begin(), kReserved.end(), key) != kReserved.end() ||
        key.starts_with("__")) {
      return bad_request("chat_template_kwargs",
                         concat("chat_template_kwargs may not set ", printable(key)));
    }
  }
  return value->as_object()->empty() ? std::string() : value->dump();
}

}  // namespace

Api<std::vector<PromptInput>> read_prompts(const Json& body, std::string_view name,
                                           const ModelFacts& facts) {
  const Json* value = body.find(name);
  if (value == nullptr || value->is_null()) return bad_prompt(name, "is missing");
  std::vector<PromptInput> out;
  if (const std::string* text = value->as_string()) {
    if (text->empty()) return bad_prompt(name, "is empty");
    out.emplace_back(*text);
    return out;
  }
  const Json::Array* list = value->as_array();
  if (list == nullptr) {
    return bad_prompt(name, concat("is ", value->type_name(), ", expected a string or a list"));
  }
  if (list->empty()) return bad_prompt(name, "is empty");
  if (list->front().is_number()) {
    Api<std::vector<int32_t>> ids = read_ids(*list, name, facts);
    if (!ids) return std::unexpected(std::move(ids).error());
    out.emplace_back(*std::move(ids));
    return out;
  }
  if (list->size() > kMaxPrompts) {
    return bad_prompt(name,
                      concat("has ", list->size(), " entries, expected at most ", kMaxPrompts));
  }
  const bool are_texts = list->front().is_string();
  for (const Json& element : *list) {
    const std::string* text = element.as_string();
    const Json::Array* array = element.as_array();
    if (are_texts ? text == nullptr : array == nullptr) {
      return bad_prompt(name, "must be a string, a list of strings, of ids, or of lists of ids");
    }
    if (are_texts ? text->empty() : array->empty()) return bad_prompt(name, "has an empty entry");
    if (are_texts) {
      out.emplace_back(*text);
      continue;
    }
    Api<std::vector<int32_t>> ids = read_ids(*array, name, facts);
    if (!ids) return std::unexpected(std::move(ids).error());
    out.emplace_back(*std::move(ids));
  }
  return out;
}

Api<ChatRequest> read_messages(const Json& body) {
  ChatRequest request;
  request.is_chat = true;
  const Json* messages = body.find("messages");
  if (messages == nullptr || messages->is_null()) {
    return bad_request("messages", "messages is missing");
  }
  const Json::Array* list = messages->as_array();
  if (list == nullptr || list->empty()) {
    return bad_request("messages", list == nullptr ? "messages is no list" : "messages is empty");
  }
  Json::Array out;
  for (const Json& message : *list) {
    Api<Json> read = read_message(message, request.final_content);
    if (!read) return std::unexpected(std::move(read).error());
    out.push_back(*std::move(read));
  }
  request.messages_json = Json(std::move(out)).dump();
  Fields fields(body);
  request.add_generation_prompt = fields.flag("add_generation_prompt", true);
  request.continue_final_message = fields.flag("continue_final_message", false);
  if (request.add_generation_prompt && request.continue_final_message) {
    fields.fail("continue_final_message", "and add_generation_prompt cannot both be true");
  }
  request.add_special_tokens = fields.flag("add_special_tokens", false);
  if (!fields.ok()) return std::unexpected(*fields.error());
  Api<std::string> variables = read_variables(body);
  if (!variables) return std::unexpected(std::move(variables).error());
  request.variables_json = *std::move(variables);
  return request;
}

}  // namespace ruvllm::server
