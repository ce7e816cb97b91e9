// SessionBench: what `ruvllm bench` measures of sessions through LlmBackend, as users have them. It
// opens backends whose runners write down their steps, runs sessions, and adds rows to the output.
//
// One thread; a backend lives for one kind of measurement. Failure: what the backend refuses, or a
// measurement that said nothing (sessions that ended before what they were to show).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench.h"
#include "engine/session_speed.h"
#include "engine/speed_runner.h"

namespace ruvllm::cli {

struct MeanAndDeviation {
  double mean = 0.0;
  double deviation = 0.0;  // of the samples; 0 for a single one
};
MeanAndDeviation mean_and_deviation(const std::vector<double>& samples);

// One loaded backend whose runner can leave prompts out.
struct OpenBackend {
  std::string name;  // "edge", "serving"
  SpeedRunner* runner = nullptr;
  std::unique_ptr<LlmBackend> backend;
  ModelInfo info;

  // Sessions that a step advances, of so many.
  int64_t rows_of_a_step(int64_t sessions) const {
    return backend->features().concurrent ? sessions : 1;
  }
};

class SessionBench {
 public:
  // `checkpoint`: of a shape; null: a model is named. The references must outlive this.
  SessionBench(const BenchFlags& flags, const MachineRoofs& roofs,
               std::shared_ptr<const Checkpoint> checkpoint, Json::Array& rows)
      : flags_(flags), roofs_(roofs), checkpoint_(std::move(checkpoint)), rows_(rows) {}

  Status run();

 private:
  using Members = std::vector<std::pair<std::string, Json>>;
  struct DecodeSamples;
  struct Roofs {
    double read_bytes_per_second = 0.0;
    double macs_per_second = 0.0;  // of the unit that multiplies the weights; 0: not known
  };

  // `pace`: prompts are held back for those who decode, as when serving.
  Result<OpenBackend> open(BackendKind kind, const ServingConfig& config, bool pace);
  // The flags' config; where they say nothing, with room for so many sessions.
  ServingConfig config_for(int64_t sessions, int64_t tokens_each, int64_t shared) const;

  // Steps (bench_sessions.cc).
  Status run_steps();
  Status run_prefill(std::vector<OpenBackend>& benches, int64_t tokens);
  Status run_decode(std::vector<OpenBackend>& benches, int64_t batch, int64_t depth,
                    int64_t tokens);
  void add_decode_row(const OpenBackend& bench, int64_t batch, int64_t depth, int64_t tokens,
                      const DecodeSamples& samples, const Roofs& roofs);
  // Loads (bench_load.cc).
  Status run_shared_prefix(int64_t batch);
  Status run_beside(int64_t batch);
  Status run_pool();
  Status use_pool(int32_t block_size, uint64_t bytes, const std::vector<TraceRequest>& requests);
  Status run_trace_file(int64_t batch);
  // Adapters (bench_adapters.cc).
  struct AdapterCase;
  Status run_adapters();
  Status run_adapter_cases(OpenBackend& bench, int64_t batch, int64_t tokens);
  double adapter_bytes(const OpenBackend& bench, const AdapterCase& adapter_case) const;

  // No step of so many rows can take less: weights and KV over the read roof, or the products with
  // weights over the peak of their unit.
  static double floor_seconds(const ModelRunner& runner, int64_t rows, int64_t output_rows,
                              double kv_tokens, const Roofs& roofs);
  // Of weights, KV and `more` bytes at the read roof.
  static double reading_seconds(const ModelRunner& runner, double kv_tokens, double more,
                                const Roofs& roofs);
  const ArithmeticPeak* peak(const ModelRunner& runner) const;
  // The best that was seen when the bench began.
  Roofs best_roofs(const ModelRunner& runner) const;
  // `more`: members of the row beside those that all have; "gb_s" replaces the common one.
  void add_row(std::string test, const OpenBackend& bench, int64_t batch, int64_t depth,
               MeanAndDeviation tok_s, Members more, const std::string& text);

  const BenchFlags& flags_;
  const MachineRoofs& roofs_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  Json::Array& rows_;
  int64_t series_ = 0;  // of prompts; no two measurements share any
};

}  // namespace ruvllm::cli
