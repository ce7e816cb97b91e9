#include "engine/session_speed.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <memory>
#include <utility>

#include "base/rng.h"
#include "base/str.h"

namespace ruvllm {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kPatience{5};
constexpr int64_t kQuietSteps = 24;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

GenerateParams greedy(int64_t tokens) {
  GenerateParams params = GenerateParams::greedy(static_cast<int32_t>(tokens));
  params.ignore_eos = true;
  return params;
}

// The streams of one measurement and when their tokens came.
class Sessions {
 public:
  explicit Sessions(LlmBackend& backend) : backend_(backend), begin_(Clock::now()) {}

  Status start(const TokenIds& prompt, int64_t tokens, const std::string& adapter = {}) {
    RequestOptions options;
    options.adapter = adapter;
    RUVLLM_ASSIGN(std::unique_ptr<TokenStream> stream,
                  backend_.generate_stream(prompt, greedy(tokens), options));
    sessions_.push_back({std::move(stream), elapsed(), {}, false});
    ++num_open_;
    return {};
  }

  // All, before the model computes more than a step of the first. Session i with adapters[i %
  // size].
  Status start_together(SpeedRunner& runner, std::span<const TokenIds> prompts, int64_t tokens,
                        std::span<const std::string> adapters) {
    const SpeedRunner::Hold hold(runner);
    for (size_t i = 0; i < prompts.size(); ++i) {
      RUVLLM_TRY(start(prompts[i], tokens,
                       adapters.empty() ? std::string() : adapters[i % adapters.size()]));
    }
    return {};
  }

  // Waits a little for an event of the first session that is open, then takes what the others have:
  // they may be the ones that advance.
  Status listen() {
    bool waits = true;
    for (Session& session : sessions_) {
      if (session.ended) continue;
      std::optional<StreamEvent> event =
          waits ? session.stream->recv_timeout(kPatience) : session.stream->try_next();
      waits = false;
      while (event) {
        RUVLLM_TRY(take(session, *event));
        if (session.ended) break;
        event = session.stream->try_next();
      }
    }
    return {};
  }

  bool all_have_begun() const {
    return std::ranges::none_of(sessions_, [](const Session& s) { return s.times.empty(); });
  }
  bool all_have_ended() const { return num_open_ == 0; }
  bool has_ended(size_t i) const { return sessions_[i].ended; }
  size_t size() const { return sessions_.size(); }
  int64_t num_open() const { return static_cast<int64_t>(num_open_); }
  double started(size_t i) const { return sessions_[i].started; }
  double elapsed() const { return seconds_since(begin_); }
  const std::vector<double>& times(size_t i) const { return sessions_[i].times; }
  const std::optional<GenerateResult>& result(size_t i) const { return sessions_[i].result; }

 private:
  struct Session {
    std::unique_ptr<TokenStream> stream;
    double started = 0.0;
    std::vector<double> times;  // of its tokens, since the beginning
    bool ended = false;
    std::optional<GenerateResult> result = std::nullopt;
  };

  Status take(Session& session, StreamEvent& event) {
    if (auto* error = std::get_if<Error>(&event)) return std::unexpected(std::move(*error));
    if (std::holds_alternative<Token>(event)) {
      session.times.push_back(elapsed());
      return {};
    }
    session.result = std::move(std::get<Done>(event).result);
    session.ended = true;
    --num_open_;
    return {};
  }

  LlmBackend& backend_;
  Clock::time_point begin_;
  std::vector<Session> sessions_;
  size_t num_open_ = 0;
};

// The value that `share` of them do not exceed.
double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0.0;
  std::ranges::sort(values);
  const double place = share * static_cast<double>(values.size() - 1);
  return values[static_cast<size_t>(place + 0.5)];
}

// Times from one step to the next, for the steps that `wanted` picks.
template <typename Wanted>
std::vector<double> intervals(std::span<const SpeedRunner::Step> steps, const Wanted& wanted) {
  std::vector<double> times;
  for (size_t i = 0; i + 1 < steps.size(); ++i) {
    if (wanted(steps[i])) times.push_back(steps[i + 1].begin - steps[i].begin);
  }
  return times;
}

}  // namespace

std::vector<TokenIds> make_prompts(int64_t count, int64_t prefix, int64_t length,
                                   int32_t vocab_size, int64_t series) {
  const auto vocab = static_cast<uint64_t>(vocab_size);
  const auto stream = static_cast<uint64_t>(series) << 32;
  std::vector<TokenIds> prompts(static_cast<size_t>(count));
  for (size_t i = 0; i < prompts.size(); ++i) {
    TokenIds& ids = prompts[i];
    for (int64_t t = 0; t < prefix; ++t) {
      ids.push_back(static_cast<int32_t>(random_bits(stream, 0, static_cast<uint64_t>(t)) % vocab));
    }
    for (int64_t t = 0; t < length; ++t) {
      ids.push_back(
          static_cast<int32_t>(random_bits(stream, i + 1, static_cast<uint64_t>(t)) % vocab));
    }
    // No two begin their own part alike.
    if (length > 0) ids[static_cast<size_t>(prefix)] = static_cast<int32_t>(i % vocab);
  }
  return prompts;
}

