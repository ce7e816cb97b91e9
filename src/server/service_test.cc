// The service without a network: requests in, answers out, on a fake backend.
#include "server/service.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "base/json.h"
#include "base/test_util.h"
#include "server/fake_backend.h"

namespace ruvllm::server {
namespace {

using namespace std::chrono_literals;

class ServiceTest : public ::testing::Test {
 protected:
  void start(ServiceOptions options = {}) {
    options.access_log = false;
    options.allow_priority = true;
    auto made = Service::make(std::move(options), backend_);
    ASSERT_TRUE(made.has_value()) << made.error().message;
    service_ = *std::move(made);
    const Status opened = service_->open();
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
  }

  struct Answer {
    int status = 0;
    std::string head;
    std::string body;
    Json json() const {
      auto parsed = Json::parse(body);
      EXPECT_TRUE(parsed.has_value()) << body;
      return parsed ? *parsed : Json();
    }
  };

  static HttpRequest request(std::string method, std::string path, std::string body = "") {
    HttpRequest out;
    out.method = std::move(method);
    out.path = std::move(path);
    out.body = std::move(body);
    out.version_minor = 0;  // streams come without chunk sizes
    if (out.method == "POST") out.headers.emplace_back("Content-Type", "application/json");
    return out;
  }

  std::shared_ptr<Exchange> send(HttpRequest message) {
    const std::optional<HttpResponse> refusal = service_->on_head(message);
    auto exchange = std::make_shared<Exchange>(std::move(message), true, [] {});
    if (refusal)
      exchange->respond(*refusal);
    else
      service_->on_request(exchange);
    return exchange;
  }

  static Answer finish(Exchange& exchange) {
    Answer answer;
    std::string bytes;
    for (int i = 0; i < 20000; ++i) {
      const Exchange::Output output = exchange.take_output();
      exchange.sent(output.bytes.size());
      bytes += output.bytes;
      if (output.is_last) break;
      std::this_thread::sleep_for(1ms);
    }
    answer.status = exchange.status();
    const size_t end = bytes.find("\r\n\r\n");
    answer.head = bytes.substr(0, end);
    answer.body = end == std::string::npos ? "" : bytes.substr(end + 4);
    exchange.close();
    return answer;
  }

  Answer ask(HttpRequest message) { return finish(*send(std::move(message))); }
  Answer post(std::string path, std::string body) { return ask(request("POST", path, body)); }
  Answer complete(const std::string& fields) {
    return post("/v1/completions", "{\"model\":\"fake\",\"prompt\":\"abcdefgh\"" +
                                       (fields.empty() ? "" : "," + fields) + "}");
  }

  static std::string text_at(const Json& json, std::initializer_list<const char*> path) {
    const Json* at = &json;
    for (const char* name : path) {
      if (at == nullptr) return "(nothing)";
      at = at->is_array() ? (at->as_array()->empty() ? nullptr : &at->as_array()->front())
                          : at->find(name);
      if (at != nullptr && at->is_array() && std::string_view(name) != "0") {
        at = at->as_array()->empty() ? nullptr : &at->as_array()->front();
      }
    }
    if (at == nullptr) return "(nothing)";
    return at->as_string() != nullptr ? *at->as_string() : at->dump();
  }

