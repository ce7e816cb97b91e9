// What the files of the bench verb share: its flags, a list of them, opening the model, and the
// rows of the output.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/speed.h"
#include "formats/checkpoint.h"
#include "model_flags.h"
#include "ops/cpu/machine_roofs.h"

namespace ruvllm::cli {

struct BenchFlags {
  ModelFlags model;
  std::string shape;
  std::string quant = "bf16";
  std::vector<int64_t> pp = {512};
  std::vector<int64_t> tg = {128};
  std::vector<int64_t> batch = {1};
  std::vector<int64_t> depth = {0};
  int32_t reps = 3;
  bool json = false;
  // Of sessions through a backend.
  std::string compare;  // "edge,serving"
  int64_t shared_prefix = 0;
  int64_t long_prefill = 0;
  int64_t mixed = 0;
  std::string trace;  // a file of requests
  std::vector<int64_t> adapters_in_batch;
  FlagSet* flags = nullptr;

  void add_to(FlagSet& set);
  // kExitUsage with one line for flags that do not go together, or that nothing would read.
  std::optional<int> check(const FlagSet& flags) const;
  // Whether sessions through LlmBackend are measured, not steps of a runner.
  bool measures_sessions() const {
    return !compare.empty() || model.backend == BackendKind::kServing;
  }
  // The formats of --quant; one empty one when a model is named.
  std::vector<std::string> quants() const;
};

// The checkpoint of --model-shape.
Result<std::shared_ptr<const Checkpoint>> open_shape(const BenchFlags& flags,
                                                     const std::string& quant);

std::string pad(std::string text, size_t width);
// "12.3 GB/s  85 %"; blanks where there is nothing to say.
std::string share_of(double value, double roof, std::string_view unit);

// The roofs of a row's measurements, taken before each of them and after the last: the machine's
// speed moves with what else runs on it. All threads, one caller.
class RoofsBeside {
 public:
  // peak: of the unit that is used; null: not known.
  RoofsBeside(int num_threads, const ArithmeticPeak* peak)
      : num_threads_(num_threads), peak_(peak) {}

  void measure();
  // The peak alone, where nothing is held against reading.
  void measure_peak();
  // Means of all measurements.
  double read_bytes_per_second() const { return mean(read_); }
  double macs_per_second() const { return mean(macs_); }  // 0: not known
  // Of those before and after measurement i.
  double read_bytes_per_second(size_t i) const { return (read_[i] + read_[i + 1]) / 2.0; }

 private:
  static double mean(const std::vector<double>& values);

  int num_threads_;
  const ArithmeticPeak* peak_;
  std::vector<double> read_;
  std::vector<double> macs_;
};

// Measures sessions through the backends that the flags name; rows go to `rows`, and as text to
// stdout unless --json.
Status bench_sessions(const BenchFlags& flags, const MachineRoofs& roofs, Json::Array& rows);

}  // namespace ruvllm::cli
