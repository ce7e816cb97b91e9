#include "server/server.h"

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "base/str.h"

namespace ruvllm::server {
namespace {

constexpr std::chrono::seconds kGrace{5};  // for errors to reach the clients after the time is over

bool is_loopback(std::string_view host) {
  return host.starts_with("127.") || host == "::1" || host == "localhost";
}

class ServerImpl final : public Server {
 public:
  ServerImpl(ServerOptions options, std::unique_ptr<Service> service)
      : options_(std::move(options)), service_(std::move(service)) {}
  ~ServerImpl() override;

  Status listen();
  uint16_t port() const override { return http_->port(); }
  Status open() override { return service_->open(); }
  void shut_down() override { on_signal(SIGTERM); }
  int wait() override;

 private:
  void on_signal(int number);
  bool wait_for_requests(std::chrono::seconds limit);

  ServerOptions options_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<HttpServer> http_;
  std::thread io_thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool drain_ = false;
  bool end_now_ = false;
  bool dead_ = false;
};

Status ServerImpl::listen() {
  RUVLLM_ASSIGN(http_, HttpServer::listen(options_.net, *service_));
  service_->watch_connections(http_.get());
  service_->on_dead([this] {
    const std::scoped_lock lock(mutex_);
    dead_ = true;
    changed_.notify_all();
  });
  http_->on_signal([this](int number) { on_signal(number); });
  io_thread_ = std::thread([this] { http_->run(); });
  return {};
}

ServerImpl::~ServerImpl() {
  if (io_thread_.joinable()) {
    http_->stop();
    io_thread_.join();
  }
  service_.reset();  // its threads may still answer: the network goes last
  http_.reset();
}

void ServerImpl::on_signal(int number) {
  if (number == SIGHUP) {
    const Status status = service_->reload_keys();
    if (status)
      log_warning("the API keys were read again");
    else
      log_error("the API keys stay as they were: ", status.error().message);
    return;
  }
  // While the model loads nothing can be waited for.
  if (service_->state() == ServiceState::kLoading) std::_Exit(0);
  const std::scoped_lock lock(mutex_);
  if (drain_) end_now_ = true;
  drain_ = true;
  service_->begin_drain();
  http_->drain();
  changed_.notify_all();
}

// True when all have ended in time.
bool ServerImpl::wait_for_requests(std::chrono::seconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  std::unique_lock lock(mutex_);
  while (std::chrono::steady_clock::now() < end && !end_now_) {
    // An answer may still be on its way after its request has ended: connections close then.
    if (service_->num_requests() == 0 && http_->num_busy() == 0) return true;
    changed_.wait_for(lock, std::chrono::milliseconds(20));
  }
  return false;
}

int ServerImpl::wait() {
  bool is_clean = true;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return drain_ || dead_; });
    is_clean = !dead_;
  }
  if (!wait_for_requests(is_clean ? options_.shutdown_timeout : kGrace)) {
    service_->end_running();
    wait_for_requests(kGrace);
  }
  http_->stop();
  io_thread_.join();
  const std::scoped_lock lock(mutex_);
  return is_clean && !end_now_ && !dead_ ? 0 : 1;
}

}  // namespace

Result<std::unique_ptr<Server>> Server::start(ServerOptions options, LlmBackend& backend) {
  RUVLLM_ASSIGN(std::unique_ptr<Service> service, Service::make(options.service, backend));
  if (!is_loopback(options.net.host) && !service->has_keys() && !options.insecure) {
    return fail(ErrorCode::kInvalidArgument,
                concat("--host ", options.net.host,
                       " lets everybody in: give --api-key or --api-key-file, or say --insecure"));
  }
  auto server = std::make_unique<ServerImpl>(std::move(options), std::move(service));
  RUVLLM_TRY(server->listen());
  return server;
}

}  // namespace ruvllm::server
