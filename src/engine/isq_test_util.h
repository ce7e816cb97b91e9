// What the tests of --isq share: the demo model's logits on fixed ids in the exact mode.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "engine/edge_model.h"
#include "engine/isq_loader.h"

namespace ruvllm {

// [tokens, V]
inline std::vector<float> logits_of(EdgeModel& model, const std::vector<int32_t>& ids) {
  const auto vocab = static_cast<size_t>(model.parts.runner->config().vocab_size);
  std::vector<float> out;
  EXPECT_TRUE(model.session.score(ids, {}, [&](const ScoredRow& row) {
    out.insert(out.end(), row.logits, row.logits + vocab);
  }));
  return out;
}

inline std::vector<float> logits_of(Result<ModelParts> parts, const std::vector<int32_t>& ids) {
  EXPECT_TRUE(parts) << (parts ? "" : parts.error().message);
  if (!parts) return {};
  EdgeModel model(std::move(*parts));
  return logits_of(model, ids);
}

inline std::vector<float> logits_of(const std::string& path, const LoadOptions& options,
                                    const std::vector<int32_t>& ids) {
  return logits_of(load_model_parts(path, options), ids);
}

inline std::vector<float> logits_of(std::shared_ptr<const Checkpoint> checkpoint,
                                    const LoadOptions& options, const std::vector<int32_t>& ids) {
  return logits_of(load_model_parts("same", std::move(checkpoint), options), ids);
}

class Isq : public testing::Test {
 protected:
  void SetUp() override {
    const auto path = resolve_model("demo", /*offline=*/true);
    if (!path) GTEST_SKIP() << "no demo model";
    path_ = *path;
    for (int32_t i = 0; i < 96; ++i) ids_.push_back((i * 37 + 11) % 1000);
  }

  std::vector<float> logits(const std::string& path, const LoadOptions& options) {
    return logits_of(path, options, ids_);
  }

  static LoadOptions exact(const std::string& isq) {
    LoadOptions options;
    options.compute = ComputeType::kF32;
    options.threads = 1;
    options.isq = isq;
    options.calibration_samples = 1;
    return options;
  }

  // --isq as `ruvllm quantize` does it.
  static Result<std::shared_ptr<const Checkpoint>> quantized(const std::string& path,
                                                             const LoadOptions& options,
                                                             const IsqRun& run = {},
                                                             IsqSummary* summary = nullptr) {
    RUVLLM_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint, open_checkpoint(path));
    RUVLLM_ASSIGN(const TextParts text, load_text_parts(path));
    const Result<const Tokenizer*> tokenizer = text.tokenizer.get();
    return quantize_checkpoint(std::move(checkpoint), tokenizer, options, run, summary);
  }

  struct Quantized {
    std::shared_ptr<const Checkpoint> checkpoint;  // null, a failure noted: it cannot be made
    IsqSummary summary;
  };
  // The demo model by exact(isq), made once per process: for tests of what becomes of it.
  const Quantized& demo_by(const std::string& isq) {
    static std::map<std::string, Quantized> made;
    Quantized& entry = made[isq];
    if (entry.checkpoint != nullptr) return entry;
    auto now = quantized(path_, exact(isq), {}, &entry.summary);
    EXPECT_TRUE(now) << isq << ": " << (now ? "" : now.error().message);
    if (now) entry.checkpoint = *std::move(now);
    return entry;
  }

  // Of the model itself, computed once per process.
  const std::vector<float>& plain_logits() {
    static const std::vector<float> plain = logits(path_, exact(""));
    return plain;
  }

  std::string path_;
  std::vector<int32_t> ids_;
};

inline double relative_rms(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0.0, whole = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double{a[i]} - double{b[i]}, 2);
    whole += std::pow(double{b[i]}, 2);
  }
  return std::sqrt(difference / whole);
}

}  // namespace ruvllm
