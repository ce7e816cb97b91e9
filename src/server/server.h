// Server: `ruvllm serve` as an object: the network and the service together, and their life:
// listening (loading) -> ready -> draining -> ended. Signals: SIGTERM and SIGINT drain, a second
// one ends at once; SIGHUP reads the keys again.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "ruvllm/backend.h"
#include "ruvllm/result.h"
#include "server/http_server.h"
#include "server/service.h"

namespace ruvllm::server {

struct ServerOptions {
  NetOptions net;
  ServiceOptions service;
  std::chrono::seconds shutdown_timeout{30};  // for running requests after SIGTERM
  bool insecure = false;  // listening beyond this machine without an API key is meant
};

class Server {
 public:
  // Listens at once, so that health checks are answered while the model loads. The backend
  // outlives the server.
  static Result<std::unique_ptr<Server>> start(ServerOptions options, LlmBackend& backend);
  virtual ~Server() = default;

  virtual uint16_t port() const = 0;
  // The model is loaded: becomes ready. Fails when no token comes out.
  virtual Status open() = 0;
  // As if SIGTERM had come. Any thread.
  virtual void shut_down() = 0;
  // Until the server has ended; the exit status: 0 after a drain, 1 when the engine failed or a
  // second signal came.
  virtual int wait() = 0;
};

}  // namespace ruvllm::server
