// Asking a loaded backend: from messages to a prompt, and from a prompt to streamed text.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "ruvllm/backend.h"

namespace ruvllm::cli {

// The prompt of a conversation: through the model's chat template, or, when `raw` or when the model
// has none, the texts as they are.
Result<Prompt> make_prompt(const LlmBackend& backend, const std::vector<ChatMessage>& messages,
                           bool raw);

// Streams one answer. `show` gets each piece of text as it comes. Ctrl-C ends the answer with
// kCancelled when the program only notes it (see note_interrupt).
Result<GenerateResult> stream_answer(LlmBackend& backend, const Prompt& prompt,
                                     const GenerateParams& params,
                                     const std::function<void(std::string_view)>& show);

const char* finish_reason_name(FinishReason reason);  // "stop", "length", "cancelled", "error"
Json timings_json(const Timings& timings);
// "prompt 12 tokens, 0.01 s (1200.0 tok/s) | answer ..." with the bytes of weights read per second.
std::string stats_line(const GenerateResult& result, const ModelInfo& info);

}  // namespace ruvllm::cli
