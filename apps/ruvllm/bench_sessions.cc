// ruvllm bench --backend serving, --compare: sessions through LlmBackend, as users have them.
#include <cmath>
#include <optional>
#include <utility>

#include "base/str.h"
#include "bench.h"
#include "engine/serving_backend.h"
#include "engine/session_speed.h"
#include "engine/speed_runner.h"
#include "io.h"
#if defined(RUVLLM_HAS_EDGE)
#include "engine/edge_backend.h"
#endif

namespace ruvllm::cli {
namespace {

using Members = std::vector<std::pair<std::string, Json>>;

struct Mean {
  double value = 0.0;
  double deviation = 0.0;
};

Mean mean_of(const std::vector<double>& values) {
  Mean mean;
  for (const double value : values) mean.value += value / static_cast<double>(values.size());
  double squares = 0.0;
  for (const double value : values) squares += (value - mean.value) * (value - mean.value);
  if (values.size() > 1) {
    mean.deviation = std::sqrt(squares / static_cast<double>(values.size() - 1));
  }
  return mean;
}

// One loaded backend whose runner can leave prompts out.
struct Opened {
  std::string name;  // "edge", "serving"
  SpeedRunner* runner = nullptr;
  std::unique_ptr<LlmBackend> backend;
  ModelInfo info;

  // Sessions that a step advances, of so many.
  int64_t rows_of_a_step(int64_t sessions) const {
    return backend->features().concurrent ? sessions : 1;
  }
};

struct DecodeSamples;

class SessionBench {
 public:
  SessionBench(const BenchFlags& flags, const MachineRoofs& roofs,
               std::shared_ptr<const Checkpoint> checkpoint, Json::Array& rows)
      : flags_(flags), roofs_(roofs), checkpoint_(std::move(checkpoint)), rows_(rows) {}

  Status run();

 private:
  Result<Opened> open(BackendKind kind, const ServingConfig& config, bool pace);
  ServingConfig config_for(int64_t sessions, int64_t tokens_each, int64_t shared) const;
  Status run_decode(std::vector<Opened>& benches, int64_t batch, int64_t depth, int64_t tokens);
  void add_decode_row(const Opened& bench, int64_t batch, int64_t depth, int64_t tokens,
                      const DecodeSamples& samples);
  Status run_prefill(std::vector<Opened>& benches, int64_t tokens);
  Status run_shared_prefix(int64_t batch);
  Status run_beside(int64_t batch);
  Status run_pool();
  Result<PoolUse> use_pool(int32_t block_size, uint64_t bytes,
                           const std::vector<MixedRequest>& requests);

  double floor_seconds(const ModelRunner& runner, int64_t rows, int64_t output_rows,
                       double kv_tokens) const;
  double peak_macs(const ModelRunner& runner) const;
  void add_row(std::string test, const Opened& bench, int64_t batch, int64_t depth, Mean tok_s,
               Members more, const std::string& text);

