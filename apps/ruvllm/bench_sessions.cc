// ruvllm bench --backend serving, --compare: sessions through LlmBackend, as users have them.
#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "base/str.h"
#include "engine/serving_backend.h"
#include "io.h"
#include "session_bench.h"
#if defined(RUVLLM_HAS_EDGE)
#include "engine/edge_backend.h"
#endif

namespace ruvllm::cli {

MeanAndDeviation mean_and_deviation(const std::vector<double>& samples) {
  MeanAndDeviation result;
  for (const double sample : samples) result.mean += sample / static_cast<double>(samples.size());
  double squares = 0.0;
  for (const double sample : samples) squares += (sample - result.mean) * (sample - result.mean);
  if (samples.size() > 1) {
    result.deviation = std::sqrt(squares / static_cast<double>(samples.size() - 1));
  }
  return result;
}

Result<OpenBackend> SessionBench::open(BackendKind kind, const ServingConfig& config, bool pace) {
  OpenBackend bench;
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
  if (bench.backend->stats()) {
    runner->set_schedule_clock(
        [backend = bench.backend.get()] { return backend->stats()->schedule_seconds_sum; });
  }
  return bench;
}

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

const ArithmeticPeak* SessionBench::peak(const ModelRunner& runner) const {
  return peak_of(roofs_, runner.kernels(), runner.quantization());
}

SessionBench::Roofs SessionBench::best_roofs(const ModelRunner& runner) const {
  const ArithmeticPeak* best = peak(runner);
  return {roofs_.read_bytes_per_second, best == nullptr ? 0.0 : best->macs_per_second};
}

double SessionBench::reading_seconds(const ModelRunner& runner, double kv_tokens, double more,
                                     const Roofs& roofs) {
  SpeedCase weights;
  weights.num_tokens = 0;
  weights.batch = 0;
  const double kv_bytes =
      static_cast<double>(runner.kv_block_bytes()) / runner.kv_block_tokens() * kv_tokens;
  return (decode_bytes_per_step(runner, weights) + kv_bytes + more) / roofs.read_bytes_per_second;
}

double SessionBench::floor_seconds(const ModelRunner& runner, int64_t rows, int64_t output_rows,
                                   double kv_tokens, const Roofs& roofs) {
  const double reading = reading_seconds(runner, kv_tokens, 0.0, roofs);
  const double peak = roofs.macs_per_second;
  return std::max(reading, peak > 0.0 ? weight_macs(runner, rows, output_rows) / peak : 0.0);
}

void SessionBench::add_row(std::string test, const OpenBackend& bench, int64_t batch, int64_t depth,
                           MeanAndDeviation tok_s, Members more, const std::string& text) {
  Members members = {{"test", Json(test)},
                     {"batch", Json(batch)},
                     {"depth", Json(depth)},
                     {"quant", Json(bench.info.quantization)},
                     {"backend", Json(bench.name)},
                     {"tok_s", Json(tok_s.mean)},
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
            pad(fixed(tok_s.mean, 2), 11) + pad("+-" + fixed(tok_s.deviation, 2), 9) + "  " + text +
            "\n");
}

// --- Decoding ---

struct SessionBench::DecodeSamples {
  std::vector<double> rates;     // tokens per second of all sessions
  std::vector<double> outside;   // of the model, share of a step
  std::vector<double> schedule;  // share of a step; none in a backend without EngineStats
};

Status SessionBench::run_decode(std::vector<OpenBackend>& benches, int64_t batch, int64_t depth,
                                int64_t tokens) {
  const int64_t prompt = std::max<int64_t>(depth, 1);
  std::vector<DecodeSamples> samples(benches.size());
  RoofsBeside roofs(roofs_.num_threads, peak(*benches.front().runner));
  for (int32_t rep = 0; rep <= flags_.reps; ++rep) {  // the first warms up
    for (size_t i = 0; i < benches.size(); ++i) {
      OpenBackend& bench = benches[i];
      if (rep > 0) roofs.measure();
      // While the last prompts come in, the first sessions decode already.
      const int64_t extra = batch * prompt / bench.runner->max_step_rows() + 2;
      const int64_t rows = bench.rows_of_a_step(batch);
      const auto prompts = make_prompts(batch, 0, prompt, bench.info.vocab_size, ++series_);
      bench.runner->skip_below(prompt);
      bench.runner->take_steps();
      RUVLLM_TRY(run_sessions(*bench.backend, *bench.runner, prompts,
                              rep == 0 ? extra + 4 : tokens + extra));
      bench.runner->skip_below(0);
      const DecodeSteps steps = decode_steps(bench.runner->take_steps(), rows);
      if (rep == 0) continue;
      if (steps.count == 0) {
        return fail(ErrorCode::kInvalidArgument, concat("--tg ", tokens, " is too short: ", batch,
                                                        " sessions never decoded all at a time"));
      }
      samples[i].rates.push_back(static_cast<double>(rows) / steps.seconds);
      samples[i].outside.push_back(1.0 - steps.model_seconds / steps.seconds);
      if (bench.backend->stats()) {
        samples[i].schedule.push_back(steps.schedule_seconds / steps.seconds);
      }
    }
  }
  roofs.measure();
  for (size_t i = 0; i < benches.size(); ++i) {
    add_decode_row(benches[i], batch, depth, tokens, samples[i],
                   {roofs.read_bytes_per_second(), roofs.macs_per_second()});
  }
  return {};
}

void SessionBench::add_decode_row(const OpenBackend& bench, int64_t batch, int64_t depth,
                                  int64_t tokens, const DecodeSamples& samples,
                                  const Roofs& roofs) {
  const int64_t rows = bench.rows_of_a_step(batch);
  const int64_t prompt = std::max<int64_t>(depth, 1);
  const double middle = static_cast<double>(prompt) + static_cast<double>(tokens) / 2.0;
  const double floor =
      floor_seconds(*bench.runner, rows, rows, middle * static_cast<double>(rows), roofs);
  const MeanAndDeviation rate = mean_and_deviation(samples.rates);
  const double step = static_cast<double>(rows) / rate.mean;
  SpeedCase speed_case;
  speed_case.num_tokens = tokens;
  speed_case.batch = rows;
  speed_case.depth = prompt;
  const double gb_s = decode_bytes_per_step(*bench.runner, speed_case) / step * 1e-9;
  const double outside = mean_and_deviation(samples.outside).mean;
  std::string text = concat("step ", fixed(step * 1e3, 2), " ms, floor ", fixed(floor * 1e3, 2),
                            " (", fixed(step / floor, 2), "x), ", fixed(gb_s, 1),
                            " GB/s, beside the model ", fixed(100.0 * outside, 2), " %");
  Members more = {{"gb_s", Json(gb_s)},
                  {"step_seconds", Json(step)},
                  {"floor_seconds", Json(floor)},
                  {"step_to_floor", Json(step / floor)},
                  {"beside_model_share", Json(outside)}};
  if (!samples.schedule.empty()) {
    const double schedule = mean_and_deviation(samples.schedule).mean;
    text += concat(", scheduler ", fixed(100.0 * schedule, 2), " %");
    more.emplace_back("schedule_share", Json(schedule));
  }
  add_row(concat("tg", tokens), bench, batch, depth, rate, std::move(more), text);
}

Status SessionBench::run_prefill(std::vector<OpenBackend>& benches, int64_t tokens) {
  std::vector<std::vector<double>> rates(benches.size());
  RoofsBeside roofs(roofs_.num_threads, peak(*benches.front().runner));
  for (int32_t rep = 0; rep < flags_.reps; ++rep) {
    for (size_t i = 0; i < benches.size(); ++i) {
      roofs.measure_peak();
      const auto prompts = make_prompts(1, 0, tokens, benches[i].info.vocab_size, ++series_);
      RUVLLM_ASSIGN(const GenerateResult result, benches[i].backend->generate_detailed(
                                                     prompts.front(), GenerateParams::greedy(1)));
      rates[i].push_back(static_cast<double>(tokens) / result.timings.prefill_seconds);
    }
  }
  roofs.measure_peak();
  const double peak_gmac_s = roofs.macs_per_second() * 1e-9;
  for (size_t i = 0; i < benches.size(); ++i) {
    const ModelRunner& runner = *benches[i].runner;
    const int64_t steps = (tokens + runner.max_step_rows() - 1) / runner.max_step_rows();
    const MeanAndDeviation rate = mean_and_deviation(rates[i]);
    const double gmac_s =
        rate.mean * weight_macs(runner, tokens, steps) / static_cast<double>(tokens) * 1e-9;
    add_row(
        concat("pp", tokens), benches[i], 1, 0, rate,
        {{"gmac_s", Json(gmac_s)}, {"gmac_s_peak", peak_gmac_s > 0.0 ? Json(peak_gmac_s) : Json()}},
        share_of(gmac_s, peak_gmac_s, "GMAC/s"));
  }
  return {};
}

Status SessionBench::run_steps() {
  std::vector<BackendKind> kinds = {BackendKind::kServing};
  if (!flags_.compare.empty()) kinds = {BackendKind::kEdge, BackendKind::kServing};
  int64_t sessions = 1;
  int64_t longest = 1;
  for (const int64_t batch : flags_.batch) sessions = std::max(sessions, batch);
  for (const int64_t depth : flags_.depth) longest = std::max(longest, depth);
  for (const int64_t tokens : flags_.tg) longest = std::max(longest, tokens);
  int64_t prefill = 0;
  for (const int64_t tokens : flags_.pp) prefill = std::max(prefill, tokens);
  if (prefill == 0 && std::ranges::max(flags_.tg) == 0) return {};
  std::vector<OpenBackend> benches;
  for (const BackendKind kind : kinds) {
    // Room for depth and answer, and for the steps in which the last prompts come in.
    const int64_t rows = flags_.model.serving.max_batched_tokens;
    RUVLLM_ASSIGN(
        OpenBackend bench,
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
  return {};
}

Status SessionBench::run() {
  if (flags_.adapters_in_batch.empty()) RUVLLM_TRY(run_steps());
  for (const int64_t batch : flags_.batch) {
    if (flags_.shared_prefix > 0) RUVLLM_TRY(run_shared_prefix(batch));
    if (flags_.long_prefill > 0) RUVLLM_TRY(run_beside(batch));
    if (!flags_.trace.empty()) RUVLLM_TRY(run_trace_file(batch));
  }
  if (flags_.mixed > 0) RUVLLM_TRY(run_pool());
  if (!flags_.adapters_in_batch.empty()) RUVLLM_TRY(run_adapters());
  return {};
}

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
