// Chat templates: the Jinja subset that models ship, sandboxed and bounded.
//
// A JinjaTemplate is compiled once, immutable, usable from any thread. Rendering has limits on
// steps, nesting and output; a template that exceeds them, or does what the sandbox forbids, ends
// in an error, never in a crash or a long wait.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "ruvllm/backend.h"
#include "ruvllm/result.h"

namespace ruvllm {

struct RenderLimits {
  int64_t max_steps = 10'000'000;       // statements and expressions evaluated
  int64_t max_output_bytes = 64 << 20;  // of the text, and of any value on the way
  int32_t max_depth = 200;              // nesting of template, calls and values
};

struct RenderOptions {
  RenderLimits limits;
  // strftime_now: seconds since 1970 in local time; negative: the clock.
  int64_t now_unix_seconds = -1;
};

class JinjaTemplate {
 public:
  static Result<JinjaTemplate> compile(std::string_view source);
  JinjaTemplate(JinjaTemplate&&) noexcept;
  JinjaTemplate& operator=(JinjaTemplate&&) noexcept;
  ~JinjaTemplate();

  // `context`: an object; its members are the template's variables.
  Result<std::string> render(const Json& context, const RenderOptions& options = {}) const;

 private:
  struct Program;
  explicit JinjaTemplate(std::unique_ptr<const Program> program);
  std::unique_ptr<const Program> program_;
};

// A model's template with its special-token texts, behind the public interface. Variables a
// template sees: messages, tools, documents (null), bos_token, eos_token, add_generation_prompt,
// and those of `variables_json`.
Result<std::unique_ptr<ChatTemplate>> make_chat_template(std::string source, std::string bos_token,
                                                         std::string eos_token);

}  // namespace ruvllm
