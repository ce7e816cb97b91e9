#include "server/prompt_encoder.h"

#include <algorithm>
#include <utility>

#include "base/str.h"

namespace ruvllm::server {
namespace {

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n\f\v";
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

void truncate(std::vector<int32_t>& ids, const std::optional<int64_t>& keep) {
  if (!keep || *keep < 0 || static_cast<uint64_t>(*keep) >= ids.size()) return;
  ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(*keep));
}

// A word may begin a text or follow a space: both spellings are banned.
Api<void> ban_words(GenerationRequest& request, const Tokenizer& tokenizer) {
  for (const std::string& word : request.bad_words) {
    std::vector<std::vector<int32_t>> found;
    const size_t begin = word.find_first_not_of(' ');
    const std::string bare = begin == std::string::npos ? word : word.substr(begin);
    for (const std::string& spelling : {bare, concat(" ", bare)}) {
      Result<std::vector<int32_t>> ids = tokenizer.encode(spelling, false);
      if (!ids) return std::unexpected(from_engine(ids.error()));
      if (ids->empty() || std::find(found.begin(), found.end(), *ids) != found.end()) continue;
      found.push_back(*std::move(ids));
    }
    for (auto& sequence : found) request.params.banned_sequences.push_back(std::move(sequence));
  }
  return {};
}

// The rendered text ends inside the last message: after its content, before what closes it.
Api<std::string> cut_after_final(std::string rendered, std::string_view final_content) {
  const std::string_view content = trim(final_content);
  const size_t at = content.empty() ? std::string::npos : rendered.rfind(content);
  if (at == std::string::npos) {
    return bad_request("continue_final_message",
                       "continue_final_message: the chat template does not show the content of "
                       "the last message as it is");
  }
  rendered.resize(at + content.size());
  return rendered;
}

}  // namespace

Api<const Tokenizer*> tokenizer_of(LlmBackend& backend) {
  Result<const Tokenizer*> tokenizer = backend.tokenizer();
  if (!tokenizer) return std::unexpected(from_engine(tokenizer.error()));
  return *tokenizer;
}

Api<std::vector<EncodedPrompt>> encode_prompts(CompletionRequest& request, LlmBackend& backend,
                                               const ModelFacts& facts) {
  Api<const Tokenizer*> tokenizer = tokenizer_of(backend);
  if (!tokenizer) return std::unexpected(std::move(tokenizer).error());
  if (auto ok = ban_words(request, **tokenizer); !ok) return std::unexpected(std::move(ok).error());
  std::vector<EncodedPrompt> out;
  size_t longest = 0;
  for (PromptInput& input : request.prompts) {
    EncodedPrompt prompt;
    auto* text = std::get_if<std::string>(&input);
    if (text != nullptr) {
      auto ids = (*tokenizer)->encode(*text, request.add_special_tokens);
      if (!ids) return std::unexpected(from_engine(ids.error()));
      prompt.ids = *std::move(ids);
    } else {
      prompt.ids = std::move(std::get<std::vector<int32_t>>(input));
    }
    const size_t length = prompt.ids.size();
    truncate(prompt.ids, request.truncate_prompt);
    if (prompt.ids.empty()) return bad_request("prompt", "prompt has no tokens");
    if (request.echo) {
      const bool is_whole_text = text != nullptr && prompt.ids.size() == length;
      prompt.text = is_whole_text
                        ? std::move(*text)
                        : (*tokenizer)->decode(prompt.ids, request.params.skip_special_tokens);
    }
    longest = std::max(longest, prompt.ids.size());
    out.push_back(std::move(prompt));
  }
  if (auto ok = fit_to_context(request, longest, facts); !ok) {
    return std::unexpected(std::move(ok).error());
  }
  return out;
}

Api<std::vector<int32_t>> encode_messages(const ChatRequest& request, LlmBackend& backend) {
  Api<const Tokenizer*> tokenizer = tokenizer_of(backend);
  if (!tokenizer) return std::unexpected(std::move(tokenizer).error());
  const Result<const ChatTemplate*> chat = backend.chat_template();
  if (!chat) return bad_request("messages", chat.error().message);
  Result<std::string> rendered = (*chat)->render_json(
      request.messages_json, "", request.variables_json, request.add_generation_prompt);
  if (!rendered) return bad_request("messages", rendered.error().message);
  if (request.continue_final_message) {
    Api<std::string> cut = cut_after_final(*std::move(rendered), request.final_content);
    if (!cut) return std::unexpected(std::move(cut).error());
    rendered = *std::move(cut);
  }
  Result<std::vector<int32_t>> ids = request.add_special_tokens
                                         ? (*tokenizer)->encode(*rendered, true)
                                         : (*tokenizer)->encode_rendered(*rendered);
  if (!ids) return std::unexpected(from_engine(ids.error()));
  return *std::move(ids);
}

Api<EncodedPrompt> encode_chat(ChatRequest& request, LlmBackend& backend, const ModelFacts& facts) {
  Api<const Tokenizer*> tokenizer = tokenizer_of(backend);
  if (!tokenizer) return std::unexpected(std::move(tokenizer).error());
  if (auto ok = ban_words(request, **tokenizer); !ok) return std::unexpected(std::move(ok).error());
  Api<std::vector<int32_t>> ids = encode_messages(request, backend);
  if (!ids) return std::unexpected(std::move(ids).error());
  EncodedPrompt prompt;
  prompt.ids = *std::move(ids);
  truncate(prompt.ids, request.truncate_prompt);
  if (prompt.ids.empty()) return bad_request("messages", "the rendered prompt has no tokens");
  if (auto ok = fit_to_context(request, prompt.ids.size(), facts); !ok) {
    return std::unexpected(std::move(ok).error());
  }
  return prompt;
}

}  // namespace ruvllm::server
