// Endpoints that read prompts: completions, chat, their render variants, and embeddings.
#include <bit>
#include <cstring>

#include "base/json.h"
#include "base/str.h"
#include "server/json_fields.h"
#include "server/prompt_encoder.h"
#include "server/service.h"

namespace ruvllm::server {
namespace {

constexpr size_t kEmbeddingBatch = 8;

ApiError queue_full() {
  return {429, "too many requests are running or waiting, try again later", "", "queue_full", 1};
}

std::string base64(std::string_view bytes) {
  constexpr char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t block = 0;
    for (size_t k = 0; k < 3; ++k) {
      block = block << 8 | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (size_t k = 0; k < 4; ++k) {
      out += k <= count ? kLetters[block >> (18 - 6 * k) & 63] : '=';
    }
  }
  return out;
}

// Little-endian f32, as the OpenAI clients expect.
std::string little_endian_bytes(const std::vector<float>& values) {
  std::string out;
  out.reserve(values.size() * 4);
  for (const float value : values) {
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(bits >> shift & 255);
  }
  return out;
}

struct EmbeddingRequest {
  std::vector<Prompt> inputs;
  int64_t num_tokens = 0;
  bool as_base64 = false;
};

Api<EmbeddingRequest> read_embeddings(const Json& body, LlmBackend& backend,
                                      const ModelFacts& facts, int32_t hidden_size) {
  const Api<std::string> adapter = read_model(body, facts);
  if (!adapter) return std::unexpected(adapter.error());
  if (!adapter->empty()) return bad_request("model", "embeddings are of the base model only");
  Fields fields(body);
  const std::string format = fields.text("encoding_format", 1, 16).value_or("float");
  if (format != "float" && format != "base64") {
    fields.fail("encoding_format", "must be float or base64");
  }
  if (const auto size = fields.integer("dimensions", 1, INT32_MAX); size && *size != hidden_size) {
    fields.fail("dimensions", concat("other than the model's ", hidden_size, " are not supported"));
  }
  const bool add_special = fields.flag("add_special_tokens", true);
  auto keep = fields.integer("truncate_prompt_tokens", -1, INT32_MAX);
  if (keep == -1) keep = facts.max_seq_len;
  if (!fields.ok()) return std::unexpected(*fields.error());
  Api<std::vector<PromptInput>> inputs = read_prompts(body, "input", facts);
  if (!inputs) return std::unexpected(std::move(inputs).error());
  Api<const Tokenizer*> tokenizer = tokenizer_of(backend);
  if (!tokenizer) return std::unexpected(std::move(tokenizer).error());
  EmbeddingRequest request;
  request.as_base64 = format == "base64";
  for (PromptInput& input : *inputs) {
    std::vector<int32_t> ids;
    if (auto* text = std::get_if<std::string>(&input)) {
      auto encoded = (*tokenizer)->encode(*text, add_special);
      if (!encoded) return std::unexpected(from_engine(encoded.error()));
      ids = *std::move(encoded);
    } else {
      ids = std::move(std::get<std::vector<int32_t>>(input));
    }
    if (keep && static_cast<uint64_t>(*keep) < ids.size()) {
      ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(*keep));
    }
    if (ids.empty() || static_cast<int64_t>(ids.size()) > facts.max_seq_len) {
      return bad_request("input", concat("an input has ", ids.size(), " tokens, expected 1 to ",
                                         facts.max_seq_len));
    }
    request.num_tokens += static_cast<int64_t>(ids.size());
    request.inputs.emplace_back(std::move(ids));
  }
  return request;
}

// A request read from its body, with its prompts as tokens.
template <typename Request>
struct Prepared {
  Request request;
  std::vector<EncodedPrompt> prompts;
};

Api<Prepared<CompletionRequest>> prepare_completion(const std::string& text, LlmBackend& backend,
                                                    const ModelFacts& facts) {
  Api<Json> body = parse_body(text);
  if (!body) return std::unexpected(std::move(body).error());
  Api<CompletionRequest> request = read_completion(*body, facts);
  if (!request) return std::unexpected(std::move(request).error());
  Api<std::vector<EncodedPrompt>> prompts = encode_prompts(*request, backend, facts);
  if (!prompts) return std::unexpected(std::move(prompts).error());
  return Prepared<CompletionRequest>{*std::move(request), *std::move(prompts)};
}

Api<Prepared<ChatRequest>> prepare_chat(const std::string& text, LlmBackend& backend,
                                        const ModelFacts& facts) {
  Api<Json> body = parse_body(text);
  if (!body) return std::unexpected(std::move(body).error());
  Api<ChatRequest> request = read_chat(*body, facts);
  if (!request) return std::unexpected(std::move(request).error());
  Api<EncodedPrompt> prompt = encode_chat(*request, backend, facts);
  if (!prompt) return std::unexpected(std::move(prompt).error());
  Prepared<ChatRequest> prepared = {*std::move(request), {}};
  prepared.prompts.push_back(*std::move(prompt));
  return prepared;
}

}  // namespace