  test::FakeBackend backend_;
  std::unique_ptr<Service> service_;
};

TEST_F(ServiceTest, AnswersACompletion) {
  start();
  const Answer answer = complete("\"max_tokens\":4");
  EXPECT_EQ(answer.status, 200);
  const Json json = answer.json();
  EXPECT_EQ(text_at(json, {"object"}), "text_completion");
  EXPECT_EQ(text_at(json, {"choices", "text"}), "ABCD");
  EXPECT_EQ(text_at(json, {"choices", "finish_reason"}), "length");
  EXPECT_EQ(text_at(json, {"usage", "total_tokens"}), "12");
  EXPECT_EQ(text_at(json, {"usage", "prompt_tokens_details", "cached_tokens"}), "0");
  EXPECT_EQ(backend_.num_streams.load(), 0);
}

TEST_F(ServiceTest, ChoiceIndexIsPromptTimesNPlusI) {
  start();
  const Answer answer =
      post("/v1/completions", "{\"prompt\":[\"ab\",\"xy\"],\"n\":2,\"max_tokens\":2}");
  ASSERT_EQ(answer.status, 200) << answer.body;
  const Json json = answer.json();
  const Json::Array& choices = *json.find("choices")->as_array();
  ASSERT_EQ(choices.size(), 4u);
  const char* const kTexts[] = {"AB", "AB", "XY", "XY"};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(choices[i].find("index")->as_int64(), static_cast<int64_t>(i));
    EXPECT_EQ(*choices[i].find("text")->as_string(), kTexts[i]);
  }
  EXPECT_EQ(json.find("usage")->find("completion_tokens")->as_int64(), 8);
}

TEST_F(ServiceTest, FollowersOfALongPromptStartAfterItsFirstToken) {
  start();
  const Answer answer = post(
      "/v1/completions", "{\"prompt\":\"" + std::string(40, 'a') + "\",\"n\":5,\"max_tokens\":3}");
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.json().find("choices")->as_array()->size(), 5u);
  EXPECT_EQ(answer.json().find("usage")->find("completion_tokens")->as_int64(), 15);
}

