// What the service does around requests, without a network: keys, limits, life and other endpoints.
#include "base/test_util.h"
#include "server/service_test_util.h"

namespace ruvllm::server {
namespace {

TEST_F(ServiceTest, KeysRoutesAndMethods) {
  ServiceOptions options;
  options.api_keys = {"sk-one", "sk-two"};
  start(options);
  const auto with_key = [&](std::string header) {
    HttpRequest message = request("GET", "/v1/models");
    message.headers.emplace_back("Authorization", std::move(header));
    return ask(std::move(message)).status;
  };
  EXPECT_EQ(with_key("Bearer sk-one"), 200);
  EXPECT_EQ(with_key("bearer sk-two"), 200);
  for (const char* header : {"Bearer", "Bearer ", "Basic sk-one", "sk-one", "Bearer sk-on",
                             "Bearer sk-onex", "Bearer  sk-one", "Bearer SK-ONE"}) {
    EXPECT_EQ(with_key(header), 401) << header;
  }
  const Answer none = ask(request("GET", "/v1/models"));
  EXPECT_EQ(none.status, 401);
  EXPECT_NE(none.head.find("WWW-Authenticate: Bearer"), std::string::npos);
  for (const char* path :
       {"/health", "/health/ready", "/health/live", "/ping", "/version", "/load", "/metrics"}) {
    EXPECT_EQ(ask(request("GET", path)).status, 200) << path;
  }
  for (const char* path : {"//v1/models", "/v1//models", "/V1/models", "/%76%31/models", "/nope"}) {
    EXPECT_EQ(ask(request("GET", path)).status, 404) << path;
  }
  const Answer method = ask(request("DELETE", "/v1/completions"));
  EXPECT_EQ(method.status, 405);
  EXPECT_NE(method.head.find("Allow: POST"), std::string::npos);
  HttpRequest plain = request("POST", "/v1/completions", "{}");
  plain.headers = {{"Content-Type", "text/plain"}, {"Authorization", "Bearer sk-one"}};
  EXPECT_EQ(ask(plain).status, 415);
}

TEST_F(ServiceTest, EachKeyHasItsOwnCache) {
  ServiceOptions options;
  options.api_keys = {"sk-one", "sk-two"};
  start(options);
  std::vector<std::string> salts;
  for (const char* key : {"sk-one", "sk-two", "sk-one"}) {
    HttpRequest message = request("POST", "/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":1}");
    message.headers.emplace_back("Authorization", "Bearer " + std::string(key));
    EXPECT_EQ(ask(message).status, 200);
    salts.push_back(backend_.last_options.cache_salt);
    EXPECT_EQ(salts.back().find(key), std::string::npos);
  }
  EXPECT_NE(salts[0], salts[1]);
  EXPECT_EQ(salts[0], salts[2]);
  EXPECT_FALSE(salts[0].empty());
}

TEST_F(ServiceTest, LoraEndpointsAreClosedAndNeedAnAdmin) {
  start();
  EXPECT_EQ(post("/v1/load_lora_adapter", "{}").status, 403);
  ServiceOptions options;
  options.enable_lora_updates = true;
  start(options);
  EXPECT_EQ(post("/v1/load_lora_adapter", "{}").status, 400);
  EXPECT_EQ(post("/v1/load_lora_adapter", R"({"lora_name":"x","lora_path":"bad"})").status, 400);
  EXPECT_EQ(post("/v1/load_lora_adapter", R"({"lora_name":"fake","lora_path":"good"})").status,
            400);
  EXPECT_EQ(post("/v1/load_lora_adapter", R"({"lora_name":"x","lora_path":"good"})").status, 200);
  EXPECT_NE(ask(request("GET", "/v1/models", "")).body.find(R"("parent":"fake")"),
            std::string::npos);
  EXPECT_EQ(post("/v1/completions", R"({"model":"x","prompt":"a"})").status, 200);
  EXPECT_EQ(backend_.last_options.adapter, "x");
  EXPECT_EQ(post("/v1/embeddings", R"({"model":"x","input":"a"})").status, 400);
  EXPECT_EQ(post("/v1/unload_lora_adapter", R"({"lora_name":"x"})").status, 200);
  EXPECT_EQ(post("/v1/unload_lora_adapter", R"({"lora_name":"x"})").status, 404);
  EXPECT_EQ(post("/v1/completions", R"({"model":"x","prompt":"a"})").status, 404);
}

TEST_F(ServiceTest, AFullQueueIs429) {
  ServiceOptions options;
  options.max_requests = 2;
  backend_.behaviour.silent = true;
  start(options);
  const auto a = send(request("POST", "/v1/completions", "{\"prompt\":\"a\"}"));
  const auto b = send(request("POST", "/v1/completions", "{\"prompt\":\"a\"}"));
  while (service_->num_requests() < 2) std::this_thread::sleep_for(1ms);
  const Answer refused = complete("\"stream\":true");
  EXPECT_EQ(refused.status, 429);
  EXPECT_NE(refused.head.find("Retry-After: 1"), std::string::npos);
  EXPECT_NE(ask(request("GET", "/load")).body.find("2"), std::string::npos);
  a->close();
  b->close();
  while (service_->num_requests() > 0) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(backend_.num_streams.load(), 0);
  EXPECT_EQ(backend_.num_cancelled.load(), 2);
}

TEST_F(ServiceTest, ClientThatLeavesEndsItsGenerations) {
  backend_.behaviour.never_ends = true;
  start();
  for (const char* stream : {"true", "false"}) {
    const auto exchange =
        send(request("POST", "/v1/completions",
                     "{\"prompt\":\"a\",\"n\":4,\"stream\":" + std::string(stream) + "}"));
    while (backend_.num_streams.load() < 4) std::this_thread::sleep_for(1ms);
    exchange->close();
    while (backend_.num_streams.load() > 0) std::this_thread::sleep_for(1ms);
    EXPECT_EQ(service_->num_requests(), 0);
  }
}

TEST_F(ServiceTest, ReaderThatStopsHoldsOnlyItselfUp) {
  backend_.behaviour.never_ends = true;
  start();
  const auto exchange =
      send(request("POST", "/v1/completions", "{\"prompt\":\"a\",\"stream\":true}"));
  while (exchange->backlog_bytes() <= kBacklogHighBytes) std::this_thread::sleep_for(1ms);
  std::this_thread::sleep_for(50ms);
  const size_t backlog = exchange->backlog_bytes();
  EXPECT_LT(backlog, kBacklogHighBytes + 64 * 1024);
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(exchange->backlog_bytes(), backlog);
  // It reads again: more comes.
  exchange->sent(exchange->take_output().bytes.size());
  while (exchange->backlog_bytes() <= kBacklogHighBytes) std::this_thread::sleep_for(1ms);
  exchange->close();
}

TEST_F(ServiceTest, TimeLimitsOfBackendsWithoutThem) {
  backend_.behaviour.silent = true;
  backend_.behaviour.features.deadlines = false;
  ServiceOptions options;
  options.queue_timeout = 50ms;
  start(options);
  const Answer answer = complete("");
  EXPECT_EQ(answer.status, 504);
  EXPECT_EQ(text_at(answer.json(), {"error", "code"}), "deadline_exceeded");
  EXPECT_EQ(backend_.num_streams.load(), 0);
}

TEST_F(ServiceTest, BackendsRefusalsKeepTheirMeaning) {
  start();
  backend_.behaviour.refuses = Error{ErrorCode::kUnavailable, "the queue is full"};
  EXPECT_EQ(complete("").status, 429);
  backend_.behaviour.refuses = Error{ErrorCode::kUnsupported, "min_tokens is not supported"};
  EXPECT_EQ(complete("\"stream\":true").status, 400);
  backend_.behaviour.refuses = Error{ErrorCode::kInternal, "x"};
  EXPECT_EQ(complete("").status, 500);
  EXPECT_EQ(service_->num_requests(), 0);
}

TEST_F(ServiceTest, AnEngineThatDiesIsSeenAtOnce) {
  backend_.behaviour.silent = true;
  start();
  std::atomic<bool> told{false};
  service_->on_dead([&] { told = true; });
  const auto waiting = send(request("POST", "/v1/completions", "{\"prompt\":\"a\"}"));
  backend_.alive = false;
  EXPECT_EQ(finish(*waiting).status, 503);
  while (!told) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(ask(request("GET", "/health")).status, 503);
  EXPECT_EQ(ask(request("GET", "/health/live")).status, 503);
  EXPECT_EQ(complete("").status, 503);
}

TEST_F(ServiceTest, DrainRefusesNewRequestsAndEndsTheOld) {
  backend_.behaviour.silent = true;
  start();
  const auto running = send(request("POST", "/v1/completions", "{\"prompt\":\"a\"}"));
  while (service_->num_requests() == 0) std::this_thread::sleep_for(1ms);
  service_->begin_drain();
  EXPECT_EQ(ask(request("GET", "/health")).status, 503);
  EXPECT_EQ(ask(request("GET", "/health/live")).status, 200);
  EXPECT_EQ(complete("").status, 503);
  service_->end_running();
  EXPECT_EQ(finish(*running).status, 503);
}

TEST_F(ServiceTest, KeyFileIsReadAgain) {
  const std::string path = test::make_temp_dir() + "/keys";
  const auto write = [&](const char* text) {
    std::FILE* file = std::fopen(path.c_str(), "w");
    ASSERT_NE(file, nullptr);
    std::fputs(text, file);
    std::fclose(file);
  };
  write("# ours\nsk-old\nsk-boss admin\n");
  ServiceOptions options;
  options.api_key_file = path;
  options.enable_lora_updates = true;
  start(options);
  const auto status_with = [&](const char* key, const char* method, const char* path_of) {
    HttpRequest message = request(method, path_of, "{}");
    message.headers.emplace_back("Authorization", "Bearer " + std::string(key));
    return ask(message).status;
  };
  EXPECT_EQ(status_with("sk-old", "GET", "/v1/models"), 200);
  EXPECT_EQ(status_with("sk-old", "POST", "/v1/load_lora_adapter"), 403);
  EXPECT_EQ(status_with("sk-boss", "POST", "/v1/load_lora_adapter"), 400);
  // sha256 of "sk-new"
  write("sha256:zz\n");
  EXPECT_FALSE(service_->reload_keys().has_value());
  EXPECT_EQ(status_with("sk-old", "GET", "/v1/models"), 200);
  write("sk-new\n");
  EXPECT_TRUE(service_->reload_keys().has_value());
  EXPECT_EQ(status_with("sk-old", "GET", "/v1/models"), 401);
  EXPECT_EQ(status_with("sk-new", "GET", "/v1/models"), 200);
}

TEST_F(ServiceTest, EmbeddingsTokensAndModels) {
  start();
  const Json floats = post("/v1/embeddings", "{\"input\":[\"a\",\"b\"]}").json();
  EXPECT_EQ(floats.find("data")->as_array()->size(), 2u);
  EXPECT_EQ(text_at(floats, {"data", "embedding"}), "1");
  const Json encoded =
      post("/v1/embeddings", "{\"input\":[1],\"encoding_format\":\"base64\"}").json();
  EXPECT_EQ(text_at(encoded, {"data", "embedding"}), "AACAPwAAAL8=");
  for (const char* body :
       {"{\"input\":\"\"}", "{\"input\":[]}", "{}", "{\"input\":5}",
        "{\"input\":\"a\",\"encoding_format\":\"hex\"}", "{\"input\":\"a\",\"dimensions\":-1}"}) {
    EXPECT_EQ(post("/v1/embeddings", body).status, 400) << body;
  }
  const Answer tokens = post("/tokenize", "{\"prompt\":\"ab\",\"return_token_strs\":true}");
  EXPECT_EQ(tokens.body,
            "{\"count\":2,\"max_model_len\":256,\"tokens\":[97,98],\"token_strs\":"
            "[\"a\",\"b\"]}");
  EXPECT_EQ(post("/detokenize", "{\"tokens\":[97,98]}").body, "{\"prompt\":\"ab\"}");
  EXPECT_EQ(post("/detokenize", "{\"tokens\":[256]}").status, 400);
  EXPECT_EQ(post("/v1/completions/render", "{\"prompt\":[\"a\",\"b\"]}").body,
            "[{\"token_ids\":[97]},{\"token_ids\":[98]}]");
  EXPECT_EQ(ask(request("GET", "/v1/models/fake")).status, 200);
  EXPECT_EQ(ask(request("GET", "/v1/models/%66ake")).status, 200);
  EXPECT_EQ(ask(request("GET", "/v1/models/fake%")).status, 404);
}

TEST_F(ServiceTest, MetricsCountWhatHappened) {
  start();
  complete("\"max_tokens\":4");
  complete("\"max_tokens\":8,\"stop\":\"C\"");
  const std::string text = ask(request("GET", "/metrics")).body;
  const std::string labels = "{model_name=\"fake\",engine=\"0\"";
  for (const std::string& line :
       {"vllm:request_success_total" + labels + ",finished_reason=\"length\"} 1\n",
        "vllm:request_success_total" + labels + ",finished_reason=\"stop\"} 1\n",
        "vllm:e2e_request_latency_seconds_count" + labels + "} 2\n",
        "vllm:time_to_first_token_seconds_count" + labels + "} 2\n",
        "vllm:request_generation_tokens_sum" + labels + "} 7\n",
        "vllm:inter_token_latency_seconds_count" + labels + "} 5\n",
        "vllm:num_requests_running" + labels + "} 0\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace ruvllm::server
