// libFuzzer: any text as a template, compiled and rendered with small limits. It must end in a text
// or an error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tokenizer/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ruvllm;
  static const Json context = *Json::parse(
      R"({"messages": [{"role": "user", "content": "hi é🙂"}, {"role": "assistant", "content": [{"text": "x"}]}],
          "n": 7, "x": 2.5, "s": " a,b ", "d": {"k": [1, null]}, "l": [3, 1, 2], "tools": null,
          "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": true})");
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const Result<JinjaTemplate> compiled = JinjaTemplate::compile(source);
  if (!compiled) return 0;
  RenderOptions options;
  options.limits.max_steps = 20'000;
  options.limits.max_output_bytes = 1 << 18;
  options.now_unix_seconds = 0;
  (void)compiled->render(context, options);
  return 0;
}
