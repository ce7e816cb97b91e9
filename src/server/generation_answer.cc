// The part of GenerationJob that writes: chunks of a stream and the whole answer.
#include <algorithm>

#include "base/json.h"
#include "base/str.h"
#include "server/generation_job.h"

namespace ruvllm::server {

void GenerationJob::begin_stream() {
  if (!exchange_->started()) exchange_->start_stream("text/event-stream; charset=utf-8");
}

// What precedes the first token of a choice: the role of a chat, the prompt with echo.
void GenerationJob::begin_choice(Choice& choice) {
  if (choice.began) return;
  choice.began = true;
  begin_stream();
  const EncodedPrompt& prompt = prompts_[choice.prompt];
  if (!request_.is_chat && !request_.echo && !request_.return_token_ids) return;
  out_ += "data: ";
  writer_.open(out_, true);
  out_ += concat("{\"index\":", choice.index);
  if (request_.is_chat) {
    out_ += ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"}";
  } else {
    out_ += ",\"text\":";
    append_json_string(out_, request_.echo ? std::string_view(prompt.text) : std::string_view());
    if (request_.return_token_ids) {
      out_ += ",\"prompt_token_ids\":";
      append_ids(out_, prompt.ids);
    }
  }
  out_ += ",\"logprobs\":null,\"finish_reason\":null}";
  std::optional<Usage> stats;
  if (request_.continuous_usage) {
    stats = usage();
    stats->completion_tokens = 0;
    for (const Choice& other : choices_) {
      if (&other != &choice) stats->completion_tokens += other.num_tokens;
    }
  }
  writer_.close(out_, stats, request_.include_usage);
  if (request_.is_chat && request_.return_token_ids) {
    out_.pop_back();
    out_ += ",\"prompt_token_ids\":";
    append_ids(out_, prompt.ids);
    out_ += '}';
  }
  out_ += "\n\n";
}

void GenerationJob::write_chunk(Choice& choice, std::string_view text, const Token* token) {
  begin_choice(choice);
  const bool has_logprobs = request_.logprobs >= 0 && token != nullptr;
  const bool is_needed =
      !text.empty() || has_logprobs || (request_.return_token_ids && token != nullptr);
  if (!is_needed) return;
  out_ += "data: ";
  writer_.open(out_, true);
  out_ += concat("{\"index\":", choice.index);
  out_ += request_.is_chat ? ",\"delta\":{\"content\":" : ",\"text\":";
  append_json_string(out_, text);
  if (request_.is_chat) out_ += '}';
  out_ += ",\"logprobs\":";
  if (!has_logprobs) {
    out_ += "null";
  } else if (request_.is_chat) {
    writer_.chat_logprobs(out_, std::span(token, 1));
  } else {
    writer_.completion_logprobs(out_, {}, std::span(token, 1), choice.text_offset);
  }
  out_ += ",\"finish_reason\":null";
  if (request_.return_token_ids && token != nullptr) {
    out_ += ",\"token_ids\":";
    append_ids(out_, std::span(&token->id, 1));
  }
  out_ += '}';
  writer_.close(out_, request_.continuous_usage ? std::optional<Usage>(usage()) : std::nullopt,
                request_.include_usage);
  out_ += "\n\n";
}

void GenerationJob::write_last_chunk(Choice& choice) {
  begin_choice(choice);
  out_ += "data: ";
  writer_.open(out_, true);
  out_ += concat("{\"index\":", choice.index, request_.is_chat ? ",\"delta\":{}" : ",\"text\":\"\"",
                 ",\"logprobs\":null");
  out_ += concat(",\"finish_reason\":\"", finish_name(choice.result.finish_reason),
                 "\",\"stop_reason\":");
  append_stop_reason(out_, choice.result);
  append_own_fields(out_, choice);
  out_ += '}';
  writer_.close(out_, request_.continuous_usage ? std::optional<Usage>(usage()) : std::nullopt,
                request_.include_usage);
  out_ += "\n\n";
}

void GenerationJob::append_result_fields(std::string& out, Choice& choice) {
  const GenerateResult& result = choice.result;
  out += concat(",\"finish_reason\":\"", finish_name(result.finish_reason), "\",\"stop_reason\":");
  append_stop_reason(out, result);
  if (request_.return_token_ids) {
    out += ",\"token_ids\":";
    append_ids(out, result.ids);
  }
  append_own_fields(out, choice);
}

void GenerationJob::append_own_fields(std::string& out, const Choice& choice) const {
  if (request_.params.gates == GateDetail::kNone) return;
  out += ",\"ruvllm\":{\"gates\":";
  append_gates(out, choice.result);
  out += '}';
}

void GenerationJob::append_choice(std::string& out, Choice& choice) {
  const EncodedPrompt& prompt = prompts_[choice.prompt];
  const GenerateResult& result = choice.result;
  const size_t leader = choice.prompt * static_cast<size_t>(request_.n);
  const std::vector<PromptToken>& scores = choices_[leader].result.prompt_logprobs;
  out += concat("{\"index\":", choice.index);
  if (request_.is_chat) {
    out += ",\"message\":{\"role\":\"assistant\",\"content\":";
    append_json_string(out, result.text);
    out += "},\"logprobs\":";
  } else {
    out += ",\"text\":";
    append_json_string(out, prompt.text + result.text);
    out += ",\"logprobs\":";
  }
  if (request_.logprobs < 0) {
    out += "null";
  } else if (request_.is_chat) {
    writer_.chat_logprobs(out, result.tokens);
  } else {
    const auto shown = request_.echo ? std::span(scores) : std::span<const PromptToken>();
    writer_.completion_logprobs(out, shown, result.tokens, choice.text_offset);
  }
  append_result_fields(out, choice);
  if (!request_.is_chat) {
    if (request_.return_token_ids) {
      out += ",\"prompt_token_ids\":";
      append_ids(out, prompt.ids);
    }
    out += ",\"prompt_logprobs\":";
    if (request_.prompt_logprobs >= 0)
      writer_.prompt_logprobs(out, scores);
    else
      out += "null";
  }
  out += '}';
}

std::string GenerationJob::whole_answer() {
  std::string out;
  writer_.open(out, false);
  for (Choice& choice : choices_) {
    if (choice.index > 0) out += ',';
    append_choice(out, choice);
  }
  writer_.close(out, usage());
  if (!request_.is_chat) return out;
  out.pop_back();
  if (request_.return_token_ids) {
    out += ",\"prompt_token_ids\":";
    append_ids(out, prompts_[0].ids);
  }
  out += ",\"prompt_logprobs\":";
  if (request_.prompt_logprobs >= 0)
    writer_.prompt_logprobs(out, choices_[0].result.prompt_logprobs);
  else
    out += "null";
  return out + "}";
}

}  // namespace ruvllm::server
