// ruvllm VERB ...: finds the verb and runs it.
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/log.h"
#include "base/str.h"
#include "io.h"
#include "ruvllm/version.h"
#include "verbs.h"

namespace ruvllm::cli {
namespace {

struct Verb {
  std::string_view name;
  int (*run)(Args);
  std::string_view summary;
};

constexpr Verb kVerbs[] = {
    {"run", verb_run, "answer a prompt, or chat"},
    {"generate", verb_generate, "continue sequences of token ids"},
    {"logits", verb_logits, "write the logits of sequences to a safetensors file"},
    {"tokenize", verb_tokenize, "text to token ids"},
    {"detokenize", verb_detokenize, "token ids to text"},
    {"render", verb_render, "messages to the prompt a chat template makes"},
    {"eval", verb_eval, "perplexity of a text, divergence from a reference model"},
#if defined(RUVLLM_HAS_SERVING)
    {"serve", verb_serve, "the OpenAI-compatible HTTP server"},
#endif
    {"quantize", verb_quantize, "round a model's weights to fewer bits and save it"},
    {"bench", verb_bench, "measure prefill and decode speed"},
    {"info", verb_info, "what a model file says"},
    {"selftest", verb_selftest, "check this build on this machine"},
};

std::string help() {
  std::string text = concat("ruvllm ", kVersion, ": runs open-weight language models\n\n",
                            "usage: ruvllm VERB [flags]      (ruvllm VERB --help)\n\nverbs:\n");
  for (const Verb& verb : kVerbs) {
    std::string left = concat("  ", verb.name);
    left.resize(14, ' ');
    text += concat(left, verb.summary, "\n");
  }
  return text + "\nexample: ruvllm run -m demo -p \"How many legs has a spider?\"\n";
}

int dispatch(Args args) {
  if (args.empty()) {
    print_error("", "which verb? (ruvllm --help lists them)");
    return kExitUsage;
  }
  const std::string_view name = args.front();
  if (name == "--help" || name == "-h" || name == "help") {
    write_out(help());
    return kExitOk;
  }
  if (name == "--version") {
    write_out(concat("ruvllm ", kVersion, "\n"));
    return kExitOk;
  }
  for (const Verb& verb : kVerbs) {
    if (verb.name == name) return verb.run(args.subspan(1));
  }
  if (name == "serve") {
    print_error(name, "this build has no server (built without RUVLLM_SERVING)");
    return kExitFailure;
  }
  print_error("", concat("unknown verb ", printable(name), " (ruvllm --help lists them)"));
  return kExitUsage;
}

}  // namespace
}  // namespace ruvllm::cli

int main(int argc, char** argv) {
  // Widths of characters and the terminal's encoding; numbers are never formatted by locale. The
  // plain "C" locale (a container without LANG) knows only ASCII, but text here is UTF-8.
  if (std::setlocale(LC_CTYPE, "") == nullptr || MB_CUR_MAX == 1) {
    std::setlocale(LC_CTYPE, "C.UTF-8");
  }
  std::signal(SIGPIPE, SIG_IGN);  // write_out ends quietly instead
  ruvllm::cli::exit_on_interrupt();
  const std::vector<std::string_view> args(argv + 1, argv + argc);
  return ruvllm::cli::dispatch(args);
}
