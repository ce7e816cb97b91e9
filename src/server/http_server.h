// HttpServer: sockets, TLS, time-outs and limits. It knows bytes and HTTP framing, and nothing of
// what the requests mean: that is the HttpHandler's.
//
// One thread (that of run()) does all I/O; handlers are called on it and must not block. Answers
// come from any thread through Exchange. Nothing here throws; a failed listen() says why.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "ruvllm/result.h"
#include "server/exchange.h"
#include "server/http_parser.h"

namespace ruvllm::server {

struct NetOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8000;  // 0: any free one
  int max_connections = 4096;
  HttpLimits limits;
  uint64_t max_bodies_bytes = 256u << 20;  // of all requests being read or answered
  std::chrono::seconds head_timeout{20};   // from the first byte of a request to its head's end
  std::chrono::seconds body_timeout{60};   // from there to the end of the body
  std::chrono::seconds idle_timeout{75};   // between two requests
  std::chrono::seconds write_timeout{30};  // a client that takes no byte of its answer
  std::string tls_certificate_file;        // PEM chain; "": plain HTTP
  std::string tls_key_file;
};

class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  // The head is here, the body is not: an answer refuses the request before its body is read.
  virtual std::optional<HttpResponse> on_head(const HttpRequest& head) = 0;
  // A whole request; the exchange is answered now or later.
  virtual void on_request(std::shared_ptr<Exchange> exchange) = 0;
  // The answer was sent, or the client went away before (`aborted`).
  virtual void on_done(const Exchange& exchange, bool aborted) = 0;
  // Framing that is refused before it is a request: the body of the answer.
  virtual HttpResponse on_malformed(int status, const std::string& message) = 0;
};

class HttpServer {
 public:
  // Bound and listening; nothing is accepted before run(). `handler` outlives the server.
  static Result<std::unique_ptr<HttpServer>> listen(const NetOptions& options,
                                                    HttpHandler& handler);
  virtual ~HttpServer() = default;

  virtual uint16_t port() const = 0;
  // Serves until stop(). Call once.
  virtual void run() = 0;
  // Any thread: no answer keeps its connection any more, and idle connections are closed.
  virtual void drain() = 0;
  // Any thread: closes everything and lets run() return.
  virtual void stop() = 0;
  // `callback` gets SIGTERM, SIGINT and SIGHUP on the I/O thread. Before run().
  virtual void on_signal(std::function<void(int)> callback) = 0;
  // Any thread: open connections, and those refused because there were too many.
  virtual int64_t num_connections() const = 0;
  virtual uint64_t num_refused_connections() const = 0;
  // Any thread: connections whose request is being answered.
  virtual int64_t num_busy() const = 0;
};

}  // namespace ruvllm::server
