// ServerMetrics: what /metrics says, in Prometheus' text format 0.0.4.
//
// Names, labels, types and buckets are those of vLLM (vllm:*), so that its dashboards, routers and
// autoscalers work unchanged; what is our own begins with ruvllm_. One series per gauge.
// Everything but the names of adapters is an atomic that is written with relaxed order.
// Counts of one scrape may be a few events apart; none ever falls.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ruvllm/backend.h"

namespace ruvllm::server {

class Histogram {
 public:
  explicit Histogram(std::span<const double> bounds)
      : bounds_(bounds), counts_(bounds.size() + 1) {}

  void observe(double value, uint64_t times = 1);
  // The lines of the metric; `labels`: `model_name="m",engine="0"`.
  void append_to(std::string& out, std::string_view name, std::string_view help,
                 std::string_view labels) const;
  uint64_t count() const;

 private:
  std::span<const double> bounds_;  // ascending, inclusive
  std::vector<std::atomic<uint64_t>> counts_;
  std::atomic<double> sum_{0.0};
};

// Of one sequence that ended by itself.
struct SequenceRecord {
  double queue_seconds = 0.0;
  double prefill_seconds = 0.0;
  double decode_seconds = 0.0;
  double total_seconds = 0.0;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t generated_tokens = 0;
  int64_t prefill_tokens = 0;
  int32_t max_tokens = 0;
  int32_t n = 1;
};

class ServerMetrics {
 public:
  ServerMetrics(std::string model_name, int64_t max_seq_len);

  enum class Finish : uint8_t { kStop, kLength, kAbort, kError };

  // `adapter`: its name, "" for the base model.
  void sequence_began(const std::string& adapter);
  void sequence_ended(const std::string& adapter, Finish finish);
  // Before the first request.
  void set_max_loras(int32_t count) { max_loras_ = count; }
  void record(const SequenceRecord& record);
  void first_token(double seconds) { time_to_first_token_.observe(seconds); }
  void token_gap(double seconds) { inter_token_.observe(seconds); }
  void generated(int64_t tokens) { generated_.fetch_add(tokens, std::memory_order_relaxed); }

  void http_request(size_t route, int status, double seconds);
  void rejected_full() { rejected_full_.fetch_add(1, std::memory_order_relaxed); }
  // Names of the routes, in the order of `route`; before the first request.
  void set_routes(std::vector<std::string> names);

  struct Gauges {  // what the server knows beside
    std::optional<EngineStats> engine;
    int64_t connections = 0;
    uint64_t refused_connections = 0;
    bool ready = false;
  };
  std::string text(const Gauges& gauges) const;

 private:
  void append_engine(std::string& out, const Gauges& gauges) const;
  void append_requests(std::string& out) const;
  void append_histograms(std::string& out, const Gauges& gauges) const;
  void append_http(std::string& out, const Gauges& gauges) const;
  void append_step_tokens(std::string& out, const EngineStats& stats) const;

  std::string model_;   // escaped
  std::string labels_;  // model_name="...",engine="0"
  int64_t max_seq_len_;
  double started_;
  std::vector<double> token_bounds_;

  mutable std::mutex adapters_mutex_;        // held only by requests with an adapter, and a scrape
  std::map<std::string, int64_t> adapters_;  // sequences that use it; none has 0
  double adapters_changed_ = started_;       // unix time of the last first or last use
  int32_t max_loras_ = 0;

  std::atomic<int64_t> active_{0};
  std::array<std::atomic<uint64_t>, 4> finished_ = {};
  std::atomic<uint64_t> prompt_tokens_{0}, cached_tokens_{0};
  std::atomic<int64_t> generated_{0};
  std::atomic<uint64_t> rejected_full_{0};
  Histogram time_to_first_token_, inter_token_, per_output_token_;
  Histogram e2e_, queue_, inference_, prefill_, decode_;
  Histogram prompt_length_, generated_length_, max_generated_, params_n_, params_max_tokens_;
  Histogram steps_;  // of backends without statistics

  static constexpr std::array<int, 16> kStatuses = {200, 204, 400, 401, 403, 404, 405, 413,
                                                    415, 429, 431, 500, 501, 503, 504, 0};
  struct Route {
    std::string name;
    std::array<std::atomic<uint64_t>, kStatuses.size()> by_status = {};
    std::atomic<double> seconds_sum{0.0};
  };
  std::vector<std::unique_ptr<Route>> routes_;
};

}  // namespace ruvllm::server
