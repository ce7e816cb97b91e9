// ruvllm bench: prefill and decode speed of a model, beside what the machine can do.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "base/str.h"
#include "bench.h"
#include "engine/random_model.h"
#include "io.h"
#include "verbs.h"

namespace ruvllm::cli {
namespace {

void add_list(FlagSet& flags, std::string name, std::vector<int64_t>& target, std::string help,
              int64_t min) {
  std::string fallback;
  for (const int64_t n : target) fallback += concat(fallback.empty() ? "" : ",", n);
  flags.add_custom(std::move(name), "N,...", fallback, std::move(help),
                   [&target, min](std::string_view text) -> Status {
                     RUVLLM_ASSIGN(target, parse_int_list(text, min));
                     return {};
                   });
}

}  // namespace

void BenchFlags::add_to(FlagSet& set) {
  flags = &set;
  model.add_to(set, kComputeFlags | kSeedFlag);
  set.add("--model-shape", "SHAPE", shape,
          concat("random weights in memory instead of MODEL: ", known_shapes()));
  set.add("--quant", "TYPE,...", quant, "formats of --model-shape, e.g. bf16,q8_0,q4_0");
  add_list(set, "--pp", pp, "prefill these many tokens; 0: none", 0);
  add_list(set, "--tg", tg, "decode these many tokens; 0: none", 0);
  add_list(set, "--batch", batch, "sequences decoded together", 1);
  add_list(set, "--depth", depth, "tokens of context before", 0);
  set.add("--reps", "N", reps, "repetitions", 1, 1000);
  set.add("--json", json, "one JSON object");
#if defined(RUVLLM_HAS_SERVING)
  add_serving_flags(set, model.serving);
  set.add_custom("--compare", "edge,serving", "", "sessions through both backends, in turn",
                 [this](std::string_view text) -> Status {
                   if (text != "edge,serving") {
                     return fail(ErrorCode::kInvalidArgument, "expected edge,serving");
                   }
                   compare = text;
                   return {};
                 });
  set.add("--shared-prefix", "N", shared_prefix,
          "--batch sessions through serving whose prompts have N tokens in common", 0);
  set.add("--long-prefill", "N", long_prefill,
          "through serving: a prompt of N tokens that comes while --batch sessions decode", 0);
  set.add("--mixed", "N", mixed,
          "N requests of 32-512 tokens in serving's pool (1G): pages beside 2,048-token regions", 0,
          4096);
  set.add("--trace", "FILE", trace,
          "JSON array of requests (prompt: ids, max_tokens) through serving, --batch at a time");
  add_list(set, "--adapters-in-batch", adapters_in_batch,
           "--batch sessions that decode with the first N adapters, or --xlora, beside the base",
           1);
  set.add_example("ruvllm bench -m demo --backend serving --batch 1,8,64");
  set.add_example("ruvllm bench -m demo --compare edge,serving");
#else
  for (const char* name : {"--compare", "--shared-prefix", "--long-prefill", "--mixed", "--trace",
                           "--adapters-in-batch"}) {
    set.add_refused(name, true, "the serving backend is not in this binary");
  }
#endif
  set.add_example("ruvllm bench -m demo");
  set.add_example("ruvllm bench --model-shape llama-1b --quant bf16,q8_0,q4_0 --json");
}

std::vector<std::string> BenchFlags::quants() const {
  std::vector<std::string> names;
  std::string_view rest = shape.empty() ? std::string_view() : quant;
  while (true) {
    const size_t comma = rest.find(',');
    names.emplace_back(rest.substr(0, comma));
    if (comma == std::string_view::npos) return names;
    rest.remove_prefix(comma + 1);
  }
}

Result<std::shared_ptr<const Checkpoint>> open_shape(const BenchFlags& flags,
                                                     const std::string& quant) {
  const ModelShape* shape = find_shape(flags.shape);
  const std::optional<DType> dtype = dtype_from_name(quant);
  if (!dtype) {
    return fail(ErrorCode::kInvalidArgument,
                concat("--quant is ", printable(quant), ", expected e.g. bf16, q8_0 or q4_0"));
  }
  return make_random_checkpoint(*shape, *dtype, flags.model.seed.value_or(1));
}

std::string pad(std::string text, size_t width) {
  if (text.size() < width) text.insert(0, width - text.size(), ' ');
  return text;
}

std::string share_of(double value, double roof, std::string_view unit) {
  if (value <= 0.0) return pad("", 12 + unit.size());
  const std::string percent = roof > 0.0 ? fixed(100.0 * value / roof, 0) + " %" : "";
  return pad(fixed(value, 1), 7) + concat(" ", unit) + pad(percent, 6);
}

void RoofsBeside::measure() {
  read_.push_back(measure_read_mean(num_threads_));
  measure_peak();
}

void RoofsBeside::measure_peak() {
  if (peak_ != nullptr) macs_.push_back(measure_peak_mean(*peak_, num_threads_));
}

double RoofsBeside::mean(const std::vector<double>& values) {
  double sum = 0.0;
  for (const double value : values) sum += value;
  return values.empty() ? 0.0 : sum / static_cast<double>(values.size());
}

namespace {

struct Row {
  SpeedCase speed_case;
  std::string quant;
  std::string kernels;
  double tok_s = 0.0;
  double tok_s_sd = 0.0;
  double gb_s = 0.0;        // decode
  double read_gb_s = 0.0;   // decode: of the read roof beside the repetitions
  double read_share = 0.0;  // decode: gb_s of it, the median of the repetitions
  double gmac_s = 0.0;      // products with weights
  double gmac_peak = 0.0;   // of the unit used, beside the repetitions; 0: not known
  uint64_t rss_bytes = 0;

