#include "golden_util.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>

#include "base/str.h"
#include "base/test_util.h"
#include "formats/safetensors.h"

namespace ruvllm::test {

ExpectedFile::ExpectedFile(const std::string& path) {
  auto file = MmapFile::open(path);
  if (!file) {
    ADD_FAILURE() << file.error().message;
    return;
  }
  file_.emplace(std::move(*file));
  auto tensors = parse_safetensors(file_->bytes(), path);
  if (!tensors) {
    ADD_FAILURE() << tensors.error().message;
    return;
  }
  tensors_ = std::move(*tensors);
}

const FileTensor* ExpectedFile::find(const std::string& name) const {
  for (const FileTensor& tensor : tensors_) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

std::span<const float> ExpectedFile::f32(const std::string& name) const {
  const FileTensor* tensor = find(name);
  if (tensor == nullptr || tensor->view.dtype != DType::kF32) {
    ADD_FAILURE() << "no f32 tensor " << name;
    return {};
  }
  return {reinterpret_cast<const float*>(tensor->view.data),
          static_cast<size_t>(tensor->view.num_elements())};
}

std::span<const int32_t> ExpectedFile::i32(const std::string& name) const {
  const FileTensor* tensor = find(name);
  if (tensor == nullptr || tensor->view.dtype != DType::kI32) {
    ADD_FAILURE() << "no i32 tensor " << name;
    return {};
  }
  return {reinterpret_cast<const int32_t*>(tensor->view.data),
          static_cast<size_t>(tensor->view.num_elements())};
}

Json read_json(const std::string& path) {
  auto file = MmapFile::open(path);
  if (!file) {
    ADD_FAILURE() << file.error().message;
    return {};
  }
  const auto bytes = file->bytes();
  auto json = Json::parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!json) {
    ADD_FAILURE() << path << ": " << json.error().message;
    return {};
  }
  return std::move(*json);
}

bool file_exists(const std::string& path) {
  struct stat info = {};
  return ::stat(path.c_str(), &info) == 0;
}

std::vector<std::string> subfolders(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

double ModelCase::logits_std() const {
  const Json meta = read_json(folder + "/meta.json");
  const Json* value = meta.find("logits_std");
  EXPECT_NE(value, nullptr) << folder;
  return value != nullptr ? value->as_double().value_or(0.0) : 0.0;
}

std::vector<ModelCase> model_cases() {
  std::vector<ModelCase> cases;
  std::vector<std::string> roots = {source_dir() + "/tests/fixtures/models"};
  if (const auto shared = shared_dir()) roots.insert(roots.begin(), *shared + "/golden/models");
  std::vector<std::string> gguf_folders = {source_dir() + "/tests/fixtures/gguf"};
  if (const char* made = std::getenv("RUVLLM_GOLDEN_GGUF")) gguf_folders.emplace_back(made);
  for (const std::string& root : roots) {
    for (const std::string& name : subfolders(root)) {
      if (!file_exists(concat(root, "/", name, "/expected.safetensors"))) continue;
      const std::string folder = concat(root, "/", name);
      for (const bool reference : {true, false}) {
        cases.push_back({folder, folder, name, reference});
        for (const std::string& from : gguf_folders) {
          const std::string gguf = concat(from, "/", name, ".gguf");
          if (file_exists(gguf)) cases.push_back({gguf, folder, name + "_gguf", reference});
        }
      }
    }
  }
  return cases;
}

std::shared_ptr<Checkpoint> open_model(const std::string& path) {
  auto checkpoint = open_checkpoint(path);
  if (!checkpoint) {
    ADD_FAILURE() << checkpoint.error().message;
    return nullptr;
  }
  return std::move(*checkpoint);
}

std::unique_ptr<ModelRunner> load_runner(std::shared_ptr<const Checkpoint> checkpoint,
                                         const RunnerOptions& options) {
  if (checkpoint == nullptr) return nullptr;
  auto runner = ModelRunner::load(std::move(checkpoint), options);
  if (!runner) {
    ADD_FAILURE() << runner.error().message;
    return nullptr;
  }
  return std::move(*runner);
}

RunnerOptions exact_options(bool reference_ops) {
  RunnerOptions options;
  options.compute = ComputeType::kF32;
  options.reference_ops = reference_ops;
  options.threads = 1;  // tiny models: a second thread only waits
  return options;
}

Sequence::Sequence(ModelRunner& runner, int64_t total_tokens, int32_t first_block)
    : runner_(runner), regime_(runner.rope_regime(total_tokens)) {
  const int64_t page = runner.kv_block_tokens();
  const auto count = static_cast<int32_t>((total_tokens + page - 1) / page);
  const Status reserved = runner.reserve_kv_blocks(first_block + count);
  EXPECT_TRUE(reserved) << reserved.error().message;
  // Last to first, the even ones before the odd ones.
  for (int32_t parity : {0, 1}) {
    for (int32_t b = count - 1; b >= 0; --b) {
      if (b % 2 == parity) blocks_.push_back(first_block + b);
    }
  }
}

Rows Sequence::feed(std::span<const int32_t> ids, int64_t chunk, Rows* hidden) {
  Rows result;
  result.cols = runner_.config().vocab_size;
  if (hidden != nullptr) hidden->cols = runner_.config().hidden_size;
  chunk = std::min(chunk, runner_.max_step_rows());
  while (!ids.empty()) {
    const auto part = ids.first(std::min(ids.size(), static_cast<size_t>(chunk)));
    ids = ids.subspan(part.size());
    const SequenceSpan span{0, static_cast<int64_t>(part.size()), length_, blocks_};
    std::vector<int32_t> rows(part.size());
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int32_t>(i);
    ForwardBatch batch;
    batch.ids = part;
    batch.sequences = {&span, 1};
    batch.rope_regimes = {&regime_, 1};
    batch.output_rows = rows;
    batch.want_hidden = hidden != nullptr;
    const ForwardOutput output = runner_.forward(batch);
    for (int64_t r = 0; r < output.logits.rows; ++r) {
      const float* row = output.logits.row(r);
      result.values.insert(result.values.end(), row, row + output.logits.cols);
      if (hidden == nullptr) continue;
      const float* state = output.hidden.row(r);
      hidden->values.insert(hidden->values.end(), state, state + output.hidden.cols);
    }
    length_ += span.num_tokens;
  }
  return result;
}

int32_t argmax(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

double log_probability(std::span<const float> logits, int32_t id) {
  const double highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - highest);
  return static_cast<double>(logits[static_cast<size_t>(id)]) - highest - std::log(sum);
}

double standard_deviation(std::span<const float> values) {
  double mean = 0.0;
  for (const float value : values) mean += value;
  mean /= static_cast<double>(values.size());
  double sum = 0.0;
  for (const float value : values) sum += (value - mean) * (value - mean);
  return std::sqrt(sum / static_cast<double>(values.size()));
}

double largest_difference(std::span<const float> a, std::span<const float> b) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (a.size() != b.size()) return kInfinity;
  double largest = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (std::isnan(difference)) return kInfinity;
    largest = std::max(largest, difference);
  }
  return largest;
}

}  // namespace ruvllm::test
