#include "server/answer_json.h"

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "base/str.h"

namespace ruvllm::server {
namespace {

// JSON has no infinities; this is what other servers say for probability 0.
constexpr float kLeastLogprob = -9999.0f;

void append_logprob(std::string& out, float value) {
  out += concat(std::isfinite(value) ? std::max(value, kLeastLogprob) : kLeastLogprob);
}

// A list: `write` is called for each element, commas come between.
template <typename Range, typename F>
void append_list(std::string& out, const Range& range, F&& write) {
  out += '[';
  bool is_first = true;
  for (const auto& element : range) {
    if (!is_first) out += ',';
    is_first = false;
    write(element);
  }
  out += ']';
}

}  // namespace

AnswerWriter::AnswerWriter(const GenerationRequest& request, const Tokenizer& tokenizer,
                           std::string id, std::string_view model, int64_t created)
    : request_(request), tokenizer_(tokenizer), id_(std::move(id)) {
  head_tail_ = concat(",\"created\":", created, ",\"model\":");
  append_json_string(head_tail_, model);
}

void AnswerWriter::open(std::string& out, bool is_chunk) const {
  out += "{\"id\":";
  append_json_string(out, id_);
  out += ",\"object\":\"";
  if (request_.is_chat)
    out += is_chunk ? "chat.completion.chunk" : "chat.completion";
  else
    out += "text_completion";
  out += '"';
  out += head_tail_;
  out += ",\"choices\":[";
}

void AnswerWriter::close(std::string& out, const std::optional<Usage>& value,
                         bool null_usage) const {
  out += ']';
  if (value) {
    out += ",\"usage\":";
    usage(out, *value);
  } else if (null_usage) {
    out += ",\"usage\":null";
  }
  out += '}';
}

void AnswerWriter::usage(std::string& out, const Usage& usage) const {
  out += concat("{\"prompt_tokens\":", usage.prompt_tokens,
                ",\"completion_tokens\":", usage.completion_tokens,
                ",\"total_tokens\":", usage.prompt_tokens + usage.completion_tokens,
                ",\"prompt_tokens_details\":{\"cached_tokens\":", usage.cached_tokens, "}}");
}

void AnswerWriter::token_text(std::string& out, int32_t id) const {
  if (request_.tokens_as_ids) {
    out += concat("\"token_id:", id, "\"");
  } else {
    append_json_string(out, tokenizer_.token_bytes(id));
  }
}

// {"text": logprob, ...} of the best tokens and of the chosen one. Tokens that look the same (parts
// of characters) share a name: the first, most likely one stands.
void AnswerWriter::top_object(std::string& out, int32_t id, float logprob,
                              const std::vector<TokenLogprob>& top) const {
  std::vector<std::string> names;
  out += '{';
  const auto add = [&](int32_t token, float value) {
    std::string name;
    token_text(name, token);
    if (std::find(names.begin(), names.end(), name) != names.end()) return;
    if (!names.empty()) out += ',';
    out += name;
    out += ':';
    append_logprob(out, value);
    names.push_back(std::move(name));
  };
  const size_t count = std::min(top.size(), static_cast<size_t>(std::max(0, request_.logprobs)));
  for (size_t i = 0; i < count; ++i) add(top[i].id, top[i].logprob);
  add(id, logprob);
  out += '}';
}

void AnswerWriter::completion_logprobs(std::string& out, std::span<const PromptToken> prompt,
                                       std::span<const Token> tokens, int64_t& offset) const {
  std::string texts, logprobs, tops, offsets;
  const auto add = [&](int32_t id, std::optional<float> logprob,
                       const std::vector<TokenLogprob>& top) {
    if (!texts.empty()) {
      for (std::string* list : {&texts, &logprobs, &tops, &offsets}) *list += ',';
    }
    token_text(texts, id);
    offsets += concat(offset);
    offset += num_characters(tokenizer_.token_bytes(id));
    if (logprob) {
      append_logprob(logprobs, *logprob);
      top_object(tops, id, *logprob, top);
    } else {
      logprobs += "null";
      tops += "null";
    }
  };
  for (size_t i = 0; i < prompt.size(); ++i) {
    add(prompt[i].id, i == 0 ? std::nullopt : std::optional<float>(prompt[i].logprob),
        prompt[i].top_logprobs);
  }
  for (const Token& token : tokens) add(token.id, token.logprob, token.top_logprobs);
  out += concat("{\"tokens\":[", texts, "],\"token_logprobs\":[", logprobs, "],\"top_logprobs\":[",
                tops, "],\"text_offset\":[", offsets, "]}");
}

// A control token that the text leaves out has a name, but no bytes: the bytes of all tokens,
// joined, are the text.
bool AnswerWriter::is_left_out(int32_t id) const {
  return request_.params.skip_special_tokens && tokenizer_.decode({id}, true).empty() &&
         !tokenizer_.decode({id}, false).empty();
}

void AnswerWriter::chat_entry(std::string& out, int32_t id, float logprob) const {
  out += "{\"token\":";
  token_text(out, id);
  out += ",\"logprob\":";
  append_logprob(out, logprob);
  out += ",\"bytes\":";
  if (is_left_out(id)) {
    out += "null";
    return;
  }
  append_list(out, tokenizer_.token_bytes(id),
              [&](char c) { out += concat(static_cast<int>(static_cast<unsigned char>(c))); });
}

void AnswerWriter::chat_logprobs(std::string& out, std::span<const Token> tokens) const {
  out += "{\"content\":";
  append_list(out, tokens, [&](const Token& token) {
    chat_entry(out, token.id, token.logprob.value_or(kLeastLogprob));
    out += ",\"top_logprobs\":";
    const size_t count =
        std::min(token.top_logprobs.size(), static_cast<size_t>(std::max(0, request_.logprobs)));
    append_list(out, std::span(token.top_logprobs).first(count), [&](const TokenLogprob& best) {
      chat_entry(out, best.id, best.logprob);
      out += '}';
    });
    out += '}';
  });
  out += '}';
}

void AnswerWriter::prompt_logprobs(std::string& out, std::span<const PromptToken> prompt) const {
  bool is_first = true;
  append_list(out, prompt, [&](const PromptToken& token) {
    if (std::exchange(is_first, false)) {
      out += "null";
      return;
    }
    out += '{';
    const auto add = [&](int32_t id, float logprob, int64_t rank) {
      if (out.back() != '{') out += ',';
      out += concat("\"", id, "\":{\"logprob\":");
      append_logprob(out, logprob);
      out += concat(",\"rank\":", rank, ",\"decoded_token\":");
      append_json_string(out, tokenizer_.token_bytes(id));
      out += '}';
    };
    const size_t count = std::min(token.top_logprobs.size(),
                                  static_cast<size_t>(std::max(0, request_.prompt_logprobs)));
    add(token.id, token.logprob, token.rank);
    for (size_t i = 0; i < count; ++i) {
      const TokenLogprob& best = token.top_logprobs[i];
      if (best.id != token.id) add(best.id, best.logprob, static_cast<int64_t>(i) + 1);
    }
    out += '}';
  });
}

void append_ids(std::string& out, std::span<const int32_t> ids) {
  append_list(out, ids, [&](int32_t id) { out += concat(id); });
}

int64_t num_characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

std::string_view finish_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    default:
      return "abort";
  }
}