void Service::generate(const std::shared_ptr<Exchange>& exchange, GenerationRequest request,
                       std::vector<EncodedPrompt> prompts) {
  std::shared_ptr<void> slot = take_slot();
  if (slot == nullptr) {
    metrics_->rejected_full();
    return exchange->respond(error_response(queue_full()));
  }
  auto job = std::make_shared<GenerationJob>(exchange, std::move(request), std::move(prompts),
                                             context(), std::move(slot));
  if (Api<void> started = job->start(pump_->notify_for(job)); !started) {
    if (started.error().status == 429) metrics_->rejected_full();
    return exchange->respond(error_response(started.error()));
  }
  pump_->add(std::move(job));
}

void Service::completions(const std::shared_ptr<Exchange>& exchange) {
  auto prepared = prepare_completion(exchange->request.body, backend_, context()->facts);
  if (!prepared) return exchange->respond(error_response(prepared.error()));
  generate(exchange, std::move(prepared->request), std::move(prepared->prompts));
}

void Service::chat(const std::shared_ptr<Exchange>& exchange) {
  auto prepared = prepare_chat(exchange->request.body, backend_, context()->facts);
  if (!prepared) return exchange->respond(error_response(prepared.error()));
  generate(exchange, std::move(prepared->request), std::move(prepared->prompts));
}

void Service::render_completions(const std::shared_ptr<Exchange>& exchange) {
  const auto prepared = prepare_completion(exchange->request.body, backend_, context()->facts);
  if (!prepared) return exchange->respond(error_response(prepared.error()));
  std::string out = "[";
  for (const EncodedPrompt& prompt : prepared->prompts) {
    out += out.size() > 1 ? ",{\"token_ids\":" : "{\"token_ids\":";
    append_ids(out, prompt.ids);
    out += '}';
  }
  respond_json(*exchange, out + "]");
}

void Service::render_chat(const std::shared_ptr<Exchange>& exchange) {
  const auto prepared = prepare_chat(exchange->request.body, backend_, context()->facts);
  if (!prepared) return exchange->respond(error_response(prepared.error()));
  std::string out = "{\"token_ids\":";
  append_ids(out, prepared->prompts.front().ids);
  respond_json(*exchange, out + "}");
}

void Service::embeddings(const std::shared_ptr<Exchange>& exchange) {
  const auto context = this->context();
  const std::shared_ptr<void> slot = take_slot();
  if (slot == nullptr) {
    metrics_->rejected_full();
    return exchange->respond(error_response(queue_full()));
  }
  Api<Json> body = parse_body(exchange->request.body);
  if (!body) return exchange->respond(error_response(body.error()));
  const Result<ModelInfo> info = backend_.model_info();
  if (!info) return exchange->respond(error_response(from_engine(info.error())));
  Api<EmbeddingRequest> request =
      read_embeddings(*body, backend_, context->facts, info->hidden_size);
  if (!request) return exchange->respond(error_response(request.error()));
  std::string out = "{\"object\":\"list\",\"data\":[";
  size_t index = 0;
  for (size_t i = 0; i < request->inputs.size(); i += kEmbeddingBatch) {
    if (exchange->closed()) return;  // the client has gone
    const size_t end = std::min(request->inputs.size(), i + kEmbeddingBatch);
    const std::vector<Prompt> batch(request->inputs.begin() + static_cast<std::ptrdiff_t>(i),
                                    request->inputs.begin() + static_cast<std::ptrdiff_t>(end));
    const Result<std::vector<std::vector<float>>> vectors = backend_.get_embeddings_batch(batch);
    if (!vectors) return exchange->respond(error_response(from_engine(vectors.error())));
    for (const std::vector<float>& vector : *vectors) {
      out += concat(index > 0 ? "," : "", "{\"object\":\"embedding\",\"index\":", index,
                    ",\"embedding\":");
      ++index;
      if (request->as_base64) {
        out += concat("\"", base64(little_endian_bytes(vector)), "\"}");
        continue;
      }
      out += '[';
      for (size_t k = 0; k < vector.size(); ++k) out += concat(k > 0 ? "," : "", vector[k]);
      out += "]}";
    }
  }
  out += "],\"model\":";
  append_json_string(out, context->facts.names.front());
  out += concat(",\"usage\":{\"prompt_tokens\":", request->num_tokens,
                ",\"total_tokens\":", request->num_tokens, "}}");
  respond_json(*exchange, std::move(out));
}

}  // namespace ruvllm::server
