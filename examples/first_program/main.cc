// A first program against the C++ API: loads a model and streams an answer.
//   first_program [MODEL] [QUESTION]
#include <cstdio>
#include <memory>
#include <string>
#include <variant>

#include "ruvllm/backend.h"

int main(int argc, char** argv) {
  const std::string model = argc > 1 ? argv[1] : "demo";
  const std::string question = argc > 2 ? argv[2] : "How many legs has a spider?";

  auto backend = ruvllm::create_backend(ruvllm::BackendKind::kEdge);
  if (!backend) return std::fprintf(stderr, "%s\n", backend.error().message.c_str()), 1;
  ruvllm::LlmBackend& llm = **backend;
  if (auto loaded = llm.load_model(model, {}); !loaded) {
    return std::fprintf(stderr, "%s\n", loaded.error().message.c_str()), 1;
  }

  // A chat model wants its template around the question; any other takes the text as it is.
  ruvllm::Prompt prompt = question;
  if (auto chat = llm.chat_template()) {
    auto text = (*chat)->render({{"user", question}}, /*add_generation_prompt=*/true);
    if (!text) return std::fprintf(stderr, "%s\n", text.error().message.c_str()), 1;
    prompt = *(*llm.tokenizer())->encode(*text, /*add_special=*/false);
  }

  ruvllm::GenerateParams params;
  params.max_tokens = 64;
  params.seed = 1;
  auto stream = llm.generate_stream(prompt, params);
  if (!stream) return std::fprintf(stderr, "%s\n", stream.error().message.c_str()), 1;
  while (auto event = (*stream)->next()) {
    if (auto* token = std::get_if<ruvllm::Token>(&*event)) {
      std::fputs(token->text.c_str(), stdout);
      std::fflush(stdout);
    } else if (auto* done = std::get_if<ruvllm::Done>(&*event)) {
      std::printf("\n(%lld tokens)\n", static_cast<long long>(done->result.completion_tokens));
    } else if (auto* error = std::get_if<ruvllm::Error>(&*event)) {
      return std::fprintf(stderr, "%s\n", error->message.c_str()), 1;
    }
  }
  return 0;
}