  std::string test() const {
    return concat(speed_case.prefill ? "pp" : "tg", speed_case.num_tokens);
  }
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values.empty() ? 0.0 : values[values.size() / 2];
}

Result<Row> measure(ModelRunner& runner, const SpeedCase& speed_case, int32_t reps,
                    RoofsBeside& roofs) {
  SpeedCase warm_up = speed_case;
  warm_up.num_tokens = std::min<int64_t>(speed_case.num_tokens, speed_case.prefill ? 64 : 4);
  RUVLLM_TRY(time_case(runner, warm_up));
  std::vector<double> rates;
  double sum = 0.0;
  const auto measure_roofs = [&] { speed_case.prefill ? roofs.measure_peak() : roofs.measure(); };
  for (int32_t i = 0; i < reps; ++i) {
    measure_roofs();
    RUVLLM_ASSIGN(const double seconds, time_case(runner, speed_case));
    rates.push_back(static_cast<double>(speed_case.num_tokens * speed_case.batch) / seconds);
    sum += rates.back();
  }
  measure_roofs();
  Row row;
  row.speed_case = speed_case;
  row.quant = std::string(runner.quantization());
  row.kernels = std::string(runner.kernels());
  row.tok_s = sum / static_cast<double>(reps);
  double squares = 0.0;
  for (const double rate : rates) squares += (rate - row.tok_s) * (rate - row.tok_s);
  row.tok_s_sd = reps > 1 ? std::sqrt(squares / static_cast<double>(reps - 1)) : 0.0;
  if (!speed_case.prefill) {
    const double bytes_per_token =
        decode_bytes_per_step(runner, speed_case) / static_cast<double>(speed_case.batch);
    row.gb_s = row.tok_s * bytes_per_token * 1e-9;
    row.read_gb_s = roofs.read_bytes_per_second() * 1e-9;
    std::vector<double> shares;
    for (size_t i = 0; i < rates.size(); ++i) {
      shares.push_back(rates[i] * bytes_per_token / roofs.read_bytes_per_second(i));
    }
    row.read_share = median(shares);
  }
  row.rss_bytes = resident_bytes();
  return row;
}

// What the row's products reach of the peak of their unit.
void add_arithmetic(const ModelRunner& runner, const RoofsBeside& roofs, Row& row) {
  const SpeedCase& c = row.speed_case;
  const int64_t steps =
      c.prefill ? (c.num_tokens + runner.max_step_rows() - 1) / runner.max_step_rows() : 1;
  const int64_t rows = c.prefill ? c.num_tokens : c.batch;
  const double macs = weight_macs(runner, rows, c.prefill ? steps : rows);
  row.gmac_s = row.tok_s * macs / static_cast<double>(rows) * 1e-9;
  row.gmac_peak = roofs.macs_per_second() * 1e-9;
}

Json row_json(const Row& row) {
  return object({{"test", Json(row.test())},
                 {"batch", Json(row.speed_case.batch)},
                 {"depth", Json(row.speed_case.depth)},
                 {"quant", Json(row.quant)},
                 {"backend", text_json("edge")},
                 {"tok_s", Json(row.tok_s)},
                 {"tok_s_sd", Json(row.tok_s_sd)},
                 {"gb_s", row.speed_case.prefill ? Json() : Json(row.gb_s)},
                 {"read_roof_gb_s", row.speed_case.prefill ? Json() : Json(row.read_gb_s)},
                 {"read_roof_share", row.speed_case.prefill ? Json() : Json(row.read_share)},
                 {"gmac_s", Json(row.gmac_s)},
                 {"gmac_s_peak", row.gmac_peak > 0.0 ? Json(row.gmac_peak) : Json()},
                 {"kernels", Json(row.kernels)},
                 {"isa", Json(row.kernels)},
                 {"rss_bytes", Json(row.rss_bytes)}});
}

class Bench {
 public:
  explicit Bench(const BenchFlags& flags) : flags_(flags) {}

