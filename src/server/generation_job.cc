#include "server/generation_job.h"

#include <algorithm>
#include <utility>

#include "base/json.h"
#include "base/str.h"

namespace ruvllm::server {
namespace {

constexpr int kEventsPerTurn = 64;               // of one choice, so that others get their turn
constexpr std::chrono::seconds kSignOfLife{10};  // between comments in a silent stream

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

double seconds_between(GenerationJob::Clock::time_point a, GenerationJob::Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

}  // namespace

std::string answer_id(const Exchange& exchange, const GenerationRequest& request) {
  const std::string& id = request.request_id.empty() ? exchange.request_id : request.request_id;
  return concat(request.is_chat ? "chatcmpl-" : "cmpl-", id);
}

GenerationJob::GenerationJob(std::shared_ptr<Exchange> exchange, GenerationRequest request,
                             std::vector<EncodedPrompt> prompts,
                             std::shared_ptr<const JobContext> context, std::shared_ptr<void> slot)
    : exchange_(std::move(exchange)),
      request_(std::move(request)),
      prompts_(std::move(prompts)),
      context_(std::move(context)),
      slot_(std::move(slot)),
      writer_(request_, *context_->tokenizer, answer_id(*exchange_, request_),
              request_.adapter.empty() ? context_->facts.names.front() : request_.adapter,
              unix_seconds()),
      cached_tokens_(prompts_.size()),
      last_write_(Clock::now()) {
  for (size_t i = 0; i < prompts_.size(); ++i) {
    for (int32_t k = 0; k < request_.n; ++k) {
      Choice choice;
      choice.index = static_cast<int32_t>(i) * request_.n + k;
      choice.prompt = i;
      choices_.push_back(std::move(choice));
    }
  }
}

GenerationJob::~GenerationJob() {
  end_all(ServerMetrics::Finish::kAbort);
}

RequestOptions GenerationJob::engine_options() const {
  RequestOptions options;
  options.request_id = exchange_->request_id;
  if (const std::string* trace = exchange_->request.header("traceparent")) {
    options.trace_parent = *trace;
  }
  options.priority = request_.priority;
  options.adapter = request_.adapter;
  if (context_->facts.features.cache_salt) {
    // Per key and per request: neither can reach the other's pages.
    options.cache_salt = exchange_->cache_salt;
    if (!request_.cache_salt.empty()) {
      options.cache_salt += concat("/", request_.cache_salt);
    }
  }
  if (context_->facts.features.deadlines) {
    options.queue_timeout = context_->queue_timeout;
    options.total_timeout = context_->total_timeout;
  }
  return options;
}

Api<void> GenerationJob::start_prompt(size_t prompt) {
  auto streams = context_->backend->generate_answers(Prompt(prompts_[prompt].ids), request_.params,
                                                     request_.n, engine_options());
  if (!streams) return std::unexpected(from_engine(streams.error()));
  for (size_t k = 0; k < streams->size(); ++k) {
    Choice& choice = choices_[prompt * static_cast<size_t>(request_.n) + k];
    choice.stream = std::move((*streams)[k]);
    choice.is_running = true;
    context_->metrics->sequence_began(request_.adapter);
    if (!choice.stream->set_notify(notify_)) needs_polling_ = true;
  }
  return {};
}

Api<void> GenerationJob::start(std::function<void()> notify) {
  notify_ = std::move(notify);
  exchange_->on_change(notify_);
  for (size_t prompt = 0; prompt < prompts_.size(); ++prompt) {
    if (Api<void> started = start_prompt(prompt); !started) {
      end_all(ServerMetrics::Finish::kError);
      over_ = true;
      return started;
    }
  }
  return {};
}

GenerationJob::Progress GenerationJob::pump() {
  if (over_) return Progress::kOver;
  if (exchange_->closed()) {
    end_all(ServerMetrics::Finish::kAbort);
    over_ = true;
    return Progress::kOver;
  }
  bool has_more = false;
  for (Choice& choice : choices_) {
    if (!choice.is_running || choice.is_done) continue;
    int events = 0;
    // A client that does not read holds its own generation up, not this server's memory.
    while (!over_ && !choice.is_done &&
           exchange_->backlog_bytes() + out_.size() <= kBacklogHighBytes) {
      if (++events > kEventsPerTurn) {
        has_more = true;
        break;
      }
      std::optional<StreamEvent> event = choice.stream->try_next();
      if (!event) break;
      on_event(choice, *event);
    }
    if (over_) return Progress::kOver;
  }
  if (!out_.empty()) {
    exchange_->write(out_);
    out_.clear();
    last_write_ = Clock::now();
  }
  const bool all_done = std::all_of(choices_.begin(), choices_.end(),
                                    [](const Choice& choice) { return choice.is_done; });
  if (all_done) {
    finish();
    return Progress::kOver;
  }
  return has_more ? Progress::kMore : Progress::kWaiting;
}

void GenerationJob::on_event(Choice& choice, StreamEvent& event) {
  if (auto* token = std::get_if<Token>(&event)) return on_token(choice, *token);
  if (auto* done = std::get_if<Done>(&event)) return on_done(choice, std::move(done->result));
  ApiError error = from_engine(std::get<Error>(event));
  if (error.status == 429) error = ApiError{503, error.message, "", "", 1};  // it had begun
  fail(error);
}

void GenerationJob::on_token(Choice& choice, const Token& token) {
  const Clock::time_point now = Clock::now();
  any_token_ = true;
  if (choice.num_tokens++ == 0) {
    context_->metrics->first_token(seconds_between(exchange_->began, now));
  } else {
    context_->metrics->token_gap(seconds_between(choice.last_token, now));
  }
  context_->metrics->generated(1);
  choice.last_token = now;
  if (request_.stream) write_chunk(choice, token.text, &token);
}

void GenerationJob::on_done(Choice& choice, GenerateResult&& result) {
  if (result.finish_reason == FinishReason::kDeadline) {
    return fail({504, "the request's time limit passed", "", "deadline_exceeded", 0});
  }
  if (result.finish_reason == FinishReason::kCancelled) {
    return fail({503, "the server ended this request", "", "cancelled", 1});
  }
  if (result.finish_reason == FinishReason::kError) {
    return fail({500, "the engine could not finish this request", "", "", 0});
  }
  const bool is_stop = result.finish_reason == FinishReason::kStop;
  context_->metrics->sequence_ended(
      request_.adapter, is_stop ? ServerMetrics::Finish::kStop : ServerMetrics::Finish::kLength);
  SequenceRecord record;
  record.queue_seconds = result.timings.queue_seconds;
  record.prefill_seconds = result.timings.prefill_seconds;
  record.decode_seconds = result.timings.decode_seconds;
  record.total_seconds = seconds_between(exchange_->began, Clock::now());
  record.prompt_tokens = result.prompt_tokens;
  record.cached_tokens = result.cached_prompt_tokens;
  record.generated_tokens = result.completion_tokens;
  record.prefill_tokens = result.timings.prefill_tokens;
  record.max_tokens = request_.params.max_tokens;
  record.n = request_.n;
  context_->metrics->record(record);
  if (choice.index % request_.n == 0) {
    cached_tokens_[choice.prompt] = result.cached_prompt_tokens;
  }
  choice.num_tokens = result.completion_tokens;
  choice.result = std::move(result);
  choice.is_done = true;
  choice.is_running = false;
  choice.stream.reset();
  if (request_.stream) write_last_chunk(choice);
}

Usage GenerationJob::usage() const {
  Usage usage;
  for (const EncodedPrompt& prompt : prompts_) {
    usage.prompt_tokens += static_cast<int64_t>(prompt.ids.size());
  }
  for (const Choice& choice : choices_) usage.completion_tokens += choice.num_tokens;
  for (const int64_t cached : cached_tokens_) usage.cached_tokens += cached;
  return usage;
}

void GenerationJob::end_all(ServerMetrics::Finish reason) {
  for (Choice& choice : choices_) {
    if (!choice.is_running) continue;
    choice.is_running = false;
    choice.is_done = true;
    context_->metrics->sequence_ended(request_.adapter, reason);
  }
  // Cancel all before any is waited for.
  for (Choice& choice : choices_) {
    if (choice.stream != nullptr) choice.stream->cancel();
  }
  for (Choice& choice : choices_) choice.stream.reset();
}

void GenerationJob::fail(const ApiError& error) {
  if (over_) return;
  over_ = true;
  end_all(ServerMetrics::Finish::kError);
  if (exchange_->started()) {
    out_ += concat("data: ", error_json(error), "\n\ndata: [DONE]\n\n");
    exchange_->write(out_);
    exchange_->finish();
  } else {
    exchange_->respond(error_response(error));
  }
  slot_.reset();
}

void GenerationJob::abort(const ApiError& error) {
  fail(error);
}

bool GenerationJob::check_time(Clock::time_point now) {
  if (over_) return true;
  const auto age = now - exchange_->began;
  if (!context_->facts.features.deadlines) {
    const bool queue_over =
        context_->queue_timeout.count() > 0 && !any_token_ && age > context_->queue_timeout;
    const bool total_over = context_->total_timeout.count() > 0 && age > context_->total_timeout;
    if (queue_over || total_over) {
      fail({504, "the request's time limit passed", "", "deadline_exceeded", 0});
      return true;
    }
  }
  if (request_.stream && now - last_write_ > kSignOfLife && exchange_->backlog_bytes() == 0) {
    begin_stream();
    exchange_->write(": waiting\n\n");
    last_write_ = now;
  }
  return false;
}

void GenerationJob::finish() {
  over_ = true;
  if (!request_.stream) {
    HttpResponse response;
    response.body = whole_answer();
    exchange_->respond(response);
  } else {
    begin_stream();
    if (request_.include_usage) {
      out_ += "data: ";
      writer_.open(out_, true);
      writer_.close(out_, usage());
      out_ += "\n\n";
    }
    out_ += "data: [DONE]\n\n";
    exchange_->write(out_);
    out_.clear();
    exchange_->finish();
  }
  slot_.reset();
}

}  // namespace ruvllm::server