Result<SessionRun> run_sessions(LlmBackend& backend, SpeedRunner& runner,
                                std::span<const TokenIds> prompts, int64_t tokens) {
  Sessions sessions(backend);
  RUVLLM_TRY(sessions.start_together(runner, prompts, tokens, {}));
  while (!sessions.all_have_ended()) RUVLLM_TRY(sessions.listen());
  SessionRun run;
  run.seconds = sessions.elapsed();
  std::vector<double> first;
  for (size_t i = 0; i < sessions.size(); ++i) {
    if (!sessions.times(i).empty()) first.push_back(sessions.times(i).front());
    run.preemptions += static_cast<uint64_t>(sessions.result(i)->preemptions);
  }
  run.first_token_seconds = quantile(std::move(first), 0.5);
  return run;
}

Result<double> decode_rate(LlmBackend& backend, SpeedRunner& runner,
                           std::span<const TokenIds> prompts, int64_t tokens,
                           std::span<const std::string> adapters) {
  Sessions sessions(backend);
  runner.take_steps();
  RUVLLM_TRY(sessions.start_together(runner, prompts, tokens, adapters));
  while (!sessions.all_have_ended()) RUVLLM_TRY(sessions.listen());
  const auto all_decode = [&](const SpeedRunner::Step& step) {
    return step.only_decodes() && step.sequences >= static_cast<int64_t>(prompts.size());
  };
  if (std::ranges::none_of(runner.take_steps(), all_decode)) {
    return fail(ErrorCode::kInvalidArgument, concat("the sessions never decoded all at a time; ",
                                                    tokens, " tokens are too few"));
  }
  double begin = 0.0;
  double end = 1e300;
  for (size_t i = 0; i < sessions.size(); ++i) {
    if (sessions.times(i).size() < 2) return fail(ErrorCode::kInvalidArgument, "too few tokens");
    begin = std::max(begin, sessions.times(i).front());
    end = std::min(end, sessions.times(i).back());
  }
  int64_t count = 0;
  for (size_t i = 0; i < sessions.size(); ++i) {
    for (const double time : sessions.times(i)) count += time > begin && time <= end ? 1 : 0;
  }
  if (end > begin && count > 0) return static_cast<double>(count) / (end - begin);
  // This thread read some streams only when others had ended: what the engine says of each.
  double rate = 0.0;
  for (size_t i = 0; i < sessions.size(); ++i) {
    const Timings& timings = sessions.result(i)->timings;
    if (timings.decode_tokens <= 0 || timings.decode_seconds <= 0.0) {
      return fail(ErrorCode::kInvalidArgument, "too few tokens");
    }
    rate += static_cast<double>(timings.decode_tokens) / timings.decode_seconds;
  }
  return rate;
}

DecodeSteps decode_steps(std::span<const SpeedRunner::Step> steps, int64_t rows) {
  DecodeSteps sum;
  for (size_t i = 0; i + 1 < steps.size(); ++i) {
    const auto counts = [&](const SpeedRunner::Step& step) {
      return step.only_decodes() && step.rows == rows;
    };
    if (!counts(steps[i]) || !counts(steps[i + 1])) continue;
    ++sum.count;
    sum.seconds += steps[i + 1].begin - steps[i].begin;
    sum.model_seconds += steps[i].model_seconds;
    sum.schedule_seconds += steps[i + 1].scheduled - steps[i].scheduled;
  }
  if (sum.count == 0) return sum;
  sum.seconds /= static_cast<double>(sum.count);
  sum.model_seconds /= static_cast<double>(sum.count);
  sum.schedule_seconds /= static_cast<double>(sum.count);
  return sum;
}

