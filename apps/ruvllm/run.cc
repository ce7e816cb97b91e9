// ruvllm run: one answer, or an interactive chat.
#include <cstdio>
#include <utility>

#include "answer.h"
#include "base/str.h"
#include "chat.h"
#include "io.h"
#include "model_flags.h"
#include "verbs.h"

namespace ruvllm::cli {
namespace {

struct RunFlags {
  ModelFlags model;
  SamplingFlags sampling;
  std::string prompt;
  bool has_prompt = false;
  std::string system;
  bool raw = false;
  bool interactive = false;
  bool stats = false;
  bool json = false;

  void add_to(FlagSet& flags) {
    model.add_to(flags, kComputeFlags | kSeedFlag);
    flags.add_custom("-p,--prompt", "TEXT", "", "the message; without it: stdin, or a chat",
                     [this](std::string_view text) -> Status {
                       prompt = std::string(text);
                       has_prompt = true;
                       return {};
                     });
    flags.add("--system", "TEXT", system, "the system message");
    flags.add("--raw", raw, "the prompt as it is, without the chat template");
    flags.add("-i,--interactive", interactive, "chat even when the input is no terminal");
    sampling.add_to(flags);
    sampling.add_defaults_flag(flags);
    flags.add("--stats", stats, "speed and memory on stderr");
    flags.add("--json", json, "one JSON object instead of streamed text");
    flags.add_example("ruvllm run -m demo");
    flags.add_example("ruvllm run -m demo -p \"What is 3 + 4?\" --temperature 0");
    flags.add_example("ruvllm run -m model.gguf --raw -p \"Once upon a time\" -n 100 --stats");
  }
};

Json result_json(const GenerateResult& result) {
  return object({
      {"text", text_json(result.text)},
      {"prompt_tokens", Json(result.prompt_tokens)},
      {"completion_tokens", Json(result.completion_tokens)},
      {"finish_reason", text_json(finish_reason_name(result.finish_reason))},
      {"tokens", ids_json(result.ids)},
      {"timings", timings_json(result.timings)},
  });
}

int answer_once(LlmBackend& backend, const RunFlags& run) {
  std::vector<ChatMessage> messages;
  if (!run.system.empty()) messages.push_back({"system", run.system});
  messages.push_back({"user", run.prompt});
  const Result<Prompt> prompt = make_prompt(backend, messages, run.raw);
  if (!prompt) return fail_with("run", prompt.error());
  bool ends_line = false;
  const Result<GenerateResult> result =
      stream_answer(backend, *prompt, run.sampling.params, [&](std::string_view text) {
        if (!run.json) write_out(text);
        ends_line = text.ends_with('\n');
      });
  if (!result) return fail_with("run", result.error());
  if (run.json) {
    write_out(result_json(*result).dump() + "\n");
  } else if (!ends_line) {
    write_out("\n");
  }
  if (run.stats) std::fputs(stats_line(*result, *backend.model_info()).c_str(), stderr);
  return kExitOk;
}

}  // namespace

int verb_run(Args args) {
  RunFlags run;
  FlagSet flags("run", "one answer (-p, or stdin when piped), or an interactive chat; streams");
  run.add_to(flags);
  if (const auto status = flags.parse(args)) return *status;
  if (const auto status = run.model.check(flags)) return *status;
  run.sampling.params.seed = run.model.seed;
  if (run.interactive && (run.has_prompt || run.json)) {
    return flags.usage_error("-i goes with neither -p nor --json");
  }
  const bool is_chat = run.interactive || (!run.has_prompt && stdin_is_terminal() && !run.json);
  if (!is_chat && !run.has_prompt) {
    Result<std::string> text = read_input("-");
    if (!text) return fail_with("run", text.error());
    if (text->ends_with('\n')) text->pop_back();
    if (text->empty()) return flags.usage_error("no prompt: give -p TEXT or pipe one in");
    run.prompt = *std::move(text);
  }
  Result<std::unique_ptr<LlmBackend>> backend = run.model.open_backend();
  if (!backend) return fail_with("run", backend.error());
  const Result<ModelInfo> info = (*backend)->model_info();
  if (!info) return fail_with("run", info.error());
  run.sampling.take_defaults(flags, info->generation_defaults);
  if (is_chat) {
    return chat(**backend, {run.sampling.params, run.system, run.raw, run.stats});
  }
  return answer_once(**backend, run);
}

}  // namespace ruvllm::cli
