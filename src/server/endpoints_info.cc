// Endpoints that tell: models, tokens, health, metrics; and those that do not exist yet.
#include <charconv>

#include "base/json.h"
#include "base/str.h"
#include "ruvllm/version.h"
#include "server/json_fields.h"
#include "server/prompt_encoder.h"
#include "server/service.h"

namespace ruvllm::server {
namespace {

constexpr double kHungSeconds = 30.0;  // a step that takes longer, with work waiting

std::string model_card(const ModelFacts& facts, std::string_view name) {
  std::string out = "{\"id\":";
  append_json_string(out, name);
  out += concat(",\"object\":\"model\",\"created\":", facts.created,
                ",\"owned_by\":\"ruvllm\",\"root\":");
  append_json_string(out, facts.root);
  return concat(out, ",\"parent\":null,\"max_model_len\":", facts.max_seq_len, "}");
}

// %XX in a path; nullopt when malformed.
std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned byte = 0;
    if (i + 2 >= text.size()) return std::nullopt;
    const auto [end, error] = std::from_chars(&text[i + 1], &text[i] + 3, byte, 16);
    if (error != std::errc() || end != &text[i] + 3 || byte == 0) return std::nullopt;
    out += static_cast<char>(byte);
    i += 2;
  }
  return out;
}

Api<Json> body_for_model(const std::string& text, const ModelFacts& facts) {
  Api<Json> body = parse_body(text);
  if (!body) return body;
  if (auto ok = check_model(*body, facts); !ok) return std::unexpected(std::move(ok).error());
  return body;
}

}  // namespace

void Service::respond_json(Exchange& exchange, std::string body) {
  HttpResponse response;
  response.body = std::move(body);
  exchange.respond(response);
}

void Service::models(const std::shared_ptr<Exchange>& exchange) {
  const auto context = this->context();
  std::string out = "{\"object\":\"list\",\"data\":[";
  for (const std::string& name : context->facts.names) {
    if (&name != context->facts.names.data()) out += ',';
    out += model_card(context->facts, name);
  }
  respond_json(*exchange, out + "]}");
}

void Service::model(const std::shared_ptr<Exchange>& exchange) {
  const auto context = this->context();
  constexpr size_t kPrefix = std::string_view("/v1/models/").size();
  const auto name = percent_decoded(std::string_view(exchange->request.path).substr(kPrefix));
  for (const std::string& known : context->facts.names) {
    if (name && *name == known) return respond_json(*exchange, model_card(context->facts, known));
  }
  exchange->respond(error_response(
      {404, "this server has no model of that name", "model", "model_not_found", 0}));
}

void Service::tokenize(const std::shared_ptr<Exchange>& exchange) {
  const auto context = this->context();
  const auto refuse_with = [&](const ApiError& error) { exchange->respond(error_response(error)); };
  const Api<Json> body = body_for_model(exchange->request.body, context->facts);
  if (!body) return refuse_with(body.error());
  Fields fields(*body);
  const bool with_texts = fields.flag("return_token_strs", false);
  std::vector<int32_t> ids;
  if (fields.has("messages")) {
    Api<ChatRequest> request = read_messages(*body);
    if (!request) return refuse_with(request.error());
    fields.refuse("tools", "is not supported by this server");
    fields.refuse("chat_template", "is not supported by this server");
    if (!fields.ok()) return refuse_with(*fields.error());
    Api<std::vector<int32_t>> encoded = encode_messages(*request, backend_);
    if (!encoded) return refuse_with(encoded.error());
    ids = *std::move(encoded);
  } else {
    const bool add_special = fields.flag("add_special_tokens", true);
    const std::optional<std::string> text = fields.text("prompt", 0, SIZE_MAX);
    if (!text) fields.fail("prompt", "is missing");
    if (!fields.ok()) return refuse_with(*fields.error());
    Result<std::vector<int32_t>> encoded = context->tokenizer->encode(*text, add_special);
    if (!encoded) return refuse_with(from_engine(encoded.error()));
    ids = *std::move(encoded);
  }
  std::string out = concat("{\"count\":", ids.size(),
                           ",\"max_model_len\":", context->facts.max_seq_len, ",\"tokens\":");
  append_ids(out, ids);
  if (with_texts) {
    out += ",\"token_strs\":[";
    for (size_t i = 0; i < ids.size(); ++i) {
      if (i > 0) out += ',';
      append_json_string(out, context->tokenizer->token_bytes(ids[i]));
    }
    out += ']';
  } else {
    out += ",\"token_strs\":null";
  }
  respond_json(*exchange, out + "}");
}

