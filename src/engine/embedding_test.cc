// Embeddings against the hidden states that transformers computed for the golden models.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/mmap_file.h"
#include "base/str.h"
#include "base/test_util.h"
#include "engine/edge_backend.h"
#include "engine/fake_model.h"
#include "formats/safetensors.h"

namespace ruvllm {
namespace {

// The golden models have no tokenizer: here a text is a list of ids in decimal.
class DecimalTokenizer final : public Tokenizer {
 public:
  Result<std::vector<int32_t>> encode(std::string_view text, bool) const override {
    std::vector<int32_t> ids;
    while (!text.empty()) {
      const size_t end = std::min(text.find(' '), text.size());
      if (!parse_number(text.substr(0, end), ids.emplace_back())) {
        return fail(ErrorCode::kInvalidArgument, "not a number");
      }
      text.remove_prefix(std::min(end + 1, text.size()));
    }
    return ids;
  }
  std::string decode(const std::vector<int32_t>&, bool) const override { return {}; }
  int32_t vocab_size() const override { return 0; }
};

struct Expected {
  std::string text;
  std::vector<double> mean;
};

// Sequence 1 of the model's reference data: its ids, and the mean of its final hidden states.
Expected read_expected(const std::string& folder) {
  const auto file = MmapFile::open(folder + "/expected.safetensors");
  if (!file) return {};
  const auto tensors = parse_safetensors(file->bytes(), folder);
  if (!tensors) return {};
  Expected expected;
  for (const FileTensor& tensor : *tensors) {
    if (tensor.name == "ids_1") {
      for (int64_t i = 0; i < tensor.view.num_elements(); ++i) {
        int32_t id = 0;
        std::memcpy(&id, tensor.view.data + i * 4, 4);
        expected.text += concat(i > 0 ? " " : "", id);
      }
    } else if (tensor.name == "hidden_1") {
      const int64_t columns = tensor.view.dim(1);
      expected.mean.assign(static_cast<size_t>(columns), 0.0);
      for (int64_t i = 0; i < tensor.view.num_elements(); ++i) {
        float value = 0.0f;
        std::memcpy(&value, tensor.view.data + i * 4, 4);
        expected.mean[static_cast<size_t>(i % columns)] += value;
      }
    }
  }
  return expected;
}

TEST(Embeddings, EqualTransformers) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no reference data on this machine";
  EdgeBackend backend(
      [](const std::string& path, const LoadOptions& options) -> Result<ModelParts> {
        RUVLLM_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint, open_checkpoint(path));
        RUVLLM_ASSIGN(ModelParts parts, load_model_parts(path, checkpoint, options));
        parts.tokenizer = std::make_unique<DecimalTokenizer>();
        return parts;
      },
      [](const Tokenizer&, bool) { return std::make_unique<test::ByteDecoder>(); });
  for (const char* name : {"llama_gqa", "qwen3", "gemma2", "phi", "gpt2", "mixtral"}) {
    const std::string folder = *shared + "/golden/models/" + name;
    const Expected expected = read_expected(folder);
    ASSERT_FALSE(expected.mean.empty()) << name;
    LoadOptions options;
    options.compute = ComputeType::kF32;
    const Status loaded = backend.load_model(folder, options);
    ASSERT_TRUE(loaded) << loaded.error().message;
    const auto found = backend.get_embeddings(expected.text);
    ASSERT_TRUE(found) << found.error().message;
    ASSERT_EQ(found->size(), expected.mean.size());
    double squares = 0.0;
    for (const double value : expected.mean) squares += value * value;
    for (size_t i = 0; i < found->size(); ++i) {
      EXPECT_NEAR((*found)[i], expected.mean[i] / std::sqrt(squares), 1e-5) << name << " " << i;
    }
  }
}

}  // namespace
}  // namespace ruvllm
