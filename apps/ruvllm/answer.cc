#include "answer.h"

#include <utility>

#include "base/str.h"
#include "io.h"

namespace ruvllm::cli {
namespace {

double rate(int64_t count, double seconds) {
  return seconds > 0.0 ? static_cast<double>(count) / seconds : 0.0;
}

}  // namespace

Result<Prompt> make_prompt(const LlmBackend& backend, const std::vector<ChatMessage>& messages,
                           bool raw) {
  const Result<const ChatTemplate*> chat_template = backend.chat_template();
  if (!chat_template && chat_template.error().code != ErrorCode::kNotFound && !raw) {
    return std::unexpected(chat_template.error());
  }
  if (raw || !chat_template) {
    std::string text;
    for (const ChatMessage& message : messages) {
      if (!text.empty()) text += '\n';
      text += message.content;
    }
    return text;
  }
  RUVLLM_ASSIGN(const std::string text, (*chat_template)->render(messages, true));
  RUVLLM_ASSIGN(const Tokenizer* tokenizer, backend.tokenizer());
  // The template wrote the special tokens already.
  RUVLLM_ASSIGN(std::vector<int32_t> ids, tokenizer->encode_rendered(text));
  return ids;
}

Result<GenerateResult> stream_answer(LlmBackend& backend, const Prompt& prompt,
                                     const GenerateParams& params,
                                     const std::function<void(std::string_view)>& show) {
  RUVLLM_ASSIGN(const std::unique_ptr<TokenStream> stream, backend.generate_stream(prompt, params));
  constexpr std::chrono::milliseconds kPoll(50);
  while (true) {
    if (interrupted()) stream->cancel();
    std::optional<StreamEvent> event = stream->recv_timeout(kPoll);
    if (!event) continue;
    if (const auto* token = std::get_if<Token>(&*event)) {
      if (!token->text.empty()) show(token->text);
    } else if (auto* done = std::get_if<Done>(&*event)) {
      return std::move(done->result);
    } else {
      return std::unexpected(std::get<Error>(*std::move(event)));
    }
  }
}

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kDeadline:
      return "deadline";
    case FinishReason::kError:
      break;
  }
  return "error";
}

Json timings_json(const Timings& timings) {
  return object({
      {"prefill_tokens", Json(timings.prefill_tokens)},
      {"prefill_seconds", Json(timings.prefill_seconds)},
      {"prefill_tok_s", Json(rate(timings.prefill_tokens, timings.prefill_seconds))},
      {"decode_tokens", Json(timings.decode_tokens)},
      {"decode_seconds", Json(timings.decode_seconds)},
      {"decode_tok_s", Json(rate(timings.decode_tokens, timings.decode_seconds))},
  });
}

std::string stats_line(const GenerateResult& result, const ModelInfo& info) {
  const Timings& t = result.timings;
  const double decode_rate = rate(t.decode_tokens, t.decode_seconds);
  return concat("prompt ", result.prompt_tokens, " tokens (", t.prefill_tokens, " computed) in ",
                fixed(t.prefill_seconds, 3), " s, ",
                fixed(rate(t.prefill_tokens, t.prefill_seconds), 1), " tok/s | answer ",
                result.completion_tokens, " tokens in ", fixed(t.decode_seconds, 3), " s, ",
                fixed(decode_rate, 1), " tok/s, ",
                fixed(decode_rate * static_cast<double>(info.weight_bytes) * 1e-9, 2),
                " GB/s of weights | peak memory ", human_bytes(peak_resident_bytes()), " | ",
                finish_reason_name(result.finish_reason), "\n");
}

}  // namespace ruvllm::cli
