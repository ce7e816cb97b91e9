// Endpoints that tell: models, tokens, health, metrics; and those that do not exist yet.
#include <algorithm>
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

// `root`: what was loaded; `parent`: the base model of an adapter, else "".
std::string model_card(const ModelFacts& facts, std::string_view name, std::string_view root,
                       std::string_view parent) {
  std::string out = "{\"id\":";
  append_json_string(out, name);
  out += concat(",\"object\":\"model\",\"created\":", facts.created,
                ",\"owned_by\":\"ruvllm\",\"root\":");
  append_json_string(out, root);
  out += ",\"parent\":";
  if (parent.empty()) {
    out += "null";
  } else {
    append_json_string(out, parent);
  }
  return concat(out, ",\"max_model_len\":", facts.max_seq_len, "}");
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
  if (auto ok = read_model(*body, facts); !ok) return std::unexpected(std::move(ok).error());
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
    out += model_card(context->facts, name, context->facts.root, "");
  }
  // An adapter's path is the operator's business: its root is its name.
  for (const AdapterInfo& adapter : backend_.adapters()) {
    out += ',';
    out += model_card(context->facts, adapter.name, adapter.name, context->facts.names.front());
  }
  respond_json(*exchange, out + "]}");
}

void Service::model(const std::shared_ptr<Exchange>& exchange) {
  const auto context = this->context();
  constexpr size_t kPrefix = std::string_view("/v1/models/").size();
  const auto name = percent_decoded(std::string_view(exchange->request.path).substr(kPrefix));
  for (const std::string& known : context->facts.names) {
    if (name && *name == known) {
      return respond_json(*exchange, model_card(context->facts, known, context->facts.root, ""));
    }
  }
  if (name && backend_.has_adapter(*name)) {
    return respond_json(*exchange,
                        model_card(context->facts, *name, *name, context->facts.names.front()));
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

// The adapter a body names, or nullopt after an answer. `path`: also lora_path, read into it.
std::optional<std::string> Service::read_adapter(const std::shared_ptr<Exchange>& exchange,
                                                 std::string* path, bool* replace) {
  if (!options_.enable_lora_updates) {
    exchange->respond(error_response(
        {403, "adapters cannot be changed: start the server with --enable-lora-updates", "", "",
         0}));
    return std::nullopt;
  }
  const Api<Json> body = parse_body(exchange->request.body);
  if (!body) return exchange->respond(error_response(body.error())), std::nullopt;
  Fields fields(*body);
  constexpr size_t kMaxNameBytes = 256;
  constexpr size_t kMaxPathBytes = 4096;
  std::optional<std::string> name = fields.text("lora_name", 1, kMaxNameBytes);
  if (!name) fields.fail("lora_name", "is missing");
  if (path != nullptr) {
    std::optional<std::string> text = fields.text("lora_path", 1, kMaxPathBytes);
    if (!text) fields.fail("lora_path", "is missing");
    *path = text.value_or("");
    *replace = fields.flag("load_inplace", false);
  }
  if (!fields.ok()) return exchange->respond(error_response(*fields.error())), std::nullopt;
  return name;
}

void Service::load_lora(const std::shared_ptr<Exchange>& exchange) {
  std::string path;
  bool replace = false;
  const std::optional<std::string> name = read_adapter(exchange, &path, &replace);
  if (!name) return;
  const auto context = this->context();
  if (std::ranges::find(context->facts.names, *name) != context->facts.names.end()) {
    return exchange->respond(
        error_response({400, concat("lora_name ", printable(*name), " is the base model's name"),
                        "lora_name", "", 0}));
  }
  if (const Status added = backend_.load_adapter(*name, path, replace); !added) {
    ApiError error = from_engine(added.error());
    if (error.status == 500) error.status = 400;  // its files are bad: the client's to correct
    return exchange->respond(error_response(error));
  }
  HttpResponse response;
  response.content_type = "text/plain; charset=utf-8";
  response.body = concat("the adapter ", printable(*name), " is loaded");
  exchange->respond(response);
}

void Service::unload_lora(const std::shared_ptr<Exchange>& exchange) {
  const std::optional<std::string> name = read_adapter(exchange, nullptr, nullptr);
  if (!name) return;
  if (const Status removed = backend_.unload_adapter(*name); !removed) {
    return exchange->respond(error_response(from_engine(removed.error())));
  }
  HttpResponse response;
  response.content_type = "text/plain; charset=utf-8";
  response.body = concat("the adapter ", printable(*name), " is unloaded");
  exchange->respond(response);
}

void Service::not_yet(const std::shared_ptr<Exchange>& exchange) {
  exchange->respond(
      error_response({501, "the Responses API is not supported by this version", "", "", 0}));
}

}  // namespace ruvllm::server
