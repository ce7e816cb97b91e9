// libFuzzer: the bytes of a connection, through the HTTP parser, the routes, the JSON fields and
// the prompt encoder, up to the backend's call and back to an answer. The backend is the tests'
// fake. The first byte says how the rest is cut into reads.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include "base/check.h"
#include "server/fake_backend.h"
#include "server/generation_job.h"
#include "server/http_parser.h"
#include "server/json_fields.h"
#include "server/service.h"

namespace ruvllm::server {
namespace {

struct World {
  test::FakeBackend backend;
  std::unique_ptr<Service> service;
  std::unique_ptr<ServerMetrics> metrics;
  std::shared_ptr<JobContext> context;

  World() {
    backend.behaviour.max_seq_len = 64;
    ServiceOptions options;
    options.access_log = false;
    service = *Service::make(options, backend);
    RUVLLM_CHECK(service->open().has_value());
    metrics = std::make_unique<ServerMetrics>("fake", 64);
    context = std::make_shared<JobContext>();
    context->backend = &backend;
    context->tokenizer = *backend.tokenizer();
    context->metrics = metrics.get();
    context->facts.names = {"fake"};
    context->facts.max_seq_len = 64;
    context->facts.vocab_size = 256;
    context->facts.features = backend.features();
  }
};

// What Service::generate does, on this thread.
void generate(World& world, const std::shared_ptr<Exchange>& exchange, GenerationRequest request,
              std::vector<EncodedPrompt> prompts) {
  const bool is_stream = request.stream;
  const auto job = std::make_shared<GenerationJob>(exchange, std::move(request), std::move(prompts),
                                                   world.context, nullptr);
  if (!job->start([] {})) return;
  while (job->pump() != GenerationJob::Progress::kOver) {
    const Exchange::Output output = exchange->take_output();
    exchange->sent(output.bytes.size());
  }
  RUVLLM_CHECK(exchange->ended());
  RUVLLM_CHECK(!is_stream || exchange->status() == 200);
  RUVLLM_CHECK(world.backend.num_streams.load() == 0);
}

void handle(World& world, HttpRequest request) {
  if (world.service->on_head(request)) return;
  const std::string path = request.path;
  const auto exchange = std::make_shared<Exchange>(std::move(request), true, [] {});
  exchange->request_id = "id";
  const ModelFacts& facts = world.context->facts;
  const Api<Json> body = parse_body(exchange->request.body);
  if (!body) return;
  static_cast<void>(read_prompts(*body, "input", facts));
  if (path.starts_with("/v1/completions")) {
    Api<CompletionRequest> read = read_completion(*body, facts);
    if (!read) return;
    auto prompts = encode_prompts(*read, world.backend, facts);
    if (prompts) generate(world, exchange, std::move(*read), *std::move(prompts));
  } else if (path.starts_with("/v1/chat")) {
    Api<ChatRequest> read = read_chat(*body, facts);
    if (!read) return;
    auto prompt = encode_chat(*read, world.backend, facts);
    if (!prompt) return;
    std::vector<EncodedPrompt> prompts;
    prompts.push_back(*std::move(prompt));
    generate(world, exchange, std::move(*read), std::move(prompts));
  }
}

void run(std::string_view bytes, size_t step) {
  static World world;
  RequestParser parser{HttpLimits()};
  std::string input(bytes);
  for (int requests = 0; requests < 8 && !input.empty() && !parser.failed();) {
    const size_t size = std::min(step, input.size());
    const size_t used = parser.feed(std::string_view(input).substr(0, size));
    RUVLLM_CHECK(used <= size);
    input.erase(0, used);
    if (parser.complete()) {
      handle(world, parser.take_request());
      ++requests;
    } else if (used == 0 && !parser.failed()) {
      RUVLLM_CHECK(parser.head_complete());
    }
  }
}

}  // namespace
}  // namespace ruvllm::server

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t step = data[0] % 4 == 0 ? 1 : data[0] % 4 == 1 ? 7 : 100000;
  ruvllm::server::run({reinterpret_cast<const char*>(data) + 1, size - 1}, step);
  return 0;
}