  Status run();
  std::string json() const;

 private:
  Status run_steps();
  Status run_model(ModelRunner& runner);
  Status run_case(ModelRunner& runner, const SpeedCase& speed_case);

  const BenchFlags& flags_;
  MachineRoofs roofs_;
  Json::Array rows_;
};

Status Bench::run_case(ModelRunner& runner, const SpeedCase& speed_case) {
  RoofsBeside beside(roofs_.num_threads, peak_of(roofs_, runner.kernels(), runner.quantization()));
  RUVLLM_ASSIGN(Row row, measure(runner, speed_case, flags_.reps, beside));
  add_arithmetic(runner, beside, row);
  rows_.push_back(row_json(row));
  if (flags_.json) return {};
  std::string line = pad(row.test(), 8) + pad(concat(row.speed_case.batch), 6) +
                     pad(concat(row.speed_case.depth), 7) + pad(row.quant, 8) +
                     pad(fixed(row.tok_s, 2), 11) + pad("+-" + fixed(row.tok_s_sd, 2), 9);
  // The roof of which gb_s is the share of the median repetition.
  const double roof = row.read_share > 0.0 ? row.gb_s / row.read_share : 0.0;
  line += share_of(speed_case.prefill ? 0.0 : row.gb_s, roof, "GB/s");
  line += share_of(row.gmac_s, row.gmac_peak, "GMAC/s");
  line += pad(concat(row.rss_bytes >> 20), 7) + " MiB";
  write_out(line + "\n");
  return {};
}

Status Bench::run_model(ModelRunner& runner) {
  for (const int64_t depth : flags_.depth) {
    for (const int64_t tokens : flags_.pp) {
      if (tokens > 0) RUVLLM_TRY(run_case(runner, {tokens, 1, depth, true}));
    }
    for (const int64_t batch : flags_.batch) {
      for (const int64_t tokens : flags_.tg) {
        if (tokens > 0) RUVLLM_TRY(run_case(runner, {tokens, batch, depth, false}));
      }
    }
  }
  return {};
}

Status Bench::run() {
  roofs_ = measure_machine_roofs(flags_.model.load.threads);
  if (!flags_.json) {
    write_out(concat("this machine: ", roofs_.num_threads, " threads, memory reads ",
                     fixed(roofs_.read_bytes_per_second * 1e-9, 2), " GB/s; GMAC/s:"));
    for (const ArithmeticPeak& peak : roofs_.peaks) {
      write_out(concat(" ", peak.isa, " ", peak.unit, " ", fixed(peak.macs_per_second * 1e-9, 0)));
    }
    write_out("\n");
  }
#if defined(RUVLLM_HAS_SERVING)
  if (flags_.measures_sessions()) return bench_sessions(flags_, roofs_, rows_);
#endif
  return run_steps();
}

Status Bench::run_steps() {
  if (!flags_.json) {
    write_out(concat(pad("test", 8), pad("batch", 6), pad("depth", 7), pad("quant", 8),
                     pad("tok/s", 11), pad("sd", 9), pad("memory", 12), pad("of roof", 10),
                     pad("products", 13), pad("of peak", 10), pad("RSS", 9), "\n"));
  }
  for (const std::string& quant : flags_.quants()) {
    std::shared_ptr<EdgeModel> model;
    if (flags_.shape.empty()) {
      RUVLLM_ASSIGN(model, flags_.model.open_model());
    } else {
      RUVLLM_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint, open_shape(flags_, quant));
      RUVLLM_ASSIGN(ModelParts parts,
                    load_model_parts(flags_.shape, std::move(checkpoint), flags_.model.load));
      model = std::make_shared<EdgeModel>(std::move(parts));
    }
    RUVLLM_TRY(run_model(*model->parts.runner));
  }
  return {};
}

std::string Bench::json() const {
  Json::Array peaks;
  for (const ArithmeticPeak& peak : roofs_.peaks) {
    peaks.push_back(object({{"isa", Json(std::string(peak.isa))},
                            {"unit", Json(std::string(peak.unit))},
                            {"gmac_s", Json(peak.macs_per_second * 1e-9)}}));
  }
  const Json roofs = object({{"memory_read_gb_s", Json(roofs_.read_bytes_per_second * 1e-9)},
                             {"peaks", Json(std::move(peaks))},
                             {"threads", Json(int64_t{roofs_.num_threads})}});
  return object({{"model", Json(flags_.shape.empty() ? flags_.model.model : flags_.shape)},
                 {"rows", Json(rows_)},
                 {"roofs", roofs}})
             .dump() +
         "\n";
}

}  // namespace

