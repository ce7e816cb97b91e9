#include "server/service.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "server/access_log.h"

namespace ruvllm::server {

// All endpoints. What is not listed does not exist.
const Service::Route Service::kRoutes[] = {
    {"GET", "/v1/models", Access::kKey, Where::kIoThread, &Service::models},
    {"GET", "/v1/models/*", Access::kKey, Where::kIoThread, &Service::model},
    {"POST", "/v1/completions", Access::kKey, Where::kWorker, &Service::completions},
    {"POST", "/v1/chat/completions", Access::kKey, Where::kWorker, &Service::chat},
    {"POST", "/v1/completions/render", Access::kKey, Where::kWorker, &Service::render_completions},
    {"POST", "/v1/chat/completions/render", Access::kKey, Where::kWorker, &Service::render_chat},
    {"POST", "/v1/embeddings", Access::kKey, Where::kSlow, &Service::embeddings},
    {"POST", "/v1/responses", Access::kKey, Where::kIoThread, &Service::not_yet},
    {"POST", "/tokenize", Access::kKey, Where::kWorker, &Service::tokenize},
    {"POST", "/detokenize", Access::kKey, Where::kWorker, &Service::detokenize},
    {"POST", "/v1/load_lora_adapter", Access::kAdmin, Where::kSlow, &Service::load_lora},
    {"POST", "/v1/unload_lora_adapter", Access::kAdmin, Where::kWorker, &Service::unload_lora},
    {"GET", "/health", Access::kOpen, Where::kIoThread, &Service::health},
    {"GET", "/health/ready", Access::kOpen, Where::kIoThread, &Service::health},
    {"GET", "/health/live", Access::kOpen, Where::kIoThread, &Service::live},
    {"GET", "/ping", Access::kOpen, Where::kIoThread, &Service::health},
    {"POST", "/ping", Access::kOpen, Where::kIoThread, &Service::health},
    {"GET", "/version", Access::kOpen, Where::kIoThread, &Service::version},
    {"GET", "/load", Access::kOpen, Where::kIoThread, &Service::load},
    {"GET", "/metrics", Access::kOpen, Where::kIoThread, &Service::metrics},
};

size_t Service::num_routes() {
  return std::size(kRoutes);
}

Service::Match Service::match(const HttpRequest& request) {
  Match match;
  const std::string_view path = request.path;
  for (size_t i = 0; i < num_routes(); ++i) {
    const Route& route = kRoutes[i];
    const bool is_prefix = route.path.ends_with("/*");
    const std::string_view stem = route.path.substr(0, route.path.size() - (is_prefix ? 1 : 0));
    if (is_prefix ? !path.starts_with(stem) : path != stem) continue;
    if (route.method == request.method || (route.method == "GET" && request.method == "HEAD")) {
      match.route = i;
      return match;
    }
    match.allow += concat(match.allow.empty() ? "" : ", ", route.method);
  }
  return match;
}

Service::Service(ServiceOptions options, LlmBackend& backend)
    : options_(std::move(options)),
      backend_(backend),
      pump_(std::make_unique<Pump>([this] { tick(); })),
      workers_(std::make_unique<Workers>(2)),
      slow_workers_(std::make_unique<Workers>(1)) {}

Result<std::unique_ptr<Service>> Service::make(ServiceOptions options, LlmBackend& backend) {
  auto service = std::unique_ptr<Service>(new Service(std::move(options), backend));
  RUVLLM_TRY(service->reload_keys());
  return service;
}

Service::~Service() {
  state_.store(ServiceState::kDead);
  workers_.reset();
  slow_workers_.reset();
  pump_.reset();
}

Status Service::reload_keys() {
  RUVLLM_ASSIGN(ApiKeys loaded, ApiKeys::load(options_.api_keys, options_.api_key_file));
  auto keys = std::make_shared<const ApiKeys>(std::move(loaded));
  const std::scoped_lock lock(mutex_);
  keys_ = std::move(keys);
  return {};
}

std::shared_ptr<const ApiKeys> Service::keys() const {
  const std::scoped_lock lock(mutex_);
  return keys_;
}

std::shared_ptr<const JobContext> Service::context() const {
  const std::scoped_lock lock(mutex_);
  return context_;
}

Status Service::open() {
  RUVLLM_ASSIGN(const ModelInfo info, backend_.model_info());
  RUVLLM_ASSIGN(const Tokenizer* tokenizer, backend_.tokenizer());
  // Ready means: a token came out.
  std::vector<int32_t> prompt = {0};
  if (const auto ids = tokenizer->encode("a", true); ids && !ids->empty()) prompt = *ids;
  RUVLLM_ASSIGN(const GenerateResult first,
                backend_.generate_detailed(Prompt(prompt), GenerateParams::greedy(1)));
  if (first.ids.empty()) return fail(ErrorCode::kInternal, "the model produced no token");

  auto context = std::make_shared<JobContext>();
  context->backend = &backend_;
  context->tokenizer = tokenizer;
  context->facts.names = options_.served_names;
  if (context->facts.names.empty()) context->facts.names.push_back(info.name);
  context->facts.root = info.name;
  context->facts.created = std::chrono::duration_cast<std::chrono::seconds>(
                               std::chrono::system_clock::now().time_since_epoch())
                               .count();
  context->facts.max_seq_len = info.max_seq_len;
  context->facts.vocab_size = info.vocab_size;
  context->facts.features = backend_.features();
  context->facts.is_adapter = [this](std::string_view name) { return backend_.has_adapter(name); };
  if (!options_.allow_priority) context->facts.features.priority = false;
  context->queue_timeout = options_.queue_timeout;
  context->total_timeout = options_.total_timeout;
  metrics_ = std::make_unique<ServerMetrics>(context->facts.names.front(), info.max_seq_len);
  metrics_->set_max_loras(options_.max_loras);
  std::vector<std::string> routes;
  for (const Route& route : kRoutes) routes.emplace_back(route.path);
  metrics_->set_routes(std::move(routes));
  context->metrics = metrics_.get();
  {
    const std::scoped_lock lock(mutex_);
    context_ = std::move(context);
  }
  ServiceState expected = ServiceState::kLoading;
  state_.compare_exchange_strong(expected, ServiceState::kReady);
  return {};
}

void Service::begin_drain() {
  ServiceState expected = ServiceState::kReady;
  if (!state_.compare_exchange_strong(expected, ServiceState::kDraining)) {
    expected = ServiceState::kLoading;
    state_.compare_exchange_strong(expected, ServiceState::kDraining);
  }
}

void Service::end_running() {
  pump_->abort_all({503, "the server is shutting down", "", "shutting_down", 1});
}

// The engine's pulse, a few times a second on the pump's thread.
void Service::tick() {
  const ServiceState state = state_.load();
  if (state != ServiceState::kReady && state != ServiceState::kDraining) return;
  const std::optional<EngineStats> stats = backend_.stats();
  if (!stats || stats->alive) return;
  if (state_.exchange(ServiceState::kDead) == ServiceState::kDead) return;
  pump_->abort_all({503, "the engine has failed", "", "engine_dead", 0});
  if (on_dead_) on_dead_();
}

std::shared_ptr<void> Service::take_slot() {
  if (num_requests_.fetch_add(1) >= options_.max_requests) {
    num_requests_.fetch_sub(1);
    return nullptr;
  }
  return std::shared_ptr<void>(this, [this](void*) { num_requests_.fetch_sub(1); });
}

Headers Service::cors_headers(const HttpRequest& request) const {
  const std::string* origin = request.header("Origin");
  if (origin == nullptr) return {};
  const auto& allowed = options_.cors_origins;
  if (std::find(allowed.begin(), allowed.end(), *origin) == allowed.end()) return {};
  return {{"Access-Control-Allow-Origin", *origin}, {"Vary", "Origin"}};
}

std::optional<HttpResponse> Service::on_head(const HttpRequest& head) {
  Headers cors = cors_headers(head);
  const auto refuse_with = [&](ApiError error) {
    HttpResponse response = error_response(error);
    response.headers.insert(response.headers.end(), cors.begin(), cors.end());
    return response;
  };
  const Match found = match(head);
  if (found.route == SIZE_MAX) {
    if (found.allow.empty()) return refuse_with({404, "there is nothing at this path", "", "", 0});
    if (head.method == "OPTIONS" && !cors.empty()) {  // a browser's preflight
      HttpResponse response{204, "", "", std::move(cors)};
      response.headers.emplace_back("Access-Control-Allow-Methods", found.allow);
      response.headers.emplace_back("Access-Control-Allow-Headers", "Authorization, Content-Type");
      return response;
    }
    HttpResponse response = refuse_with({405, concat("this path takes ", found.allow), "", "", 0});
    response.headers.emplace_back("Allow", found.allow);
    return response;
  }
  const Route& route = kRoutes[found.route];
  if (route.access == Access::kOpen) return std::nullopt;
  const auto keys = this->keys();
  const ApiKey* key = keys->find(head.header("Authorization"));
  if (!keys->empty() && key == nullptr) {
    return refuse_with({401, "the API key is missing or wrong", "", "invalid_api_key", 0});
  }
  if (route.access == Access::kAdmin && keys->any_admin() && !key->is_admin) {
    return refuse_with({403, "this needs a key that is marked admin", "", "", 0});
  }
  const ServiceState state = state_.load();
  if (state != ServiceState::kReady) {
    const bool is_loading = state == ServiceState::kLoading;
    return refuse_with({503,
                        is_loading                         ? "the model is being loaded"
                        : state == ServiceState::kDraining ? "the server is shutting down"
                                                           : "the engine has failed",
                        "", is_loading ? "loading" : "unavailable", is_loading ? 2 : 1});
  }
  if (route.method == "POST") {
    const std::string* type = head.header("Content-Type");
    const std::string_view media =
        type == nullptr ? std::string_view() : std::string_view(*type).substr(0, type->find(';'));
    if (!equals_ignoring_case(media.substr(0, media.find(' ')), "application/json")) {
      return refuse_with({415, "Content-Type must be application/json", "", "", 0});
    }
  }
  return std::nullopt;
}

void Service::on_request(std::shared_ptr<Exchange> exchange) {
  const HttpRequest& request = exchange->request;
  exchange->request_id = request_id_of(request);
  exchange->extra_headers = cors_headers(request);
  exchange->route = match(request).route;
  const auto keys = this->keys();
  if (const ApiKey* key = keys->find(request.header("Authorization"))) {
    exchange->key_name = key->name;
    exchange->key_is_admin = key->is_admin;
    if (options_.salt_per_key) exchange->cache_salt = key->salt;
  }
  const Route& route = kRoutes[exchange->route];
  switch (route.where) {
    case Where::kIoThread:
      return (this->*route.handler)(exchange);
    case Where::kWorker:
      return workers_->add([this, &route, exchange] { (this->*route.handler)(exchange); });
    case Where::kSlow:
      return slow_workers_->add([this, &route, exchange] { (this->*route.handler)(exchange); });
  }
}

HttpResponse Service::on_malformed(int status, const std::string& message) {
  return error_response({status, message, "", "", 0});
}

void Service::on_done(const Exchange& exchange, bool aborted) {
  const double seconds =
      std::chrono::duration<double>(Exchange::Clock::now() - exchange.began).count();
  if (context() != nullptr) metrics_->http_request(exchange.route, exchange.status(), seconds);
  if (!options_.access_log) return;
  const std::string_view name =
      exchange.route == SIZE_MAX ? std::string_view("-") : kRoutes[exchange.route].path;
  const std::string line = access_line(exchange, name, seconds, aborted, options_.log_as_json);
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace ruvllm::server
