// The interactive chat of `run`: reads a line, streams the answer, remembers both.
#pragma once

#include <string>

#include "ruvllm/backend.h"

namespace ruvllm::cli {

struct ChatOptions {
  GenerateParams params;
  std::string system;
  bool raw = false;
  bool stats = false;
};

// Until /quit or the end of the input; gives the exit status.
int chat(LlmBackend& backend, const ChatOptions& options);

}  // namespace ruvllm::cli
