// ruvllm render: the prompt text that a chat template makes of messages.
#include <ctime>
#include <utility>

#include "base/mmap_file.h"
#include "base/str.h"
#include "engine/model_parts.h"
#include "io.h"
#include "tokenizer/chat_template.h"
#include "verbs.h"

namespace ruvllm::cli {
namespace {

constexpr uint64_t kMaxTemplateBytes = 16 << 20;
constexpr int kMaxJsonDepth = 128;

struct RenderFlags {
  std::string model;
  std::string template_path;
  std::string messages_path;
  std::string tools_path;
  std::string kwargs;
  std::string jsonl;
  std::string now;
  bool no_generation_prompt = false;
  bool offline = false;
  bool json = false;
};

// "2025-03-14T15:09:26" (or with a space, or the date alone) as seconds since 1970, taken as it is.
Result<int64_t> parse_time(const std::string& text) {
  std::tm time = {};
  const char* rest = ::strptime(text.c_str(), "%Y-%m-%d", &time);
  if (rest != nullptr && (*rest == 'T' || *rest == ' '))
    rest = ::strptime(rest + 1, "%H:%M:%S", &time);
  if (rest == nullptr || (*rest != '\0' && std::string_view(rest) != "Z")) {
    return fail(
        ErrorCode::kInvalidArgument,
        concat("--now is ", printable(text), ", expected a time such as 2025-03-14T15:09:26"));
  }
  return static_cast<int64_t>(::timegm(&time));
}

Result<RenderOptions> render_options(const RenderFlags& flags) {
  RenderOptions options;
  if (!flags.now.empty()) {
    RUVLLM_ASSIGN(options.now_unix_seconds, parse_time(flags.now));
  }
  return options;
}

Result<std::string> render_line(std::string_view line, const RenderOptions& options) {
  RUVLLM_ASSIGN(const Json json, Json::parse(line, kMaxJsonDepth));
  const Json* source = json.find("template");
  const Json* context = json.find("context");
  if (source == nullptr || source->as_string() == nullptr || context == nullptr) {
    return fail(ErrorCode::kInvalidArgument, "expected {\"template\": text, \"context\": {...}}");
  }
  RUVLLM_ASSIGN(const JinjaTemplate compiled, JinjaTemplate::compile(*source->as_string()));
  return compiled.render(*context, options);
}

int render_lines(const RenderFlags& flags, const RenderOptions& options) {
  const Status status = for_each_line(flags.jsonl, [&](std::string_view line) {
    const Result<std::string> text = render_line(line, options);
    const Json out = text ? object({{"text", text_json(*text)}})
                          : object({{"error", text_json(text.error().message)}});
    write_out(out.dump() + "\n");
    return true;
  });
  return status ? kExitOk : fail_with("render", status.error());
}

Result<Json> read_json(const std::string& path) {
  RUVLLM_ASSIGN(const std::string text, read_input(path));
  Result<Json> json = Json::parse(text, kMaxJsonDepth);
  if (!json) return fail(ErrorCode::kInvalidArgument, concat(path, ": ", json.error().message));
  return json;
}

// The variables a model's template sees; `kwargs` come last and win.
Result<Json> make_context(const RenderFlags& flags, const TokenizerData& data) {
  RUVLLM_ASSIGN(Json messages, read_json(flags.messages_path));
  if (!messages.is_array()) {
    return fail(
        ErrorCode::kInvalidArgument,
        concat(flags.messages_path, ": expected a list of messages, found ", messages.type_name()));
  }
  Json tools;
  if (!flags.tools_path.empty()) {
    RUVLLM_ASSIGN(tools, read_json(flags.tools_path));
  }
  Json::Object context;
  context.push_back({"messages", std::move(messages)});
  context.push_back({"tools", std::move(tools)});
  context.push_back({"documents", Json()});
  context.push_back({"bos_token", Json(data.bos_token)});
  context.push_back({"eos_token", Json(data.eos_token)});
  context.push_back({"add_generation_prompt", Json(!flags.no_generation_prompt)});
  if (!flags.kwargs.empty()) {
    const Result<Json> kwargs = Json::parse(flags.kwargs, kMaxJsonDepth);
    if (!kwargs || !kwargs->is_object()) {
      return fail(ErrorCode::kInvalidArgument,
                  concat("--kwargs: expected a JSON object, found ", printable(flags.kwargs)));
    }
    for (const JsonMember& member : *kwargs->as_object()) {
      std::erase_if(context, [&](const JsonMember& m) { return m.key == member.key; });
      context.push_back(member);
    }
  }
  return Json(std::move(context));
}

Result<std::string> render_messages(const RenderFlags& flags, const RenderOptions& options) {
  TokenizerData data;
  if (!flags.model.empty()) {
    RUVLLM_ASSIGN(const std::string path, resolve_model(flags.model, flags.offline));
    RUVLLM_ASSIGN(data, load_tokenizer_data(path));
  }
  if (!flags.template_path.empty()) {
    RUVLLM_ASSIGN(data.chat_template, read_text_file(flags.template_path, kMaxTemplateBytes));
  }
  if (data.chat_template.empty()) {
    return fail(ErrorCode::kNotFound, concat(flags.model, ": the model has no chat template"));
  }
  RUVLLM_ASSIGN(const Json context, make_context(flags, data));
  RUVLLM_ASSIGN(const JinjaTemplate compiled, JinjaTemplate::compile(data.chat_template));
  RUVLLM_ASSIGN(const std::string prompt, compiled.render(context, options));
  if (!flags.json) return prompt;
  Json ids;
  if (!flags.model.empty()) {
    RUVLLM_ASSIGN(const std::unique_ptr<Tokenizer> tokenizer, make_tokenizer(std::move(data)));
    RUVLLM_ASSIGN(const std::vector<int32_t> list, tokenizer->encode_rendered(prompt));
    ids = ids_json(list);
  }
  return object({{"prompt", Json(prompt)}, {"ids", std::move(ids)}}).dump() + "\n";
}

}  // namespace

int verb_render(Args args) {
  RenderFlags options;
  FlagSet flags("render", "the prompt text that a chat template makes of messages");
  flags.add("-m,--model", "MODEL", options.model, "the model whose template to use");
  flags.add("--template", "FILE", options.template_path, "a Jinja template instead of the model's");
  flags.add("--messages", "FILE", options.messages_path, "JSON list of messages (- is stdin)");
  flags.add("--tools", "FILE", options.tools_path, "JSON list of tools");
  flags.add("--kwargs", "JSON", options.kwargs, "more variables, as a JSON object");
  flags.add("--no-generation-prompt", options.no_generation_prompt, "do not open the answer");
  flags.add("--jsonl", "FILE", options.jsonl,
            "per line {\"template\",\"context\"}; {\"text\"} or {\"error\"} come out");
  flags.add("--now", "TIME", options.now, "what strftime_now says, e.g. 2025-03-14T15:09:26");
  flags.add("--offline", options.offline, "never download");
  flags.add("--json", options.json, "{\"prompt\",\"ids\"} instead of the text");
  flags.add_example("ruvllm render -m demo --messages chat.json");
  flags.add_example("ruvllm render --template chat.jinja --messages - < chat.json");
  if (const auto status = flags.parse(args)) return *status;
  const Result<RenderOptions> render = render_options(options);
  if (!render) return flags.usage_error(render.error().message);
  if (!options.jsonl.empty()) return render_lines(options, *render);
  if (options.model.empty() && options.template_path.empty()) {
    return flags.usage_error("which template? give -m MODEL or --template FILE");
  }
  if (options.messages_path.empty())
    return flags.usage_error("which messages? give --messages FILE");
  const Result<std::string> text = render_messages(options, *render);
  if (!text) return fail_with("render", text.error());
  write_out(*text);
  return kExitOk;
}

}  // namespace ruvllm::cli
