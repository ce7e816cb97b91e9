// What the golden tests of models share: expected values, running token sequences through a
// ModelRunner in chunks, and comparing.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/mmap_file.h"
#include "engine/model_runner.h"
#include "spec/file_tensor.h"

namespace ruvllm::test {

// A *.safetensors file of expected values.
class ExpectedFile {
 public:
  explicit ExpectedFile(const std::string& path);  // a test failure when it cannot be read
  bool has(const std::string& name) const { return find(name) != nullptr; }
  std::span<const float> f32(const std::string& name) const;
  std::span<const int32_t> i32(const std::string& name) const;

 private:
  const FileTensor* find(const std::string& name) const;
  std::optional<MmapFile> file_;  // keeps the bytes of tensors_
  std::vector<FileTensor> tensors_;
};

Json read_json(const std::string& path);  // null on failure, which is also reported
bool file_exists(const std::string& path);
std::vector<std::string> subfolders(const std::string& path);  // sorted names; empty when absent

// The tolerance of golden/README.md: 5e-5 of the logits' standard deviation.
constexpr double kTolerance = 5e-5;
constexpr double kLogprobTolerance = 1e-4;

struct ModelCase {
  std::string model;   // what is opened: a folder or a .gguf file
  std::string folder;  // holds expected.safetensors and meta.json
  std::string name;
  bool reference_ops = false;

  double logits_std() const;  // 0, and a test failure, when meta.json does not say
};

// All models with expected values that are on this machine, for both devices.
std::vector<ModelCase> model_cases();

// Loads a model; a failure is reported as a test failure and gives null.
std::unique_ptr<ModelRunner> load_runner(std::shared_ptr<const Checkpoint> checkpoint,
                                         const RunnerOptions& options);
std::shared_ptr<Checkpoint> open_model(const std::string& path);
RunnerOptions exact_options(bool reference_ops);

// Rows of results, copied out of the runner.
struct Rows {
  std::vector<float> values;
  int64_t cols = 0;

  int64_t count() const { return cols == 0 ? 0 : static_cast<int64_t>(values.size()) / cols; }
  std::span<const float> row(int64_t i) const {
    return std::span(values).subspan(static_cast<size_t>(i * cols), static_cast<size_t>(cols));
  }
};

// One growing sequence in a runner's KV cache. Its blocks come from a pool that hands them out in
// no useful order, so that only the block table can tell where a position is.
class Sequence {
 public:
  // total_tokens: the length that decides the rotary regime. first_block: where its share of the
  // pool begins.
  Sequence(ModelRunner& runner, int64_t total_tokens, int32_t first_block = 0);

  // Feeds ids in steps of at most `chunk` tokens; logits (and final hidden states) of every token.
  Rows feed(std::span<const int32_t> ids, int64_t chunk, Rows* hidden = nullptr);
  int64_t length() const { return length_; }
  std::span<const int32_t> blocks() const { return blocks_; }
  uint8_t regime() const { return regime_; }
  void advance(int64_t tokens) { length_ += tokens; }

 private:
  ModelRunner& runner_;
  std::vector<int32_t> blocks_;
  int64_t length_ = 0;
  uint8_t regime_ = 0;
};

int32_t argmax(std::span<const float> logits);
double log_probability(std::span<const float> logits, int32_t id);
double standard_deviation(std::span<const float> values);
// The largest |a - b|; infinity when sizes differ or something is not a number.
double largest_difference(std::span<const float> a, std::span<const float> b);

}  // namespace ruvllm::test