  const BenchFlags& flags_;
  const MachineRoofs& roofs_;
  std::shared_ptr<const Checkpoint> checkpoint_;  // of a shape; null: a model is named
  Json::Array& rows_;
  int64_t series_ = 0;  // of prompts; no two measurements share any
};

Result<Opened> SessionBench::open(BackendKind kind, const ServingConfig& config, bool pace) {
  Opened bench;
  bench.name = kind == BackendKind::kEdge ? "edge" : "serving";
  LoaderSettings settings;
  if (kind == BackendKind::kServing) {
    settings.max_step_rows = config.max_batched_tokens;
    settings.kv_block_tokens = config.paged_attention.block_size;
  }
  SpeedRunner*& runner = bench.runner;
  const auto loader = [&runner, settings, checkpoint = checkpoint_](
                          const std::string& model,
                          const LoadOptions& options) -> Result<ModelParts> {
    RUVLLM_ASSIGN(ModelParts parts, checkpoint != nullptr
                                        ? load_model_parts(model, checkpoint, options, settings)
                                        : load_model_parts(model, options, settings));
    auto wrapped = std::make_unique<SpeedRunner>(std::move(parts.runner));
    runner = wrapped.get();
    parts.runner = std::move(wrapped);
    return parts;
  };
  if (kind == BackendKind::kServing) {
    RUVLLM_TRY(check_serving_config(config));
    bench.backend =
        std::make_unique<ServingBackend>(config, loader, make_incremental_decoder,
                                         [pace](EnginePlan& plan) { plan.pace_prefill = pace; });
  } else {
#if defined(RUVLLM_HAS_EDGE)
    bench.backend = std::make_unique<EdgeBackend>(loader, make_incremental_decoder);
#else
    return fail(ErrorCode::kUnsupported, "--compare: the edge backend is not in this binary");
#endif
  }
  RUVLLM_TRY(bench.backend->load_model(flags_.shape.empty() ? flags_.model.model : flags_.shape,
                                       flags_.model.load));
  RUVLLM_ASSIGN(bench.info, bench.backend->model_info());
  return bench;
}

// The flags' config; where they say nothing, with room for so many sessions.
ServingConfig SessionBench::config_for(int64_t sessions, int64_t tokens_each,
                                       int64_t shared) const {
  ServingConfig config = flags_.model.serving;
  const FlagSet& given = *flags_.flags;
  const int64_t page = config.paged_attention.block_size;
  const int64_t pages = sessions * ((tokens_each + page - 1) / page + 1) + shared / page + 1;
  if (!given.given("--max-blocks") && !given.given("--serving-config")) {
    config.paged_attention.max_blocks = static_cast<int32_t>(
        std::max<int64_t>(config.paged_attention.max_blocks, pages + pages / 50));
  }
  if (!given.given("--max-num-seqs") && !given.given("--serving-config")) {
    config.max_concurrent_requests =
        static_cast<int32_t>(std::max<int64_t>(config.max_concurrent_requests, sessions + 1));
  }
  return config;
}

double SessionBench::peak_macs(const ModelRunner& runner) const {
  const ArithmeticPeak* peak = peak_of(roofs_, runner.kernels(), runner.quantization());
  return peak == nullptr ? 0.0 : peak->macs_per_second;
}

// No step of so many rows can take less: weights and KV over the read roof, or the products with
// weights over the peak of their unit.
double SessionBench::floor_seconds(const ModelRunner& runner, int64_t rows, int64_t output_rows,
                                   double kv_tokens) const {
  SpeedCase weights;
  weights.num_tokens = 0;
  weights.batch = 0;
  const double kv_bytes =
      static_cast<double>(runner.kv_block_bytes()) / runner.kv_block_tokens() * kv_tokens;
  const double bytes = decode_bytes_per_step(runner, weights) + kv_bytes;
  const double reading = bytes / roofs_.read_bytes_per_second;
  const double peak = peak_macs(runner);
  return std::max(reading, peak > 0.0 ? weight_macs(runner, rows, output_rows) / peak : 0.0);
}

void SessionBench::add_row(std::string test, const Opened& bench, int64_t batch, int64_t depth,
                           Mean tok_s, Members more, const std::string& text) {
  Members members = {{"test", Json(test)},
                     {"batch", Json(batch)},
                     {"depth", Json(depth)},
                     {"quant", Json(bench.info.quantization)},
                     {"backend", Json(bench.name)},
                     {"tok_s", Json(tok_s.value)},
                     {"tok_s_sd", Json(tok_s.deviation)},
                     {"gb_s", Json()},
                     {"kernels", Json(bench.info.kernels)},
                     {"isa", Json(bench.info.kernels)},
                     {"rss_bytes", Json(resident_bytes())}};
  for (auto& member : more) {
    if (member.first == "gb_s") {
      members[7].second = std::move(member.second);
    } else {
      members.push_back(std::move(member));
    }
  }
  rows_.push_back(object(std::move(members)));
  if (flags_.json) return;
  write_out(pad(std::move(test), 10) + pad(bench.name, 9) + pad(concat(batch), 6) +
            pad(concat(depth), 7) + pad(bench.info.quantization, 8) +
            pad(fixed(tok_s.value, 2), 11) + pad("+-" + fixed(tok_s.deviation, 2), 9) + "  " +
            text + "\n");
}

// --- Decoding ---

struct DecodeSamples {
  std::vector<double> rates;     // tokens per second of all sessions
  std::vector<double> outside;   // of the model, share of a step
  std::vector<double> schedule;  // share of a step; none in a backend without EngineStats
};

Status SessionBench::run_decode(std::vector<Opened>& benches, int64_t batch, int64_t depth,
                                int64_t tokens) {
  const int64_t prompt = std::max<int64_t>(depth, 1);
  std::vector<DecodeSamples> samples(benches.size());
  for (int32_t rep = 0; rep <= flags_.reps; ++rep) {  // the first warms up
    for (size_t i = 0; i < benches.size(); ++i) {
      Opened& bench = benches[i];
      // While the last prompts come in, the first sessions decode already.
      const int64_t extra = batch * prompt / bench.runner->max_step_rows() + 2;
      const int64_t rows = bench.rows_of_a_step(batch);
      SessionRun run;
      DecodeSteps steps;
      // Short sessions may end before the last begins, where other programs hold this one up.
      for (int attempt = 0; attempt < 5 && steps.count == 0; ++attempt) {
        const auto prompts = make_prompts(batch, 0, prompt, bench.info.vocab_size, ++series_);
        bench.runner->skip_below(prompt);
        bench.runner->take_steps();
        RUVLLM_ASSIGN(run,
                      run_sessions(*bench.backend, prompts, rep == 0 ? extra + 4 : tokens + extra));
        bench.runner->skip_below(0);
        if (rep == 0) break;
        steps = decode_steps(bench.runner->take_steps(), rows);
      }
      if (rep == 0) continue;
      if (steps.count == 0) {
        return fail(ErrorCode::kInvalidArgument, concat("--tg ", tokens, " is too short: ", batch,
                                                        " sessions never decoded all at a time"));
      }
      samples[i].rates.push_back(static_cast<double>(rows) / steps.seconds);
      samples[i].outside.push_back(1.0 - steps.model_seconds / steps.seconds);
      if (run.schedule_seconds > 0.0) {
        samples[i].schedule.push_back(run.schedule_seconds / steps.seconds);
      }
    }
  }
  for (size_t i = 0; i < benches.size(); ++i) {
    add_decode_row(benches[i], batch, depth, tokens, samples[i]);
  }
  return {};
}

void SessionBench::add_decode_row(const Opened& bench, int64_t batch, int64_t depth, int64_t tokens,
                                  const DecodeSamples& samples) {
  const int64_t rows = bench.rows_of_a_step(batch);
  const int64_t prompt = std::max<int64_t>(depth, 1);
  const double middle = static_cast<double>(prompt) + static_cast<double>(tokens) / 2.0;
  const double floor = floor_seconds(*bench.runner, rows, rows, middle * static_cast<double>(rows));
  const Mean rate = mean_of(samples.rates);
  const double step = static_cast<double>(rows) / rate.value;
  SpeedCase speed_case;
  speed_case.num_tokens = tokens;
  speed_case.batch = rows;
  speed_case.depth = prompt;
  const double gb_s = decode_bytes_per_step(*bench.runner, speed_case) / step * 1e-9;
  const double outside = mean_of(samples.outside).value;
  std::string text = concat("step ", fixed(step * 1e3, 2), " ms, floor ", fixed(floor * 1e3, 2),
                            " (", fixed(step / floor, 2), "x), ", fixed(gb_s, 1),
                            " GB/s, beside the model ", fixed(100.0 * outside, 2), " %");
  Members more = {{"gb_s", Json(gb_s)},
                  {"step_seconds", Json(step)},
                  {"floor_seconds", Json(floor)},
                  {"step_to_floor", Json(step / floor)},
                  {"beside_model_share", Json(outside)}};
  if (!samples.schedule.empty()) {
    const double schedule = mean_of(samples.schedule).value;
    text += concat(", scheduler ", fixed(100.0 * schedule, 2), " %");
    more.emplace_back("schedule_share", Json(schedule));
  }
  add_row(concat("tg", tokens), bench, batch, depth, rate, std::move(more), text);
}

Status SessionBench::run_prefill(std::vector<Opened>& benches, int64_t tokens) {
  std::vector<std::vector<double>> rates(benches.size());
  for (int32_t rep = 0; rep < flags_.reps; ++rep) {
    for (size_t i = 0; i < benches.size(); ++i) {
      const auto prompts = make_prompts(1, 0, tokens, benches[i].info.vocab_size, ++series_);
      RUVLLM_ASSIGN(const GenerateResult result, benches[i].backend->generate_detailed(
                                                     prompts.front(), GenerateParams::greedy(1)));
      rates[i].push_back(static_cast<double>(tokens) / result.timings.prefill_seconds);
    }
  }
  for (size_t i = 0; i < benches.size(); ++i) {
    const ModelRunner& runner = *benches[i].runner;
    const int64_t steps = (tokens + runner.max_step_rows() - 1) / runner.max_step_rows();
    const Mean rate = mean_of(rates[i]);
    const double gmac_s =
        rate.value * weight_macs(runner, tokens, steps) / static_cast<double>(tokens) * 1e-9;
    const double peak = peak_macs(runner) * 1e-9;
    add_row(concat("pp", tokens), benches[i], 1, 0, rate,
            {{"gmac_s", Json(gmac_s)}, {"gmac_s_peak", peak > 0.0 ? Json(peak) : Json()}},
            share_of(gmac_s, peak, "GMAC/s"));
  }
  return {};
}

// --- Sessions that begin alike ---

Status SessionBench::run_shared_prefix(int64_t batch) {
  constexpr int64_t kOwn = 16;
  const int64_t prefix = flags_.shared_prefix;
  for (const int64_t tokens : flags_.tg) {
    if (tokens == 0) continue;
    int64_t pages = 0;
    RUVLLM_ASSIGN(Opened bench,
                  open(BackendKind::kServing, config_for(batch, kOwn + tokens, prefix), true));
    const ModelRunner& runner = *bench.runner;
    const int32_t vocab = bench.info.vocab_size;
    RUVLLM_TRY(run_sessions(*bench.backend, make_prompts(batch, 0, kOwn, vocab, ++series_), 8));
    std::vector<double> shared, bare, alone;
    bench.runner->set_watch(
        [&] { pages = std::max(pages, bench.backend->stats()->kv_pages_used); });
    std::vector<double> steps;
    for (int32_t rep = 0; rep < flags_.reps; ++rep) {
      bench.runner->take_steps();
      pages = 0;
      RUVLLM_ASSIGN(const SessionRun with,
                    run_sessions(*bench.backend,
                                 make_prompts(batch, prefix, kOwn, vocab, ++series_), tokens));
      const int64_t pages_with = pages;
      steps.push_back(decode_steps(bench.runner->take_steps(), batch).seconds);
      RUVLLM_ASSIGN(
          const SessionRun without,
          run_sessions(*bench.backend, make_prompts(batch, 0, kOwn, vocab, ++series_), tokens));
      RUVLLM_ASSIGN(const SessionRun prompt,
                    run_sessions(*bench.backend, make_prompts(1, 0, prefix, vocab, ++series_), 1));
      shared.push_back(with.seconds);
      bare.push_back(without.seconds);
      alone.push_back(prompt.seconds);
      pages = pages_with;
    }
    const Mean seconds = mean_of(shared);
    const double parts = mean_of(bare).value + mean_of(alone).value;
    const auto sessions = static_cast<double>(batch);
    const double kv = static_cast<double>(prefix) +
                      sessions * (static_cast<double>(kOwn) + static_cast<double>(tokens) / 2.0);
    const int64_t rows = prefix + batch * kOwn;
    const double floor = floor_seconds(runner, rows, batch, static_cast<double>(rows)) +
                         static_cast<double>(tokens - 1) * floor_seconds(runner, batch, batch, kv);
    const Mean rate = {sessions * static_cast<double>(tokens) / seconds.value, 0.0};
    // Were the prefix stored by each, so many more pages would be in use.
    const int64_t page = runner.kv_block_tokens();
    const int64_t once = prefix / page + batch * ((kOwn + prefix % page + page - 1) / page + 1);
    add_row(concat("shared", prefix), bench, batch, prefix, rate,
            {{"seconds", Json(seconds.value)},
             {"floor_seconds", Json(floor)},
             {"seconds_to_floor", Json(seconds.value / floor)},
             {"unshared_and_prefill_seconds", Json(parts)},
             {"step_seconds", Json(mean_of(steps).value)},
             {"kv_pages", Json(pages)},
             {"kv_pages_stored_once", Json(once)}},
            concat(fixed(seconds.value, 2), " s, floor ", fixed(floor, 2), " (",
                   fixed(seconds.value / floor, 2), "x); without it + one prefill ",
                   fixed(parts, 2), " s (", fixed(seconds.value / parts, 2), "x); ", pages,
                   " pages (stored once: at most ", once, ")"));
  }
  return {};
}

// --- A long prompt beside decodes ---

Status SessionBench::run_beside(int64_t batch) {
  constexpr int64_t kPrompt = 128;
  const int64_t length = flags_.long_prefill;
  RUVLLM_ASSIGN(Opened bench,
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

Result<PoolUse> SessionBench::use_pool(int32_t block_size, uint64_t bytes,
                                       const std::vector<MixedRequest>& requests) {
  ServingConfig config = flags_.model.serving;
  config.paged_attention.block_size = block_size;
  config.paged_attention.enable_prefix_caching = false;  // every place counts for one session
  config.kv_cache_memory_bytes = bytes;
  config.max_concurrent_requests = static_cast<int32_t>(requests.size());
  PoolWatch watch;
  RUVLLM_ASSIGN(Opened bench, open(BackendKind::kServing, config, false));
  bench.runner->skip_below(SpeedRunner::kEverything);  // it is about memory
  bench.runner->set_watch([&] { watch.sample(*bench.backend->stats()); });
  RUVLLM_ASSIGN(const int64_t finished, run_mixed(*bench.backend, requests));
  bench.runner->set_watch({});
  PoolUse use = watch.use();
  use.finished = finished;
  const std::string text =
      concat("sessions at a time ", use.most_sessions, " (mean ", fixed(use.mean_sessions, 1),
             "), ", use.finished, " of ", requests.size(), " finished in ", use.steps, " steps, ",
             use.preemptions, " preemptions; used pages hold ", fixed(100.0 * use.utilization, 1),
             " % tokens, the pool ", fixed(100.0 * use.pool_share, 1), " %");
  add_row(concat("pool", block_size), bench, static_cast<int64_t>(requests.size()), 0, {},
          {{"pool_bytes", Json(bytes)},
           {"requests", Json(static_cast<int64_t>(requests.size()))},
           {"most_sessions", Json(use.most_sessions)},
           {"mean_sessions", Json(use.mean_sessions)},
           {"finished", Json(use.finished)},
           {"steps", Json(use.steps)},
           {"preemptions", Json(use.preemptions)},
           {"utilization", Json(use.utilization)},
           {"pool_share", Json(use.pool_share)}},
          text);
  return use;
}

// Pages beside one contiguous region of the longest sequence per request, which is what pages of
// that many tokens are.
Status SessionBench::run_pool() {
  constexpr int32_t kRegion = 2048;
  const uint64_t given = flags_.model.serving.kv_cache_memory_bytes;
  const uint64_t bytes = given > 0 ? given : uint64_t{1} << 30;
  int32_t vocab = 0;
  {
    RUVLLM_ASSIGN(const Opened probe, open(BackendKind::kServing, config_for(1, 16, 0), true));
    vocab = probe.info.vocab_size;
  }
  const auto requests = make_mixed_requests(flags_.mixed, vocab);
  RUVLLM_TRY(use_pool(flags_.model.serving.paged_attention.block_size, bytes, requests));
  RUVLLM_TRY(use_pool(kRegion, bytes, requests));
  return {};
}

Status SessionBench::run() {
  std::vector<BackendKind> kinds = {BackendKind::kServing};
  if (!flags_.compare.empty()) kinds = {BackendKind::kEdge, BackendKind::kServing};
  int64_t sessions = 1;
  int64_t longest = 1;
  for (const int64_t batch : flags_.batch) sessions = std::max(sessions, batch);
  for (const int64_t depth : flags_.depth) longest = std::max(longest, depth);
  for (const int64_t tokens : flags_.tg) longest = std::max(longest, tokens);
  int64_t prefill = 0;
  for (const int64_t tokens : flags_.pp) prefill = std::max(prefill, tokens);
  {
    std::vector<Opened> benches;
    for (const BackendKind kind : kinds) {
      // Room for depth and answer, and for the steps in which the last prompts come in.
      const int64_t rows = flags_.model.serving.max_batched_tokens;
      RUVLLM_ASSIGN(
          Opened bench,
          open(kind, config_for(sessions, 2 * longest + 2 + sessions * longest / rows, prefill),
               false));
      benches.push_back(std::move(bench));
    }
    for (const int64_t tokens : flags_.pp) {
      if (tokens > 0) RUVLLM_TRY(run_prefill(benches, tokens));
    }
    for (const int64_t depth : flags_.depth) {
      for (const int64_t batch : flags_.batch) {
        for (const int64_t tokens : flags_.tg) {
          if (tokens > 0) RUVLLM_TRY(run_decode(benches, batch, depth, tokens));
        }
      }
    }
  }
  for (const int64_t batch : flags_.batch) {
    if (flags_.shared_prefix > 0) RUVLLM_TRY(run_shared_prefix(batch));
    if (flags_.long_prefill > 0) RUVLLM_TRY(run_beside(batch));
  }
  if (flags_.mixed > 0) RUVLLM_TRY(run_pool());
  return {};
}

}  // namespace

Status bench_sessions(const BenchFlags& flags, const MachineRoofs& roofs, Json::Array& rows) {
  if (!flags.json) {
    write_out(concat(pad("test", 10), pad("backend", 9), pad("batch", 6), pad("depth", 7),
                     pad("quant", 8), pad("tok/s", 11), pad("sd", 9), "\n"));
  }
  for (const std::string& quant : flags.quants()) {
    std::shared_ptr<const Checkpoint> checkpoint;
    if (!flags.shape.empty()) {
      RUVLLM_ASSIGN(checkpoint, open_shape(flags, quant));
    }
    RUVLLM_TRY(SessionBench(flags, roofs, std::move(checkpoint), rows).run());
  }
  return {};
}

}  // namespace ruvllm::cli