Result<LongPrefillRun> run_long_prefill(LlmBackend& backend, SpeedRunner& runner,
                                        std::span<const TokenIds> decodes, int64_t tokens,
                                        const TokenIds (&longs)[2]) {
  LongPrefillRun run;
  RUVLLM_ASSIGN(const GenerateResult alone, backend.generate_detailed(longs[0], greedy(1)));
  run.alone_seconds = alone.timings.prefill_seconds;
  Sessions sessions(backend);
  for (const TokenIds& prompt : decodes) RUVLLM_TRY(sessions.start(prompt, tokens));
  const auto all_decode = [&](const SpeedRunner::Step& step) {
    return step.only_decodes() && step.rows == static_cast<int64_t>(decodes.size());
  };
  const auto is_mixed = [](const SpeedRunner::Step& step) { return step.rows > step.sequences; };
  while (!sessions.all_have_begun()) RUVLLM_TRY(sessions.listen());
  runner.take_steps();
  std::vector<SpeedRunner::Step> steps;
  while (std::ranges::count_if(steps, all_decode) < kQuietSteps) {
    RUVLLM_TRY(sessions.listen());
    const auto more = runner.take_steps();
    steps.insert(steps.end(), more.begin(), more.end());
    if (sessions.all_have_ended()) break;
  }
  const std::vector<double> quiet = intervals(steps, all_decode);
  run.quiet_p50 = quantile(quiet, 0.5);
  run.quiet_p99 = quantile(quiet, 0.99);
  RUVLLM_TRY(sessions.start(longs[1], 1));
  while (!sessions.has_ended(decodes.size())) RUVLLM_TRY(sessions.listen());
  const std::vector<SpeedRunner::Step> with_long = runner.take_steps();
  const auto without_decodes = [&](const SpeedRunner::Step& step) {
    return is_mixed(step) && step.sequences <= static_cast<int64_t>(decodes.size());
  };
  if (std::ranges::any_of(with_long, without_decodes)) {
    return fail(ErrorCode::kUnavailable,
                "the decodes ended before the long prompt was computed: raise --max-seq-len");
  }
  run.beside_seconds = sessions.result(decodes.size())->timings.prefill_seconds;
  const std::vector<double> beside = intervals(with_long, is_mixed);
  run.beside_p50 = quantile(beside, 0.5);
  run.beside_p99 = quantile(beside, 0.99);
  return run;
}

std::vector<TraceRequest> make_mixed_requests(int64_t count, int32_t vocab_size) {
  std::vector<TraceRequest> requests(static_cast<size_t>(count));
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto length = static_cast<int64_t>(32 + random_bits(11, 1, i) % 481);
    requests[i].tokens = static_cast<int64_t>(32 + random_bits(11, 2, i) % 225);
    requests[i].prompt =
        std::move(make_prompts(1, 0, length, vocab_size, static_cast<int64_t>(i) + 1000).front());
    requests[i].prompt.front() = static_cast<int32_t>(i % static_cast<size_t>(vocab_size));
  }
  return requests;
}

Result<TraceRun> run_trace(LlmBackend& backend, std::span<const TraceRequest> requests,
                           int64_t at_a_time) {
  const std::clock_t cpu_begin = std::clock();
  Sessions sessions(backend);
  while (sessions.size() < requests.size() || !sessions.all_have_ended()) {
    while (sessions.size() < requests.size() && sessions.num_open() < at_a_time) {
      const TraceRequest& request = requests[sessions.size()];
      RUVLLM_TRY(sessions.start(request.prompt, request.tokens));
    }
    RUVLLM_TRY(sessions.listen());
  }
  TraceRun run;
  run.seconds = sessions.elapsed();
  run.cpu_seconds = static_cast<double>(std::clock() - cpu_begin) / CLOCKS_PER_SEC;
  std::vector<double> first, between;
  for (size_t i = 0; i < requests.size(); ++i) {
    const std::vector<double>& times = sessions.times(i);
    run.prompt_tokens += static_cast<int64_t>(requests[i].prompt.size());
    run.output_tokens += static_cast<int64_t>(times.size());
    run.completed += sessions.result(i)->finish_reason == FinishReason::kLength ? 1 : 0;
    if (times.empty()) continue;
    first.push_back(times.front() - sessions.started(i));
    if (times.size() > 1) {
      between.push_back((times.back() - times.front()) / static_cast<double>(times.size() - 1));
    }
  }
  run.first_token_p50 = quantile(first, 0.5);
  run.first_token_p99 = quantile(std::move(first), 0.99);
  run.token_p50 = quantile(between, 0.5);
  run.token_p99 = quantile(std::move(between), 0.99);
  return run;
}

void PoolWatch::sample(const EngineStats& stats) {
  if (stats.kv_pages_used == 0 || stats.kv_pages_total == 0) return;
  const auto places = static_cast<double>(stats.kv_pages_used * stats.kv_page_tokens);
  const double held = places - static_cast<double>(stats.kv_empty_tokens);
  sums_.most_sessions = std::max(sums_.most_sessions, stats.running);
  sums_.mean_sessions += static_cast<double>(stats.running);
  sums_.utilization += held / places;
  sums_.pool_share += held / static_cast<double>(stats.kv_pages_total * stats.kv_page_tokens);
  sums_.preemptions = stats.preemptions;
  ++sums_.steps;
}

PoolUse PoolWatch::use() const {
  PoolUse use = sums_;
  if (use.steps == 0) return use;
  const auto steps = static_cast<double>(use.steps);
  use.mean_sessions /= steps;
  use.utilization /= steps;
  use.pool_share /= steps;
  return use;
}

}  // namespace ruvllm
