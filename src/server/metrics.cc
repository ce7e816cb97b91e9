#include "server/metrics.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/str.h"

namespace ruvllm::server {
namespace {

constexpr double kFirstTokenBounds[] = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                        1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
constexpr double kTokenTimeBounds[] = {.01, .025, .05, .075, .1,  .15, .2, .3, .4, .5,
                                       .75, 1,    2.5, 5,    7.5, 10,  20, 40, 80};
constexpr double kLatencyBounds[] = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                     30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
constexpr double kCountBounds[] = {1, 2, 5, 10, 20, 50, 100};
constexpr double kStepBounds[] = {1,   8,    16,   32,   64,   128,   256,
                                  512, 1024, 2048, 4096, 8192, 16384, 32768};
static_assert(std::size(kStepBounds) == kStepTokenBounds.size());

// 1, 2, 5, 10, ... up to the context length.
std::vector<double> one_two_five(int64_t limit) {
  std::vector<double> out;
  for (double decade = 1; out.size() < 64; decade *= 10) {
    for (const double step : {1.0, 2.0, 5.0}) {
      if (decade * step > static_cast<double>(std::max<int64_t>(limit, 1))) return out;
      out.push_back(decade * step);
    }
  }
  return out;
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out;
}

// Prometheus takes integers and decimals; nothing here is infinite.
std::string number(double value) {
  return std::isfinite(value) ? concat(value) : std::string("0");
}

void append_head(std::string& out, std::string_view name, std::string_view type,
                 std::string_view help) {
  out += concat("# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
}

void append_sample(std::string& out, std::string_view name, std::string_view labels,
                   std::string_view value) {
  out += concat(name, "{", labels, "} ", value, "\n");
}

// A metric of one series. A counter's sample ends in _total, its name does not.
void append_single(std::string& out, std::string_view name, std::string_view type,
                   std::string_view help, std::string_view labels, double value) {
  append_head(out, type == "counter" ? concat(name, "_total") : std::string(name), type, help);
  append_sample(out, type == "counter" ? concat(name, "_total") : std::string(name), labels,
                number(value));
}

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

void Histogram::observe(double value, uint64_t times) {
  if (!(value >= 0.0)) value = 0.0;
  const auto it = std::lower_bound(bounds_.begin(), bounds_.end(), value);
  counts_[static_cast<size_t>(it - bounds_.begin())].fetch_add(times, std::memory_order_relaxed);
  sum_.fetch_add(value * static_cast<double>(times), std::memory_order_relaxed);
}

uint64_t Histogram::count() const {
  uint64_t total = 0;
  for (const auto& count : counts_) total += count.load(std::memory_order_relaxed);
  return total;
}

void Histogram::append_to(std::string& out, std::string_view name, std::string_view help,
                          std::string_view labels) const {
  append_head(out, name, "histogram", help);
  uint64_t total = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    total += counts_[i].load(std::memory_order_relaxed);
    const std::string bound = i < bounds_.size() ? concat(bounds_[i]) : std::string("+Inf");
    out += concat(name, "_bucket{", labels, ",le=\"", bound, "\"} ", total, "\n");
  }
  append_sample(out, concat(name, "_sum"), labels, number(sum_.load(std::memory_order_relaxed)));
  append_sample(out, concat(name, "_count"), labels, concat(total));
}

ServerMetrics::ServerMetrics(std::string model_name, int64_t max_seq_len)
    : model_(escaped(model_name)),
      labels_(concat("model_name=\"", model_, "\",engine=\"0\"")),
      max_seq_len_(max_seq_len),
      started_(unix_seconds()),
      token_bounds_(one_two_five(max_seq_len)),
      time_to_first_token_(kFirstTokenBounds),
      inter_token_(kTokenTimeBounds),
      per_output_token_(kTokenTimeBounds),
      e2e_(kLatencyBounds),
      queue_(kLatencyBounds),
      inference_(kLatencyBounds),
      prefill_(kLatencyBounds),
      decode_(kLatencyBounds),
      prompt_length_(token_bounds_),
      generated_length_(token_bounds_),
      max_generated_(token_bounds_),
      params_n_(kCountBounds),
      params_max_tokens_(token_bounds_),
      steps_(kStepBounds) {}

void ServerMetrics::set_routes(std::vector<std::string> names) {
  for (std::string& name : names) {
    routes_.push_back(std::make_unique<Route>());
    routes_.back()->name = std::move(name);
  }
  routes_.push_back(std::make_unique<Route>());
  routes_.back()->name = "none";  // refused before a route took it
}

void ServerMetrics::sequence_began(const std::string& adapter) {
  active_.fetch_add(1, std::memory_order_relaxed);
  if (adapter.empty()) return;
  const std::scoped_lock lock(adapters_mutex_);
  if (++adapters_[adapter] == 1) adapters_changed_ = unix_seconds();
}

void ServerMetrics::sequence_ended(const std::string& adapter, Finish finish) {
  if (!adapter.empty()) {
    const std::scoped_lock lock(adapters_mutex_);
    const auto use = adapters_.find(adapter);
    if (use != adapters_.end() && --use->second == 0) {
      adapters_.erase(use);
      adapters_changed_ = unix_seconds();
    }
  }
  active_.fetch_sub(1, std::memory_order_relaxed);
  finished_[static_cast<size_t>(finish)].fetch_add(1, std::memory_order_relaxed);
}

void ServerMetrics::record(const SequenceRecord& record) {
  prompt_tokens_.fetch_add(static_cast<uint64_t>(record.prompt_tokens), std::memory_order_relaxed);
  cached_tokens_.fetch_add(static_cast<uint64_t>(record.cached_tokens), std::memory_order_relaxed);
  e2e_.observe(record.total_seconds);
  queue_.observe(record.queue_seconds);
  prefill_.observe(record.prefill_seconds);
  decode_.observe(record.decode_seconds);
  inference_.observe(record.prefill_seconds + record.decode_seconds);
  prompt_length_.observe(static_cast<double>(record.prompt_tokens));
  generated_length_.observe(static_cast<double>(record.generated_tokens));
  max_generated_.observe(static_cast<double>(record.generated_tokens));
  params_n_.observe(record.n);
  params_max_tokens_.observe(record.max_tokens);
  if (record.generated_tokens > 1) {
    per_output_token_.observe(record.decode_seconds /
                              static_cast<double>(record.generated_tokens - 1));
  }
  if (record.prefill_tokens > 0) steps_.observe(static_cast<double>(record.prefill_tokens));
  if (record.generated_tokens > 1) {
    steps_.observe(1.0, static_cast<uint64_t>(record.generated_tokens - 1));
  }
}

void ServerMetrics::http_request(size_t route, int status, double seconds) {
  if (routes_.empty()) return;
  route = std::min(route, routes_.size() - 1);
  const auto it = std::find(kStatuses.begin(), kStatuses.end(), status);
  const size_t column =
      it == kStatuses.end() ? kStatuses.size() - 1 : static_cast<size_t>(it - kStatuses.begin());
  routes_[route]->by_status[column].fetch_add(1, std::memory_order_relaxed);
  routes_[route]->seconds_sum.fetch_add(seconds, std::memory_order_relaxed);
}

std::string ServerMetrics::text(const Gauges& gauges) const {
  std::string out;
  out.reserve(32 * 1024);
  append_engine(out, gauges);
  append_requests(out);
  append_histograms(out, gauges);
  append_http(out, gauges);
  return out;
}

void ServerMetrics::append_engine(std::string& out, const Gauges& gauges) const {
  EngineStats stats;
  if (gauges.engine) {
    stats = *gauges.engine;
  } else {  // what the requests themselves show
    stats.running = active_.load(std::memory_order_relaxed);
    stats.kv_page_tokens = 1;
    stats.kv_pages_total = max_seq_len_;
    stats.prompt_tokens = prompt_tokens_.load(std::memory_order_relaxed);
    stats.generated_tokens = static_cast<uint64_t>(generated_.load(std::memory_order_relaxed));
    stats.prefix_query_tokens = stats.prompt_tokens;
    stats.prefix_hit_tokens = cached_tokens_.load(std::memory_order_relaxed);
  }
  const double used = stats.kv_pages_total > 0 ? static_cast<double>(stats.kv_pages_used) /
                                                     static_cast<double>(stats.kv_pages_total)
                                               : 0.0;
  const auto single = [&](std::string_view name, std::string_view type, std::string_view help,
                          double value) { append_single(out, name, type, help, labels_, value); };
  const auto of = [](uint64_t value) { return static_cast<double>(value); };
  single("vllm:num_requests_running", "gauge", "Sequences that take part in steps.",
         static_cast<double>(stats.running));
  single("vllm:num_requests_waiting", "gauge", "Sequences in the queue.",
         static_cast<double>(stats.waiting));
  single("vllm:kv_cache_usage_perc", "gauge", "Part of the KV cache in use, 0 to 1.", used);
  single("vllm:gpu_cache_usage_perc", "gauge", "Older name of kv_cache_usage_perc.", used);
  append_head(out, "vllm:cache_config_info", "gauge", "Shape of the KV cache.");
  append_sample(out, "vllm:cache_config_info",
                concat(labels_, ",block_size=\"", stats.kv_page_tokens, "\",num_gpu_blocks=\"",
                       stats.kv_pages_total, "\",enable_prefix_caching=\"True\""),
                "1");
  append_head(out, "vllm:lora_requests_info", "gauge", "Running adapters; value: time of change.");
  std::string running;
  double changed = 0.0;
  {
    const std::scoped_lock lock(adapters_mutex_);
    for (const auto& [name, count] : adapters_) {
      running += concat(running.empty() ? "" : ",", escaped(name));
    }
    changed = adapters_changed_;
  }
  append_sample(out, "vllm:lora_requests_info",
                concat("model_name=\"", model_, "\",engine=\"0\",max_lora=\"", max_loras_,
                       "\",running_lora_adapters=\"", running, "\",waiting_lora_adapters=\"\""),
                number(std::floor(changed)));
  single("vllm:num_preemptions", "counter", "Sequences sent back to the queue.",
         of(stats.preemptions));
  single("vllm:prompt_tokens", "counter", "Prompt tokens of admitted sequences.",
         of(stats.prompt_tokens));
  single("vllm:generation_tokens", "counter", "Generated tokens.", of(stats.generated_tokens));
  const double queries = of(stats.prefix_query_tokens);
  const double hits = of(stats.prefix_hit_tokens);
  single("vllm:prefix_cache_queries", "counter", "Prompt tokens looked up in the cache.", queries);
  single("vllm:prefix_cache_hits", "counter", "Prompt tokens found in the cache.", hits);
  single("vllm:gpu_prefix_cache_queries", "counter", "Older name of prefix_cache_queries.",
         queries);
  single("vllm:gpu_prefix_cache_hits", "counter", "Older name of prefix_cache_hits.", hits);
  single("vllm:gpu_prefix_cache_hit_rate", "gauge", "Hits per query since start, 0 to 1.",
         queries > 0 ? hits / queries : 0.0);
  single("ruvllm_engine_steps", "counter", "Steps of the engine's loop.", of(stats.steps));
  single("ruvllm_engine_seconds_since_step", "gauge", "Since a step ended while there is work.",
         stats.seconds_since_step);
}

void ServerMetrics::append_requests(std::string& out) const {
  constexpr std::string_view kName = "vllm:request_success_total";
  constexpr std::array<std::string_view, 4> kReasons = {"stop", "length", "abort", "error"};
  append_head(out, kName, "counter", "Sequences that ended, by reason.");
  for (size_t i = 0; i < kReasons.size(); ++i) {
    append_sample(out, kName, concat(labels_, ",finished_reason=\"", kReasons[i], "\""),
                  concat(finished_[i].load(std::memory_order_relaxed)));
  }
}

void ServerMetrics::append_step_tokens(std::string& out, const EngineStats& stats) const {
  constexpr std::string_view kName = "vllm:iteration_tokens_total";
  append_head(out, kName, "histogram", "Tokens per engine step.");
  uint64_t total = 0;
  for (size_t i = 0; i < stats.step_tokens.size(); ++i) {
    total += stats.step_tokens[i];
    const std::string bound =
        i < kStepTokenBounds.size() ? concat(kStepTokenBounds[i]) : std::string("+Inf");
    out += concat(kName, "_bucket{", labels_, ",le=\"", bound, "\"} ", total, "\n");
  }
  append_sample(out, concat(kName, "_sum"), labels_, concat(stats.step_tokens_sum));
  append_sample(out, concat(kName, "_count"), labels_, concat(total));
}

void ServerMetrics::append_histograms(std::string& out, const Gauges& gauges) const {
  const auto add = [&](const Histogram& histogram, std::string_view name, std::string_view help) {
    histogram.append_to(out, concat("vllm:", name), help, labels_);
  };
  add(time_to_first_token_, "time_to_first_token_seconds", "From arrival to the first token.");
  add(inter_token_, "inter_token_latency_seconds", "Between two tokens of a sequence.");
  add(inter_token_, "time_per_output_token_seconds", "Older name of inter_token_latency.");
  add(per_output_token_, "request_time_per_output_token_seconds",
      "Mean time per token after the first, of a sequence.");
  add(e2e_, "e2e_request_latency_seconds", "From arrival to the end.");
  add(queue_, "request_queue_time_seconds", "In the queue.");
  add(inference_, "request_inference_time_seconds", "Prefill and decode.");
  add(prefill_, "request_prefill_time_seconds", "Computing the prompt.");
  add(decode_, "request_decode_time_seconds", "From the first token to the last.");
  add(prompt_length_, "request_prompt_tokens", "Prompt tokens of a sequence.");
  add(generated_length_, "request_generation_tokens", "Generated tokens of a sequence.");
  add(max_generated_, "request_max_num_generation_tokens", "Longest answer of a request.");
  add(params_n_, "request_params_n", "The parameter n.");
  add(params_max_tokens_, "request_params_max_tokens", "The parameter max_tokens.");
  if (gauges.engine) {
    append_step_tokens(out, *gauges.engine);
  } else {
    add(steps_, "iteration_tokens_total", "Tokens per engine step.");
  }
}

void ServerMetrics::append_http(std::string& out, const Gauges& gauges) const {
  append_head(out, "http_requests_total", "counter", "Answered HTTP requests.");
  for (const auto& route : routes_) {
    for (size_t i = 0; i < kStatuses.size(); ++i) {
      const uint64_t count = route->by_status[i].load(std::memory_order_relaxed);
      if (count == 0) continue;
      const std::string status = kStatuses[i] == 0 ? std::string("other") : concat(kStatuses[i]);
      append_sample(out, "http_requests_total",
                    concat("handler=\"", route->name, "\",status=\"", status, "\""), concat(count));
    }
  }
  append_head(out, "http_request_duration_seconds", "summary", "Time to answer HTTP requests.");
  for (const auto& route : routes_) {
    uint64_t count = 0;
    for (const auto& column : route->by_status) count += column.load(std::memory_order_relaxed);
    if (count == 0) continue;
    const std::string labels = concat("handler=\"", route->name, "\"");
    append_sample(out, "http_request_duration_seconds_sum", labels,
                  number(route->seconds_sum.load(std::memory_order_relaxed)));
    append_sample(out, "http_request_duration_seconds_count", labels, concat(count));
  }
  append_single(out, "ruvllm_http_connections", "gauge", "Open client connections.", labels_,
                static_cast<double>(gauges.connections));
  append_single(out, "ruvllm_http_connections_refused", "counter",
                "Connections closed because there were too many.", labels_,
                static_cast<double>(gauges.refused_connections));
  append_single(out, "ruvllm_requests_rejected", "counter",
                "Requests answered 429 because the queue was full.", labels_,
                static_cast<double>(rejected_full_.load(std::memory_order_relaxed)));
  append_single(out, "ruvllm_ready", "gauge", "1 when requests are accepted.", labels_,
                gauges.ready ? 1.0 : 0.0);
}

}  // namespace ruvllm::server