void append_stop_reason(std::string& out, const GenerateResult& result) {
  if (!result.matched_stop.empty()) {
    append_json_string(out, result.matched_stop);
  } else if (result.matched_stop_id) {
    out += concat(*result.matched_stop_id);
  } else {
    out += "null";
  }
}

void append_gates(std::string& out, const GenerateResult& result) {
  if (!result.gates) {
    out += "null";
    return;
  }
  const GateTrace& trace = *result.gates;
  const auto append_name = [&](const std::string& name) { append_json_string(out, name); };
  out += "{\"experts\":";
  append_list(out, trace.experts, append_name);
  if (!trace.modules.empty()) {
    out += ",\"modules\":";
    append_list(out, trace.modules, append_name);
  }
  out += concat(",\"first_completion_row\":", result.prompt_tokens - 1, ",\"rows\":[");
  const size_t n = trace.experts.size();
  const size_t lists = std::max<size_t>(trace.modules.size(), 1);
  const float* next = trace.values.data();
  for (int64_t row = 0; row < trace.num_rows; ++row) {
    if (row > 0) out += ',';
    if (!trace.modules.empty()) out += '[';
    for (size_t list = 0; list < lists; ++list, next += n) {
      if (list > 0) out += ',';
      append_list(out, std::span(next, n), [&](float gate) { out += concat(gate); });
    }
    if (!trace.modules.empty()) out += ']';
  }
  out += "]}";
}

}  // namespace ruvllm::server
