// Tests only: a service on a fake backend, driven without a network.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "base/json.h"
#include "server/fake_backend.h"
#include "server/service.h"

namespace ruvllm::server {

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

}  // namespace ruvllm::server