TEST_F(ServiceTest, StreamsServerSentEvents) {
  start();
  for (const bool notifies : {true, false}) {
    backend_.behaviour.notifies = notifies;
    const Answer answer =
        complete("\"max_tokens\":3,\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    EXPECT_EQ(answer.status, 200);
    EXPECT_NE(answer.head.find("text/event-stream"), std::string::npos);
    std::vector<Json> events;
    std::string_view rest = answer.body;
    std::string text;
    bool is_done = false;
    while (!rest.empty()) {
      const size_t end = rest.find("\n\n");
      ASSERT_NE(end, std::string_view::npos);
      const std::string_view event = rest.substr(0, end);
      rest.remove_prefix(end + 2);
      ASSERT_TRUE(event.starts_with("data: ")) << event;
      if (event == "data: [DONE]") {
        is_done = true;
        EXPECT_TRUE(rest.empty());
        break;
      }
      auto json = Json::parse(event.substr(6));
      ASSERT_TRUE(json.has_value()) << event;
      events.push_back(*json);
    }
    EXPECT_TRUE(is_done);
    ASSERT_EQ(events.size(), 5u) << answer.body;  // three tokens, the end, usage
    for (const Json& event : events) {
      const Json::Array& choices = *event.find("choices")->as_array();
      if (!choices.empty()) {
        text += *choices[0].find("text")->as_string();
        EXPECT_TRUE(event.find("usage")->is_null());
      }
    }
    EXPECT_EQ(text, "ABC");
    EXPECT_TRUE(events.back().find("choices")->as_array()->empty());
    EXPECT_EQ(events.back().find("usage")->find("completion_tokens")->as_int64(), 3);
  }
}

TEST_F(ServiceTest, ChatStreamBeginsWithTheRole) {
  start();
  const Answer answer = post(
      "/v1/chat/completions",
      "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":2,\"stream\":true}");
  const size_t role = answer.body.find("\"delta\":{\"role\":\"assistant\"");
  const size_t content = answer.body.find("\"delta\":{\"content\":\"[\"}");
  ASSERT_NE(role, std::string::npos) << answer.body;
  ASSERT_NE(content, std::string::npos) << answer.body;
  EXPECT_LT(role, content);
  EXPECT_NE(answer.body.find("\"delta\":{},\"logprobs\":null,\"finish_reason\":\"length\""),
            std::string::npos);
}

TEST_F(ServiceTest, StopReasonNamesTheStop) {
  start();
  const Json json = complete("\"max_tokens\":8,\"stop\":[\"D\"]").json();
  EXPECT_EQ(text_at(json, {"choices", "text"}), "ABC");
  EXPECT_EQ(text_at(json, {"choices", "finish_reason"}), "stop");
  EXPECT_EQ(text_at(json, {"choices", "stop_reason"}), "D");
}

TEST_F(ServiceTest, EchoScoresThePrompt) {
  start();
  const Json json = complete("\"max_tokens\":0,\"echo\":true,\"logprobs\":1").json();
  EXPECT_EQ(text_at(json, {"choices", "text"}), "abcdefgh");
  const Json* logprobs = json.find("choices")->as_array()->front().find("logprobs");
  const Json::Array& values = *logprobs->find("token_logprobs")->as_array();
  ASSERT_EQ(values.size(), 8u);
  EXPECT_TRUE(values[0].is_null());
  EXPECT_EQ(values[1].as_double(), -1.0);
  EXPECT_EQ(logprobs->find("text_offset")->as_array()->back().as_int64(), 7);
}

TEST_F(ServiceTest, FieldsReachTheBackend) {
  start();
  const Answer answer = complete(
      "\"max_tokens\":2,\"temperature\":0.5,\"top_p\":0.25,\"top_k\":-1,\"min_p\":0.125,\"seed\":7,"
      "\"repetition_penalty\":1.5,\"frequency_penalty\":-2,\"presence_penalty\":2,"
      "\"logit_bias\":{\"65\":-100},\"stop_token_ids\":[9],\"min_tokens\":1,\"ignore_eos\":true,"
      "\"allowed_token_ids\":[65,66],\"bad_words\":[\"q\"],\"skip_special_tokens\":false,"
      "\"include_stop_str_in_output\":true,\"prompt_logprobs\":3,\"priority\":-4,"
      "\"cache_salt\":\"s\",\"n\":1");
  ASSERT_EQ(answer.status, 200) << answer.body;
  const GenerateParams& params = backend_.last_params;
  EXPECT_EQ(params.max_tokens, 2);
  EXPECT_FLOAT_EQ(params.temperature, 0.5f);
  EXPECT_FLOAT_EQ(params.top_p, 0.25f);
  EXPECT_EQ(params.top_k, 0);
  EXPECT_FLOAT_EQ(params.min_p, 0.125f);
  EXPECT_EQ(params.seed, 7u);
  EXPECT_FLOAT_EQ(params.repetition_penalty, 1.5f);
  EXPECT_FLOAT_EQ(params.frequency_penalty, -2.0f);
  EXPECT_FLOAT_EQ(params.presence_penalty, 2.0f);
  ASSERT_EQ(params.logit_bias.size(), 1u);
  EXPECT_EQ(params.logit_bias[0].first, 65);
  EXPECT_EQ(params.stop_token_ids, std::vector<int32_t>{9});
  EXPECT_EQ(params.min_tokens, 1);
  EXPECT_TRUE(params.ignore_eos);
  EXPECT_EQ(params.allowed_token_ids.size(), 2u);
  ASSERT_EQ(params.banned_sequences.size(), 2u);  // "q" and " q"
  EXPECT_FALSE(params.skip_special_tokens);
  EXPECT_TRUE(params.include_stop_in_output);
  EXPECT_EQ(params.prompt_logprobs, 3);
  EXPECT_EQ(backend_.last_options.priority, -4);
  EXPECT_EQ(backend_.last_options.cache_salt, "/s");
  EXPECT_FALSE(backend_.last_options.request_id.empty());
}

TEST_F(ServiceTest, KnownFieldsThatCannotBeObeyedAreRefusedByName) {
  start();
  const std::pair<const char*, const char*> kFields[] = {
      {"suffix", "\"x\""},
      {"best_of", "2"},
      {"response_format", "{\"type\":\"json_object\"}"},
      {"structured_outputs", "{\"regex\":\"a\"}"},
      {"guided_choice", "[\"a\"]"},
      {"use_beam_search", "true"},
      {"length_penalty", "2"},
      {"kv_transfer_params", "{}"},
      {"prompt_embeds", "\"x\""},
      {"detokenize", "false"},
  };
  for (const auto& [name, value] : kFields) {
    const Answer answer = complete("\"" + std::string(name) + "\":" + value);
    EXPECT_EQ(answer.status, 400) << name;
    EXPECT_EQ(text_at(answer.json(), {"error", "param"}), name);
    EXPECT_EQ(complete("\"" + std::string(name) + "\":null").status, 200) << name;
  }
  const Answer tools = post("/v1/chat/completions",
                            "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[]}");
  EXPECT_EQ(tools.status, 400);
  EXPECT_EQ(text_at(tools.json(), {"error", "param"}), "tools");
}

TEST_F(ServiceTest, FeaturesTheBackendLacksAreRefusedByName) {
  backend_.behaviour.features = {};
  start();
  for (const char* field :
       {"\"min_tokens\":1", "\"allowed_token_ids\":[1]", "\"bad_words\":[\"a\"]",
        "\"include_stop_str_in_output\":true", "\"skip_special_tokens\":false",
        "\"prompt_logprobs\":0", "\"priority\":1", "\"cache_salt\":\"a\"",
        "\"echo\":true,\"logprobs\":1"}) {
    EXPECT_EQ(complete(field).status, 400) << field;
  }
  EXPECT_EQ(complete("").status, 200);
}

TEST_F(ServiceTest, WrongValuesAre400) {
  start();
  for (const char* field : {"\"max_tokens\":-1",
                            "\"max_tokens\":1.5",
                            "\"max_tokens\":\"x\"",
                            "\"max_tokens\":1e99",
                            "\"max_tokens\":0",
                            "\"temperature\":-1",
                            "\"temperature\":1e999",
                            "\"top_p\":0",
                            "\"top_p\":1.5",
                            "\"top_k\":-2",
                            "\"min_p\":2",
                            "\"n\":0",
                            "\"n\":129",
                            "\"stop\":\"\"",
                            "\"stop\":[1]",
                            "\"stop_token_ids\":[256]",
                            "\"logit_bias\":{\"256\":1}",
                            "\"logit_bias\":{\"1\":101}",
                            "\"logit_bias\":[1]",
                            "\"seed\":18446744073709551615",
                            "\"logprobs\":21",
                            "\"stream\":1",
                            "\"stream_options\":{}",
                            "\"min_tokens\":17",
                            "\"cache_salt\":\"\"",
                            "\"priority\":\"a\"",
                            "\"truncate_prompt_tokens\":-2",
                            "\"repetition_penalty\":0",
                            "\"frequency_penalty\":2.5",
                            "\"echo\":\"x\"",
                            "\"allowed_token_ids\":[]",
                            "\"prompt_logprobs\":1,\"stream\":true"}) {
    const Answer answer = complete(field);
    EXPECT_EQ(answer.status, 400) << field << answer.body;
    EXPECT_NE(answer.json().find("error"), nullptr);
  }
  for (const char* body :
       {"", "[]", "{", "null", "{\"prompt\":5}", "{\"prompt\":[]}", "{\"prompt\":\"\"}",
        "{\"prompt\":[[]]}", "{\"prompt\":[\"a\",1]}", "{\"prompt\":[256]}", "{\"prompt\":[1.5]}",
        "{\"prompt\":\"a\"} x", "{\"prompt\":\"\xff\"}", "{\"a\":1,\"a\":2}"}) {
    EXPECT_EQ(post("/v1/completions", body).status, 400) << body;
  }
  EXPECT_EQ(post("/v1/completions", "{\"model\":\"other\",\"prompt\":\"a\"}").status, 404);
  std::string deep = "{\"prompt\":\"a\",\"x\":" + std::string(100000, '[') + "}";
  EXPECT_EQ(post("/v1/completions", deep).status, 400);
}

TEST_F(ServiceTest, ContextIsRespected) {
  start();
  const Answer over = post("/v1/completions", "{\"prompt\":\"" + std::string(300, 'a') + "\"}");
  EXPECT_EQ(over.status, 400);
  EXPECT_NE(over.body.find("256"), std::string::npos);
  EXPECT_NE(over.body.find("300"), std::string::npos);
  const Json json = complete("\"max_tokens\":10000").json();
  EXPECT_EQ(text_at(json, {"usage", "total_tokens"}), "256");
  const Json cut = complete("\"truncate_prompt_tokens\":3,\"max_tokens\":3").json();
  EXPECT_EQ(text_at(cut, {"choices", "text"}), "FGH");
}

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
  EXPECT_EQ(post("/v1/load_lora_adapter", "{}").status, 501);
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
  EXPECT_EQ(status_with("sk-boss", "POST", "/v1/load_lora_adapter"), 501);
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