void Service::detokenize(const std::shared_ptr<Exchange>& exchange) {
  const auto context = this->context();
  const auto refuse_with = [&](const ApiError& error) { exchange->respond(error_response(error)); };
  const Api<Json> body = body_for_model(exchange->request.body, context->facts);
  if (!body) return refuse_with(body.error());
  Fields fields(*body);
  const auto ids = fields.ids("tokens", 0, context->facts.vocab_size - 1, SIZE_MAX);
  if (!ids) fields.fail("tokens", "is missing");
  if (!fields.ok()) return refuse_with(*fields.error());
  std::string out = "{\"prompt\":";
  append_json_string(out, context->tokenizer->decode(*ids, /*skip_special=*/false));
  respond_json(*exchange, out + "}");
}

void Service::health(const std::shared_ptr<Exchange>& exchange) {
  switch (state()) {
    case ServiceState::kReady:
      return respond_json(*exchange, "{\"status\":\"ready\"}");
    case ServiceState::kLoading:
      return exchange->respond(
          error_response({503, "the model is being loaded", "", "loading", 2}));
    case ServiceState::kDraining:
      return exchange->respond(
          error_response({503, "the server is shutting down", "", "shutting_down", 0}));
    case ServiceState::kDead:
      return exchange->respond(
          error_response({503, "the engine has failed", "", "engine_dead", 0}));
  }
}

void Service::live(const std::shared_ptr<Exchange>& exchange) {
  const bool is_open = state() == ServiceState::kReady || state() == ServiceState::kDraining;
  const std::optional<EngineStats> stats = is_open ? backend_.stats() : std::nullopt;
  const bool is_hung = stats && stats->seconds_since_step > kHungSeconds;
  if (state() == ServiceState::kDead || (stats && !stats->alive) || is_hung) {
    return exchange->respond(error_response(
        {503, is_hung ? "the engine has not stepped for 30 seconds" : "the engine has failed", "",
         is_hung ? "engine_hung" : "engine_dead", 0}));
  }
  respond_json(*exchange, "{\"status\":\"alive\"}");
}

void Service::version(const std::shared_ptr<Exchange>& exchange) {
  respond_json(*exchange, concat("{\"version\":\"", kVersion, "\"}"));
}

void Service::load(const std::shared_ptr<Exchange>& exchange) {
  respond_json(*exchange, concat("{\"server_load\":", num_requests(), "}"));
}

void Service::metrics(const std::shared_ptr<Exchange>& exchange) {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  if (context() == nullptr) {
    response.body =
        "# HELP ruvllm_ready 1 when requests are accepted.\n# TYPE ruvllm_ready gauge\n"
        "ruvllm_ready 0\n";
  } else {
    ServerMetrics::Gauges gauges;
    gauges.engine = backend_.stats();
    gauges.ready = state() == ServiceState::kReady;
    if (http_ != nullptr) {
      gauges.connections = http_->num_connections();
      gauges.refused_connections = http_->num_refused_connections();
    }
    response.body = metrics_->text(gauges);
  }
  exchange->respond(response);
}

void Service::lora(const std::shared_ptr<Exchange>& exchange) {
  if (!options_.enable_lora_updates) {
    return exchange->respond(error_response(
        {403, "adapters cannot be changed: start the server with --enable-lora-updates", "", "",
         0}));
  }
  exchange->respond(error_response({501, "this version has no adapters yet", "", "", 0}));
}

void Service::not_yet(const std::shared_ptr<Exchange>& exchange) {
  exchange->respond(
      error_response({501, "the Responses API is not supported by this version", "", "", 0}));
}

}  // namespace ruvllm::server
