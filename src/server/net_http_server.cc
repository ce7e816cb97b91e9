// HttpServer on Boost.Asio: the listening socket, the list of connections, the clock and signals.
#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <list>
#include <utility>
#include <vector>

#include "base/str.h"
#include "server/http_server.h"
#include "server/net_connection.h"

namespace ruvllm::server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

// As many files as this process may open: each connection is one.
void raise_file_limit() {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

class AsioServer final : public HttpServer {
 public:
  AsioServer(const NetOptions& options, HttpHandler& handler)
      : acceptor_(io_),
        clock_(io_),
        pause_(io_),
        signals_(io_),
        tls_(asio::ssl::context::tls_server),
        shared_(std::make_shared<NetShared>()) {
    shared_->options = options;
    shared_->handler = &handler;
  }

  Status open();
  uint16_t port() const override { return port_; }
  void run() override;
  void drain() override;
  void stop() override;
  void on_signal(std::function<void(int)> callback) override;
  int64_t num_busy() const override { return shared_->num_busy.load(); }
  int64_t num_connections() const override { return shared_->num_connections.load(); }
  uint64_t num_refused_connections() const override { return shared_->num_refused.load(); }

 private:
  Status use_certificate();
  void accept();
  void accepted(const boost::system::error_code& error, tcp::socket socket);
  void tick();
  void wait_for_signal();
  template <typename F>
  void for_each_connection(F&& call);

  asio::io_context io_{1};
  tcp::acceptor acceptor_;
  asio::steady_timer clock_;
  asio::steady_timer pause_;
  asio::signal_set signals_;
  asio::ssl::context tls_;
  bool use_tls_ = false;
  uint16_t port_ = 0;
  std::shared_ptr<NetShared> shared_;
  std::list<std::weak_ptr<Connection>> connections_;
  std::function<void(int)> signal_callback_;
  bool stopped_ = false;
};

Status AsioServer::use_certificate() {
  const NetOptions& options = shared_->options;
  if (options.tls_certificate_file.empty() && options.tls_key_file.empty()) return {};
  if (options.tls_certificate_file.empty() || options.tls_key_file.empty()) {
    return fail(ErrorCode::kInvalidArgument, "TLS needs both a certificate file and a key file");
  }
  boost::system::error_code error;
  tls_.set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_sslv2 |
                       asio::ssl::context::no_sslv3 | asio::ssl::context::no_tlsv1 |
                       asio::ssl::context::no_tlsv1_1,
                   error);
  tls_.use_certificate_chain_file(options.tls_certificate_file, error);
  if (error) {
    return fail(ErrorCode::kBadFile,
                concat(options.tls_certificate_file, ": not a PEM certificate: ", error.message()));
  }
  tls_.use_private_key_file(options.tls_key_file, asio::ssl::context::pem, error);
  if (error) {
    return fail(
        ErrorCode::kBadFile,
        concat(options.tls_key_file, ": not the PEM key of the certificate: ", error.message()));
  }
  use_tls_ = true;
  return {};
}

Status AsioServer::open() {
  RUVLLM_TRY(use_certificate());
  raise_file_limit();
  const NetOptions& options = shared_->options;
  const std::string where = concat(options.host, ":", options.port);
  boost::system::error_code error;
  asio::ip::address address = asio::ip::make_address(options.host, error);
  if (error) {
    tcp::resolver resolver(io_);
    const auto found = resolver.resolve(options.host, "", error);
    if (error || found.empty()) {
      return fail(ErrorCode::kInvalidArgument, concat("cannot listen on ", where, ": ",
                                                      error ? error.message() : "unknown host"));
    }
    address = found.begin()->endpoint().address();
  }
  const tcp::endpoint endpoint(address, options.port);
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) {
    return fail(ErrorCode::kIo, concat("cannot listen on ", where, ": ", error.message()));
  }
  port_ = acceptor_.local_endpoint(error).port();
  return {};
}

void AsioServer::accept() {
  acceptor_.async_accept([this](const boost::system::error_code& error, tcp::socket socket) {
    accepted(error, std::move(socket));
  });
}

void AsioServer::accepted(const boost::system::error_code& error, tcp::socket socket) {
  if (stopped_ || error == asio::error::operation_aborted) return;
  if (error) {  // out of files, most likely: give the others time to end
    pause_.expires_after(std::chrono::milliseconds(100));
    pause_.async_wait([this](const boost::system::error_code& e) {
      if (!e) accept();
    });
    return;
  }
  if (num_connections() >= shared_->options.max_connections) {
    shared_->num_refused.fetch_add(1, std::memory_order_relaxed);
    boost::system::error_code ignored;
    socket.close(ignored);
  } else {
    boost::system::error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    socket.set_option(asio::socket_base::keep_alive(true), ignored);
    auto transport = use_tls_ ? make_tls_transport(std::move(socket), tls_)
                              : make_plain_transport(std::move(socket));
    const auto connection =
        std::make_shared<Connection>(io_.get_executor(), std::move(transport), shared_);
    connections_.push_back(connection);
    connection->start();
  }
  accept();
}

template <typename F>
void AsioServer::for_each_connection(F&& call) {
  for (auto it = connections_.begin(); it != connections_.end();) {
    if (const auto connection = it->lock()) {
      call(*connection);
      ++it;
    } else {
      it = connections_.erase(it);
    }
  }
}

void AsioServer::tick() {
  clock_.expires_after(std::chrono::seconds(1));
  clock_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    const auto now = Connection::Clock::now();
    for_each_connection([&](Connection& connection) { connection.check_time(now); });
    tick();
  });
}

void AsioServer::on_signal(std::function<void(int)> callback) {
  signal_callback_ = std::move(callback);
  boost::system::error_code ignored;
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) signals_.add(number, ignored);
  wait_for_signal();
}

void AsioServer::wait_for_signal() {
  signals_.async_wait([this](const boost::system::error_code& error, int number) {
    if (error) return;
    signal_callback_(number);
    wait_for_signal();
  });
}

void AsioServer::run() {
  accept();
  tick();
  io_.run();
  // Connections that are still open end here, while everything they use is there.
  for_each_connection([](Connection& connection) { connection.close(); });
  io_.restart();
  io_.poll();
}

void AsioServer::drain() {
  shared_->draining.store(true);
  asio::post(io_, [this] {
    for_each_connection([](Connection& connection) { connection.close_if_idle(); });
  });
}

void AsioServer::stop() {
  asio::post(io_, [this] {
    stopped_ = true;
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    signals_.cancel(ignored);
    io_.stop();
  });
}

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::listen(const NetOptions& options,
                                                       HttpHandler& handler) {
  auto server = std::make_unique<AsioServer>(options, handler);
  RUVLLM_TRY(server->open());
  return server;
}

}  // namespace ruvllm::server
