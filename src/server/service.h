// Service: what the server does with requests. It knows routes, keys, limits and the engine, and
// nothing of sockets; tests and the fuzz target drive it without a network.
//
// Threads: on_head, on_request and on_done on the I/O thread; cheap endpoints answer there, others
// are parsed and queued by worker threads and answered by the Pump. open(), begin_drain() and the
// destructor on the thread that owns the service.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/api_keys.h"
#include "server/generation_job.h"
#include "server/http_server.h"
#include "server/metrics.h"
#include "server/pump.h"
#include "server/workers.h"

namespace ruvllm::server {

struct ServiceOptions {
  std::vector<std::string> served_names;  // empty: the model's name as given
  std::vector<std::string> api_keys;
  std::string api_key_file;
  std::vector<std::string> cors_origins;  // empty: no cross-origin access
  int32_t max_requests = 1024;            // running and waiting; more get 429
  bool enable_lora_updates = false;
  int32_t max_loras = 0;        // in memory at a time; for metrics
  bool allow_priority = false;  // requests may say how urgent they are
  bool salt_per_key = true;     // prompts of different keys share no cache
  std::chrono::milliseconds queue_timeout{0};
  std::chrono::milliseconds total_timeout{0};
  bool access_log = true;
  bool log_as_json = false;
};

enum class ServiceState : uint8_t { kLoading, kReady, kDraining, kDead };

class Service final : public HttpHandler {
 public:
  // The backend outlives the service. Fails when the keys cannot be read.
  static Result<std::unique_ptr<Service>> make(ServiceOptions options, LlmBackend& backend);
  ~Service() override;

  // The model is loaded: generates one token, and is ready from then on.
  Status open();
  void begin_drain();
  // Ends what still runs; clients get an error.
  void end_running();
  // Reads the key file again; on failure the old keys stay.
  Status reload_keys();
  // Called once, on any thread, when the engine has failed.
  void on_dead(std::function<void()> callback) { on_dead_ = std::move(callback); }
  void watch_connections(const HttpServer* server) { http_ = server; }

  ServiceState state() const { return state_.load(); }
  int64_t num_requests() const { return num_requests_.load(); }
  bool has_keys() const { return !keys()->empty(); }

  std::optional<HttpResponse> on_head(const HttpRequest& head) override;
  void on_request(std::shared_ptr<Exchange> exchange) override;
  void on_done(const Exchange& exchange, bool aborted) override;
  HttpResponse on_malformed(int status, const std::string& message) override;

 private:
  using Handler = void (Service::*)(const std::shared_ptr<Exchange>&);
  enum class Access : uint8_t { kOpen, kKey, kAdmin };
  enum class Where : uint8_t { kIoThread, kWorker, kSlow };
  struct Route {
    std::string_view method;
    std::string_view path;  // ends in "/*": with any rest
    Access access;
    Where where;
    Handler handler;
  };
  static const Route kRoutes[];
  static size_t num_routes();
  struct Match {
    size_t route = SIZE_MAX;
    std::string allow;  // methods of this path, when the method is another
  };
  static Match match(const HttpRequest& request);

  Service(ServiceOptions options, LlmBackend& backend);
  std::shared_ptr<const ApiKeys> keys() const;
  Headers cors_headers(const HttpRequest& request) const;
  std::shared_ptr<void> take_slot();
  std::shared_ptr<const JobContext> context() const;
  void tick();
  void respond_json(Exchange& exchange, std::string body);
  void generate(const std::shared_ptr<Exchange>& exchange, GenerationRequest request,
                std::vector<EncodedPrompt> prompts);

  void models(const std::shared_ptr<Exchange>& exchange);
  void model(const std::shared_ptr<Exchange>& exchange);
  void completions(const std::shared_ptr<Exchange>& exchange);
  void chat(const std::shared_ptr<Exchange>& exchange);
  void render_completions(const std::shared_ptr<Exchange>& exchange);
  void render_chat(const std::shared_ptr<Exchange>& exchange);
  void embeddings(const std::shared_ptr<Exchange>& exchange);
  void tokenize(const std::shared_ptr<Exchange>& exchange);
  void detokenize(const std::shared_ptr<Exchange>& exchange);
  void health(const std::shared_ptr<Exchange>& exchange);
  void live(const std::shared_ptr<Exchange>& exchange);
  void version(const std::shared_ptr<Exchange>& exchange);
  void load(const std::shared_ptr<Exchange>& exchange);
  void metrics(const std::shared_ptr<Exchange>& exchange);
  std::optional<std::string> read_adapter(const std::shared_ptr<Exchange>& exchange,
                                          std::string* path, bool* replace);
  void load_lora(const std::shared_ptr<Exchange>& exchange);
  void unload_lora(const std::shared_ptr<Exchange>& exchange);
  void not_yet(const std::shared_ptr<Exchange>& exchange);

  const ServiceOptions options_;
  LlmBackend& backend_;
  std::atomic<ServiceState> state_{ServiceState::kLoading};
  std::atomic<int64_t> num_requests_{0};
  mutable std::mutex mutex_;  // guards the two pointers below
  std::shared_ptr<const ApiKeys> keys_;
  std::shared_ptr<const JobContext> context_;
  std::unique_ptr<ServerMetrics> metrics_;  // from open() on
  std::function<void()> on_dead_;
  const HttpServer* http_ = nullptr;
  std::unique_ptr<Pump> pump_;
  std::unique_ptr<Workers> workers_;
  std::unique_ptr<Workers> slow_workers_;  // embeddings: each call computes
};

}  // namespace ruvllm::server
