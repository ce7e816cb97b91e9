#include "tokenizer/chat_template.h"

#include <utility>

#include "base/str.h"
#include "tokenizer/jinja/interpreter.h"

namespace ruvllm {

struct JinjaTemplate::Program {
  std::unique_ptr<const jinja::Template> tree;
};

JinjaTemplate::JinjaTemplate(std::unique_ptr<const Program> program)
    : program_(std::move(program)) {}
JinjaTemplate::JinjaTemplate(JinjaTemplate&&) noexcept = default;
JinjaTemplate& JinjaTemplate::operator=(JinjaTemplate&&) noexcept = default;
JinjaTemplate::~JinjaTemplate() = default;

Result<JinjaTemplate> JinjaTemplate::compile(std::string_view source) {
  RUVLLM_ASSIGN(std::unique_ptr<jinja::Template> tree, jinja::parse_template(source));
  auto program = std::make_unique<Program>();
  program->tree = std::move(tree);
  return JinjaTemplate(std::move(program));
}

Result<std::string> JinjaTemplate::render(const Json& context, const RenderOptions& options) const {
  if (!context.is_object()) {
    return fail(ErrorCode::kInvalidArgument, concat("chat template: the variables are ",
                                                    context.type_name(), ", expected an object"));
  }
  const RenderLimits& limits = options.limits;
  if (limits.max_steps < 0 || limits.max_output_bytes < 0 || limits.max_depth < 0 ||
      limits.max_depth > 500) {
    return fail(ErrorCode::kInvalidArgument,
                "chat template: a limit is negative, or max_depth is above 500");
  }
  return jinja::Interpreter(*program_->tree, context, options).render();
}

namespace {

class JinjaChatTemplate : public ChatTemplate {
 public:
  JinjaChatTemplate(JinjaTemplate compiled, std::string bos_token, std::string eos_token)
      : template_(std::move(compiled)),
        bos_token_(std::move(bos_token)),
        eos_token_(std::move(eos_token)) {}

  Result<std::string> render(const std::vector<ChatMessage>& messages,
                             bool add_generation_prompt) const override {
    Json::Array list;
    list.reserve(messages.size());
    for (const ChatMessage& message : messages) {
      Json::Object object;
      object.push_back({"role", Json(message.role)});
      object.push_back({"content", Json(message.content)});
      list.emplace_back(std::move(object));
    }
    return render_with(Json(std::move(list)), Json(), {}, add_generation_prompt);
  }

  Result<std::string> render_json(std::string_view messages_json, std::string_view tools_json,
                                  std::string_view variables_json,
                                  bool add_generation_prompt) const override {
    RUVLLM_ASSIGN(Json messages, parse("messages", messages_json));
    if (!messages.is_array()) return wrong_type("messages", messages, "an array");
    Json tools;
    if (!tools_json.empty()) {
      RUVLLM_ASSIGN(tools, parse("tools", tools_json));
      if (!tools.is_array() && !tools.is_null()) return wrong_type("tools", tools, "an array");
    }
    Json::Object variables;
    if (!variables_json.empty()) {
      RUVLLM_ASSIGN(Json parsed, parse("template variables", variables_json));
      if (!parsed.is_object()) return wrong_type("template variables", parsed, "an object");
      variables = std::move(*parsed.as_object());
    }
    return render_with(std::move(messages), std::move(tools), std::move(variables),
                       add_generation_prompt);
  }

 private:
  static Result<Json> parse(const char* what, std::string_view text) {
    Result<Json> parsed = Json::parse(text);
    if (parsed) return parsed;
    return fail(ErrorCode::kInvalidArgument, concat(what, ": ", parsed.error().message));
  }
  static std::unexpected<Error> wrong_type(const char* what, const Json& found,
                                           const char* wanted) {
    return fail(ErrorCode::kInvalidArgument,
                concat(what, ": found ", found.type_name(), ", expected ", wanted));
  }

  // `variables` come first, so that they win over the defaults, but not over what the call says.
  Result<std::string> render_with(Json messages, Json tools, Json::Object variables,
                                  bool add_generation_prompt) const {
    Json::Object context;
    context.push_back({"messages", std::move(messages)});
    if (!tools.is_null()) context.push_back({"tools", std::move(tools)});
    context.push_back({"add_generation_prompt", Json(add_generation_prompt)});
    for (JsonMember& member : variables) context.push_back(std::move(member));
    context.push_back({"tools", Json()});
    context.push_back({"documents", Json()});
    context.push_back({"bos_token", Json(bos_token_)});
    context.push_back({"eos_token", Json(eos_token_)});
    return template_.render(Json(std::move(context)));
  }

  const JinjaTemplate template_;
  const std::string bos_token_;
  const std::string eos_token_;
};

}  // namespace

Result<std::unique_ptr<ChatTemplate>> make_chat_template(std::string source, std::string bos_token,
                                                         std::string eos_token) {
  RUVLLM_ASSIGN(JinjaTemplate compiled, JinjaTemplate::compile(source));
  return std::make_unique<JinjaChatTemplate>(std::move(compiled), std::move(bos_token),
                                             std::move(eos_token));
}

}  // namespace ruvllm
