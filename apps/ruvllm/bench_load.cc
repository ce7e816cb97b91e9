// ruvllm bench: loads of many sessions on the serving backend: prompts that begin alike, a long
// prompt beside decodes, mixed requests in a small pool, a trace from a file.
#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/str.h"
#include "io.h"
#include "session_bench.h"

namespace ruvllm::cli {
namespace {

// [{"prompt": [ids], "max_tokens": N}, ...]: bodies of requests, as they go to a server.
Result<std::vector<TraceRequest>> read_trace(const std::string& path) {
  RUVLLM_ASSIGN(const std::string text, read_input(path));
  const Result<Json> json = Json::parse(text);
  if (!json) return fail(ErrorCode::kInvalidArgument, concat(path, ": ", json.error().message));
  const auto wrong = [&](size_t i, const char* expected) {
    return fail(ErrorCode::kInvalidArgument,
                concat(path, ": request ", i, ": expected ", expected));
  };
  if (!json->is_array() || json->as_array()->empty()) {
    return fail(ErrorCode::kInvalidArgument,
                concat(path, ": found ", json->type_name(), ", expected an array of requests"));
  }
  std::vector<TraceRequest> requests;
  for (const Json& item : *json->as_array()) {
    const size_t i = requests.size();
    TraceRequest& request = requests.emplace_back();
    const Json* prompt = item.find("prompt");
    const Json* tokens = item.find("max_tokens");
    if (prompt == nullptr || !prompt->is_array()) return wrong(i, "prompt, an array of token ids");
    Result<std::vector<int32_t>> ids = ids_from_json(*prompt);
    if (!ids) return fail(ErrorCode::kInvalidArgument, concat(path, ": ", ids.error().message));
    request.prompt = *std::move(ids);
    request.tokens = tokens == nullptr ? 0 : tokens->as_int64().value_or(0);
    if (request.tokens < 1 || request.tokens > INT32_MAX)
      return wrong(i, "max_tokens of 1 or more");
  }
  return requests;
}

}  // namespace

// --- Sessions that begin alike ---

Status SessionBench::run_shared_prefix(int64_t batch) {
  constexpr int64_t kOwn = 16;
  const int64_t prefix = flags_.shared_prefix;
  for (const int64_t tokens : flags_.tg) {
    if (tokens == 0) continue;
    RUVLLM_ASSIGN(OpenBackend bench,
                  open(BackendKind::kServing, config_for(batch, kOwn + tokens, prefix), true));
    const ModelRunner& runner = *bench.runner;
    const int32_t vocab = bench.info.vocab_size;
    RUVLLM_TRY(run_sessions(*bench.backend, *bench.runner,
                            make_prompts(batch, 0, kOwn, vocab, ++series_), 8));
    std::vector<double> shared, unshared, prefix_alone, steps;
    int64_t most_pages_used = 0;  // since it was last set to 0
    int64_t shared_pages = 0;     // the most while the sessions had the prefix in common
    bench.runner->set_watch([&] {
      most_pages_used = std::max(most_pages_used, bench.backend->stats()->kv_pages_used);
    });
    for (int32_t rep = 0; rep < flags_.reps; ++rep) {
      bench.runner->take_steps();
      most_pages_used = 0;
      RUVLLM_ASSIGN(const SessionRun with,
                    run_sessions(*bench.backend, *bench.runner,
                                 make_prompts(batch, prefix, kOwn, vocab, ++series_), tokens));
      shared_pages = std::max(shared_pages, most_pages_used);
      steps.push_back(decode_steps(bench.runner->take_steps(), batch).seconds);
      RUVLLM_ASSIGN(const SessionRun without,
                    run_sessions(*bench.backend, *bench.runner,
                                 make_prompts(batch, 0, kOwn, vocab, ++series_), tokens));
      RUVLLM_ASSIGN(const SessionRun prompt,
                    run_sessions(*bench.backend, *bench.runner,
                                 make_prompts(1, 0, prefix, vocab, ++series_), 1));
      shared.push_back(with.seconds);
      unshared.push_back(without.seconds);
      prefix_alone.push_back(prompt.seconds);
    }
    bench.runner->set_watch({});
    const MeanAndDeviation seconds = mean_and_deviation(shared);
    const double parts = mean_and_deviation(unshared).mean + mean_and_deviation(prefix_alone).mean;
    const auto sessions = static_cast<double>(batch);
    const double kv = static_cast<double>(prefix) +
                      sessions * (static_cast<double>(kOwn) + static_cast<double>(tokens) / 2.0);
    const int64_t rows = prefix + batch * kOwn;
    const Roofs roofs = best_roofs(runner);
    const double floor =
        floor_seconds(runner, rows, batch, static_cast<double>(rows), roofs) +
        static_cast<double>(tokens - 1) * floor_seconds(runner, batch, batch, kv, roofs);
    const MeanAndDeviation rate = {sessions * static_cast<double>(tokens) / seconds.mean, 0.0};
    // Were the prefix stored by each, so many more pages would be in use.
    const int64_t page = runner.kv_block_tokens();
    const int64_t own = prefix % page + kOwn + tokens;  // of a session's last pages
    const int64_t once = prefix / page + batch * ((own + page - 1) / page);
    add_row(concat("shared", prefix), bench, batch, prefix, rate,
            {{"seconds", Json(seconds.mean)},
             {"floor_seconds", Json(floor)},
             {"seconds_to_floor", Json(seconds.mean / floor)},
             {"unshared_and_prefill_seconds", Json(parts)},
             {"step_seconds", Json(mean_and_deviation(steps).mean)},
             {"kv_pages", Json(shared_pages)},
             {"kv_pages_stored_once", Json(once)}},
            concat(fixed(seconds.mean, 2), " s, floor ", fixed(floor, 2), " (",
                   fixed(seconds.mean / floor, 2), "x); without it + one prefill ", fixed(parts, 2),
                   " s (", fixed(seconds.mean / parts, 2), "x); ", shared_pages,
                   " pages (stored once: at most ", once, ")"));
  }
  return {};
}

// --- A long prompt beside decodes ---

Status SessionBench::run_beside(int64_t batch) {
  constexpr int64_t kPrompt = 128;
  const int64_t length = flags_.long_prefill;
  RUVLLM_ASSIGN(OpenBackend bench,
                open(BackendKind::kServing, config_for(batch, kPrompt + 1024, 2 * length), true));
  const int32_t vocab = bench.info.vocab_size;
  const auto measure = [&] {
    const TokenIds longs[2] = {make_prompts(1, 0, length, vocab, ++series_).front(),
                               make_prompts(1, 0, length, vocab, ++series_).front()};
    return run_long_prefill(*bench.backend, *bench.runner,
                            make_prompts(batch, 0, kPrompt, vocab, ++series_),
                            bench.info.max_seq_len - kPrompt, longs);
  };
  // Where other programs hold this one up, short decodes may end too early.
  Result<LongPrefillRun> measured = measure();
  for (int retry = 0; retry < 4 && !measured; ++retry) {
    if (measured.error().code != ErrorCode::kUnavailable) break;
    measured = measure();
  }
  RUVLLM_ASSIGN(const LongPrefillRun run, std::move(measured));
  const double speed = run.alone_seconds / run.beside_seconds;
  const double stretch = run.beside_p99 / run.quiet_p50;
  add_row(
      concat("beside", length), bench, batch, kPrompt,
      {static_cast<double>(length) / run.beside_seconds, 0.0},
      {{"alone_seconds", Json(run.alone_seconds)},
       {"beside_seconds", Json(run.beside_seconds)},
       {"prefill_share", Json(speed)},
       {"decode_p50_seconds", Json(run.quiet_p50)},
       {"decode_p99_seconds", Json(run.quiet_p99)},
       {"beside_p50_seconds", Json(run.beside_p50)},
       {"beside_p99_seconds", Json(run.beside_p99)},
       {"p99_to_decode_step", Json(stretch)}},
      concat("prefill at ", fixed(100.0 * speed, 0), " % of its speed alone; between tokens p50 ",
             fixed(run.beside_p50 * 1e3, 0), " ms, p99 ", fixed(run.beside_p99 * 1e3, 0), " ms (",
             fixed(stretch, 2), "x of ", fixed(run.quiet_p50 * 1e3, 0), " ms)"));
  return {};
}

// --- Memory ---

Status SessionBench::use_pool(int32_t block_size, uint64_t bytes,
                              const std::vector<TraceRequest>& requests) {
  ServingConfig config = flags_.model.serving;
  config.paged_attention.block_size = block_size;
  config.paged_attention.enable_prefix_caching = false;  // every place counts for one session
  config.kv_cache_memory_bytes = bytes;
  config.max_concurrent_requests = static_cast<int32_t>(requests.size());
  PoolWatch watch;
  RUVLLM_ASSIGN(OpenBackend bench, open(BackendKind::kServing, config, false));
  bench.runner->skip_below(SpeedRunner::kEverything);  // it is about memory
  bench.runner->set_watch([&] { watch.sample(*bench.backend->stats()); });
  const auto count = static_cast<int64_t>(requests.size());
  RUVLLM_ASSIGN(const TraceRun run, run_trace(*bench.backend, requests, count));
  bench.runner->set_watch({});
  const PoolUse use = watch.use();
  const std::string text =
      concat("sessions at a time ", use.most_sessions, " (mean ", fixed(use.mean_sessions, 1),
             "), ", run.completed, " of ", count, " completed in ", use.steps, " steps, ",
             use.preemptions, " preemptions; used pages hold ", fixed(100.0 * use.utilization, 1),
             " % tokens, the pool ", fixed(100.0 * use.pool_share, 1), " %");
  add_row(concat("pool", block_size), bench, count, 0, {},
          {{"pool_bytes", Json(bytes)},
           {"requests", Json(count)},
           {"most_sessions", Json(use.most_sessions)},
           {"mean_sessions", Json(use.mean_sessions)},
           {"completed", Json(run.completed)},
           {"steps", Json(use.steps)},
           {"preemptions", Json(use.preemptions)},
           {"utilization", Json(use.utilization)},
           {"pool_share", Json(use.pool_share)}},
          text);
  return {};
}

// Pages beside one contiguous region of the longest sequence per request, which is what pages of
// that many tokens are.
Status SessionBench::run_pool() {
  constexpr int32_t kRegion = 2048;
  const uint64_t given = flags_.model.serving.kv_cache_memory_bytes;
  const uint64_t bytes = given > 0 ? given : uint64_t{1} << 30;
  int32_t vocab = 0;
  {
    RUVLLM_ASSIGN(const OpenBackend probe, open(BackendKind::kServing, config_for(1, 16, 0), true));
    vocab = probe.info.vocab_size;
  }
  const auto requests = make_mixed_requests(flags_.mixed, vocab);
  RUVLLM_TRY(use_pool(flags_.model.serving.paged_attention.block_size, bytes, requests));
  RUVLLM_TRY(use_pool(kRegion, bytes, requests));
  return {};
}

// --- A trace ---

Status SessionBench::run_trace_file(int64_t batch) {
  int64_t longest = 1;
  RUVLLM_ASSIGN(const std::vector<TraceRequest> requests, read_trace(flags_.trace));
  for (const TraceRequest& request : requests) {
    longest = std::max(longest, static_cast<int64_t>(request.prompt.size()) + request.tokens);
  }
  RUVLLM_ASSIGN(OpenBackend bench,
                open(BackendKind::kServing, config_for(batch, longest, 0), true));
  RUVLLM_TRY(run_sessions(*bench.backend, *bench.runner,
                          make_prompts(1, 0, 16, bench.info.vocab_size, ++series_),
                          8));  // warm-up
  RUVLLM_ASSIGN(const TraceRun run, run_trace(*bench.backend, requests, batch));
  const double rate = static_cast<double>(run.output_tokens) / run.seconds;
  add_row("trace", bench, batch, 0, {rate, 0.0},
          {{"requests", Json(static_cast<int64_t>(requests.size()))},
           {"completed", Json(run.completed)},
           {"seconds", Json(run.seconds)},
           {"cpu_seconds", Json(run.cpu_seconds)},
           {"prompt_tokens", Json(run.prompt_tokens)},
           {"output_tokens", Json(run.output_tokens)},
           {"first_token_p50_seconds", Json(run.first_token_p50)},
           {"first_token_p99_seconds", Json(run.first_token_p99)},
           {"token_p50_seconds", Json(run.token_p50)},
           {"token_p99_seconds", Json(run.token_p99)}},
          concat(run.completed, " of ", requests.size(), " completed in ", fixed(run.seconds, 2),
                 " s (", fixed(run.cpu_seconds, 2), " s of processors); first token p50 ",
                 fixed(run.first_token_p50, 3), " s, p99 ", fixed(run.first_token_p99, 3),
                 " s; between tokens p50 ", fixed(run.token_p50 * 1e3, 1), " ms, p99 ",
                 fixed(run.token_p99 * 1e3, 1), " ms"));
  return {};
}

}  // namespace ruvllm::cli
