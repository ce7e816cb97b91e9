// ruvllm serve: the OpenAI-compatible server.
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "base/log.h"
#include "base/str.h"
#include "io.h"
#include "model_flags.h"
#include "server/server.h"
#include "verbs.h"

namespace ruvllm::cli {
namespace {

struct ServeFlags {
  ModelFlags model;
  server::ServerOptions options;
  std::vector<std::string> names;
  int32_t port = 8000;
  int32_t shutdown_timeout = 30;
  int32_t queue_timeout = 0;
  int32_t request_timeout = 0;
  int32_t max_connections = 4096;
  bool share_cache = false;
  bool no_access_log = false;

  void add_to(FlagSet& flags);
  void add_engine_flags(FlagSet& flags);
  void settle();
};

void ServeFlags::add_engine_flags(FlagSet& flags) {
  add_serving_flags(flags, model.serving);
  flags.add_custom("--scheduling-policy", "fcfs|priority", "fcfs",
                   "priority: the field of that name may be set; lower goes first",
                   [this](std::string_view text) -> Status {
                     if (text != "fcfs" && text != "priority") {
                       return fail(ErrorCode::kInvalidArgument, "expected fcfs or priority");
                     }
                     options.service.allow_priority = text == "priority";
                     return {};
                   });
  flags.add_custom("--enable-lora", "", "",
                   "accepted for vLLM's command lines: adapters need no switch here",
                   [](std::string_view) -> Status { return {}; });
  flags.add_custom("--lora-modules", "NAME=DIR", "",
                   "a LoRA adapter (PEFT) that requests choose as their model; may be repeated",
                   [this](std::string_view text) { return model.add_adapter(text); });
  flags.add("--max-loras", "N", model.load.max_resident_adapters,
            "adapters in memory; more are known and read again when needed", 1, 4096);
  flags.add("--lora-root", "DIR", model.load.adapter_root,
            "the folder that adapters may be loaded from while the server runs");
}

void ServeFlags::add_to(FlagSet& flags) {
  server::ServiceOptions& service = options.service;
  server::NetOptions& net = options.net;
  model.add_to(flags, kComputeFlags);
  flags.add("--host", "HOST", net.host, "where to listen; beyond this machine a key is needed");
  flags.add("--port", "N", port, "0: any free one", 0, 65535);
  flags.add("--served-model-name", "NAME", names, "what clients call the model; repeatable");
  flags.add("--api-key", "KEY", service.api_keys,
            "clients must send it; repeatable (also: the environment's RUVLLM_SERVE_API_KEY)");
  flags.add("--api-key-file", "FILE", service.api_key_file,
            "one KEY or sha256:HEX per line, ` admin` after it; SIGHUP reads it again");
  flags.add("--insecure", options.insecure, "listen beyond this machine without a key");
  flags.add("--ssl-certfile", "FILE", net.tls_certificate_file, "PEM certificate chain: HTTPS");
  flags.add("--ssl-keyfile", "FILE", net.tls_key_file, "its PEM key");
  flags.add("--allowed-origins", "ORIGIN", service.cors_origins,
            "web page that may call (CORS); repeatable");
  add_engine_flags(flags);
  flags.add("--max-num-queued-reqs", "N", service.max_requests,
            "requests running and waiting; more are answered 429", 1, 1 << 20);
  flags.add("--max-connections", "N", max_connections, "open client connections", 1, 1 << 20);
  flags.add("--queue-timeout", "SECONDS", queue_timeout,
            "a request that has not begun by then is answered 504; 0: none", 0, 86400);
  flags.add("--request-timeout", "SECONDS", request_timeout,
            "a request that has not ended by then is answered 504; 0: none", 0, 86400);
  flags.add("--shutdown-timeout", "SECONDS", shutdown_timeout, "for running requests after SIGTERM",
            0, 86400);
  flags.add("--enable-lora-updates", service.enable_lora_updates,
            "open the endpoints that load and unload adapters; needs --lora-root");
  flags.add("--share-prefix-cache", share_cache, "prompts of different keys may share pages");
  flags.add_custom("--log-format", "text|json", "text", "of the log on stderr",
                   [&service](std::string_view text) -> Status {
                     if (text != "text" && text != "json") {
                       return fail(ErrorCode::kInvalidArgument, "expected text or json");
                     }
                     service.log_as_json = text == "json";
                     return {};
                   });
  flags.add("--no-access-log", no_access_log, "no line per request");
  flags.add_example("ruvllm serve -m demo");
  flags.add_example("ruvllm serve -m model.gguf --host 0.0.0.0 --api-key KEY");
}

void ServeFlags::settle() {
  server::ServiceOptions& service = options.service;
  service.served_names = names;
  if (const char* key = std::getenv("RUVLLM_SERVE_API_KEY"); key != nullptr && *key != '\0') {
    service.api_keys.emplace_back(key);
  }
  options.net.port = static_cast<uint16_t>(port);
  options.net.max_connections = max_connections;
  options.shutdown_timeout = std::chrono::seconds(shutdown_timeout);
  service.queue_timeout = std::chrono::seconds(queue_timeout);
  service.total_timeout = std::chrono::seconds(request_timeout);
  service.salt_per_key = !share_cache;
  service.access_log = !no_access_log;
  service.max_loras = model.load.max_resident_adapters;
  // The served name is the base model, or the X-LoRA; adapters have names of their own.
  if (model.load.use_adapter.empty() && model.load.xlora.empty()) model.load.use_adapter = "base";
}

// What a person wants to know now, in one paragraph.
void greet(const ServeFlags& serve, const server::Server& server, LlmBackend& backend) {
  const server::NetOptions& net = serve.options.net;
  const bool is_v6 = net.host.find(':') != std::string::npos;
  const std::string url = concat(net.tls_certificate_file.empty() ? "http://" : "https://",
                                 is_v6 ? "[" : "", net.host, is_v6 ? "]" : "", ":", server.port());
  const ModelInfo info = *backend.model_info();
  const std::string name = serve.names.empty() ? info.name : serve.names.front();
  std::string text =
      concat("model:    ", name, " (", info.architecture, ", ", info.quantization, ", ",
             human_bytes(info.weight_bytes), ", context ", info.max_seq_len, " tokens)\n");
  const std::optional<EngineStats> stats = backend.stats();
  if (stats) {
    text += concat("KV pool:  ", stats->kv_pages_total, " pages of ", stats->kv_page_tokens,
                   " tokens (", stats->kv_pages_total * stats->kv_page_tokens, " tokens), up to ",
                   stats->max_running, " sequences at a time\n");
  } else {
    text += "KV cache: one conversation at a time (edge backend)\n";
  }
  text += concat(
      "ready at: ", url, "/v1\ntry:      curl ", url, "/v1/chat/completions ",
      "-H 'Content-Type: application/json' ",
      serve.options.service.api_keys.empty() && serve.options.service.api_key_file.empty()
          ? ""
          : "-H \"Authorization: Bearer $KEY\" ",
      "-d '{\"model\":\"", name, "\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n");
  if (serve.options.service.log_as_json) {
    text = object({{"event", text_json("ready")},
                   {"url", text_json(url)},
                   {"model", text_json(name)},
                   {"weight_bytes", Json(info.weight_bytes)},
                   {"max_model_len", Json(info.max_seq_len)},
                   {"kv_pages", Json(stats ? stats->kv_pages_total : 0)},
                   {"kv_page_tokens", Json(stats ? stats->kv_page_tokens : 0)},
                   {"max_sequences", Json(stats ? stats->max_running : 1)}})
               .dump() +
           "\n";
  }
  std::fputs(text.c_str(), stderr);
}

}  // namespace

int verb_serve(Args args) {
  ServeFlags serve;
  serve.model.backend = BackendKind::kServing;
  FlagSet flags("serve", "the OpenAI-compatible HTTP server");
  serve.add_to(flags);
  if (const auto status = flags.parse(args)) return *status;
  if (const auto status = serve.model.check(flags)) return *status;
  if (serve.model.backend != BackendKind::kServing) {
    if (serve.options.service.allow_priority) {
      return flags.usage_error("--scheduling-policy priority needs --backend serving");
    }
    if (serve.share_cache) {
      return flags.usage_error("--share-prefix-cache needs --backend serving");
    }
  }
  if (serve.options.service.enable_lora_updates && serve.model.load.adapter_root.empty()) {
    return fail_with("serve", Error{ErrorCode::kInvalidArgument,
                                    "--enable-lora-updates needs --lora-root DIR, the folder that "
                                    "adapters may be loaded from"});
  }
  serve.settle();
  Result<std::unique_ptr<LlmBackend>> backend =
      create_backend(serve.model.backend, serve.model.serving);
  if (!backend) return fail_with("serve", backend.error());
  Result<std::unique_ptr<server::Server>> started = server::Server::start(serve.options, **backend);
  if (!started) return fail_with("serve", started.error());
  server::Server& server = **started;
  // With a failure the process ends here: nothing has been promised to anybody yet.
  if (const Status loaded = (*backend)->load_model(serve.model.model, serve.model.load); !loaded) {
    return fail_with("serve", loaded.error());
  }
  if (const Status opened = server.open(); !opened) return fail_with("serve", opened.error());
  greet(serve, server, **backend);
  const int status = server.wait();
  started->reset();  // before the backend it uses
  return status;
}

}  // namespace ruvllm::cli
