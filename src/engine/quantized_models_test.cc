// Models that others quantized, whole: logits in the exact mode against the reference's, on both
// devices, and the fast mode near them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/mmap_file.h"
#include "base/test_util.h"
#include "engine/isq_test_util.h"
#include "formats/safetensors.h"

namespace ruvllm {
namespace {

namespace fs = std::filesystem;

struct Expected {
  std::vector<std::vector<int32_t>> ids;
  std::vector<float> logits;  // [sequences, T, V]
};

Expected read_expected(const std::string& path) {
  Expected out;
  const auto file = MmapFile::open(path);
  const auto tensors = parse_safetensors(file->bytes(), path);
  for (const FileTensor& tensor : *tensors) {
    if (tensor.name == "input_ids") {
      for (int64_t s = 0; s < tensor.view.dim(0); ++s) {
        out.ids.emplace_back();
        for (int64_t t = 0; t < tensor.view.dim(1); ++t) {
          int64_t id = 0;
          std::memcpy(&id, tensor.view.data + 8 * (s * tensor.view.dim(1) + t), 8);
          out.ids.back().push_back(static_cast<int32_t>(id));
        }
      }
    } else if (tensor.name == "logits") {
      out.logits.resize(static_cast<size_t>(tensor.view.num_elements()));
      std::memcpy(out.logits.data(), tensor.view.data, out.logits.size() * 4);
    }
  }
  return out;
}

std::vector<float> run(const std::string& path, const Expected& expected,
                       const LoadOptions& options) {
  auto parts = load_model_parts(path, options, {});
  EXPECT_TRUE(parts) << (parts ? "" : parts.error().message);
  if (!parts) return {};
  EdgeModel model(std::move(*parts));
  std::vector<float> logits;
  for (const std::vector<int32_t>& ids : expected.ids) {
    const std::vector<float> rows = logits_of(model, ids);
    logits.insert(logits.end(), rows.begin(), rows.end());
  }
  return logits;
}

double rms(const std::vector<float>& a, const std::vector<float>* b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = double{a[i]} - (b != nullptr ? double{(*b)[i]} : 0.0);
    sum += d * d;
  }
  return std::sqrt(sum / static_cast<double>(a.size()));
}

TEST(QuantizedModels, GoldenLogits) {
  const auto shared = test::shared_dir();
  if (!shared || !fs::exists(*shared + "/golden_quant")) GTEST_SKIP() << "no reference data";
  int cases = 0;
  for (const auto& entry : fs::directory_iterator(*shared + "/golden_quant")) {
    if (!fs::exists(entry.path() / "expected.safetensors")) continue;
    SCOPED_TRACE(entry.path().filename().string());
    const Expected expected = read_expected((entry.path() / "expected.safetensors").string());
    LoadOptions exact;
    exact.compute = ComputeType::kF32;
    exact.threads = 1;
    const std::vector<float> logits = run(entry.path().string(), expected, exact);
    ASSERT_EQ(logits.size(), expected.logits.size());
    float worst = 0.0f;
    for (size_t i = 0; i < logits.size(); ++i) {
      worst = std::max(worst, std::abs(logits[i] - expected.logits[i]));
    }
    EXPECT_LE(worst, 2e-4f);
    LoadOptions fast;
    fast.threads = 1;
    const std::vector<float> quick = run(entry.path().string(), expected, fast);
    ASSERT_EQ(quick.size(), expected.logits.size());
    EXPECT_LE(rms(quick, &expected.logits), 0.05 * rms(expected.logits, nullptr));
    ++cases;
  }
  EXPECT_GE(cases, 18);
}

}  // namespace
}  // namespace ruvllm