std::optional<int> BenchFlags::check(const FlagSet& flags) const {
  if (shape.empty()) {
    if (model.model.empty()) return model.check(flags);
    for (const char* flag : {"--quant", "--seed"}) {
      if (flags.given(flag)) return flags.usage_error(concat(flag, " needs --model-shape"));
    }
  } else if (!model.model.empty()) {
    return flags.usage_error("give one of -m and --model-shape");
  } else if (find_shape(shape) == nullptr) {
    return flags.usage_error(
        concat("--model-shape is ", printable(shape), ", expected one of ", known_shapes()));
  }
  if (!compare.empty() && flags.given("--backend")) {
    return flags.usage_error("--compare names the backends, give no --backend beside it");
  }
  if (!measures_sessions()) {
    for (const char* flag : {"--shared-prefix", "--long-prefill", "--mixed", "--trace", "--adapter",
                             "--use-adapter", "--xlora", "--adapters-in-batch"}) {
      if (flags.given(flag)) {
        return flags.usage_error(concat(flag, " needs --backend serving or --compare"));
      }
    }
  }
  for (const int64_t count : adapters_in_batch) {
    if (count > static_cast<int64_t>(model.load.adapters.size())) {
      return flags.usage_error(concat("--adapters-in-batch is ", count, ", and ",
                                      model.load.adapters.size(), " were given with --adapter"));
    }
  }
  return model.check_used(flags, measures_sessions());
}

int verb_bench(Args args) {
  BenchFlags options;
  FlagSet flags("bench", "prefill and decode speed, beside the machine's own limits");
  options.add_to(flags);
  if (const auto status = flags.parse(args)) return *status;
  if (const auto status = options.check(flags)) return *status;
  Bench bench(options);
  if (const Status status = bench.run(); !status) return fail_with("bench", status.error());
  if (options.json) write_out(bench.json());
  return kExitOk;
}

}  // namespace ruvllm::cli
