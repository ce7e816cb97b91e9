#include "model/decoder.h"

#include <gtest/gtest.h>

#include "base/count_allocations.h"
#include "model/model_test_util.h"

namespace ruvllm::test {
namespace {

struct Runner {
  explicit Runner(const ModelConfig& model, std::unique_ptr<Ops> device)
      : config(model), ops(std::move(device)) {
    add_llama(set, config, "model.");
    auto loaded = load(set, config, *ops, NameStyle::kHuggingFace, ComputeType::kAuto);
    EXPECT_TRUE(loaded.has_value());
    weights = std::move(*loaded);
    auto storage = KvStorage::make(config, DType::kBF16, 16);
    EXPECT_TRUE(storage.has_value() && storage->reserve(8));
    kv = std::make_unique<KvStorage>(std::move(*storage));
    decoder = std::make_unique<TransformerDecoder>(config, weights, *ops, 32);
    ops->reserve({32, decoder->widest_row(), 128});
  }
  float step(std::span<const int32_t> ids, int64_t position) {
    const int32_t rows[] = {static_cast<int32_t>(ids.size()) - 1};
    const SequenceSpan span{0, static_cast<int64_t>(ids.size()), position, table};
    ForwardBatch batch;
    batch.ids = ids;
    batch.sequences = {&span, 1};
    batch.output_rows = rows;
    return decoder->forward(batch, *kv).logits.row(0)[0];
  }

  ModelConfig config;
  std::unique_ptr<Ops> ops;
  TensorSet set;
  ModelWeights weights;
  std::unique_ptr<KvStorage> kv;
  std::unique_ptr<TransformerDecoder> decoder;
  std::vector<int32_t> table = {7, 6, 5, 4, 3, 2, 1, 0};
};

#ifdef RUVLLM_COUNT_ALLOCATIONS
TEST(TransformerDecoder, StepsAllocateNothing) {
  for (const bool reference : {true, false}) {
    auto cpu = make_cpu_ops(2);
    ASSERT_TRUE(cpu.has_value());
    Runner runner(tiny_config(), reference ? make_reference_ops() : std::move(*cpu));
    std::vector<int32_t> ids(32, 3);
    runner.step(ids, 0);  // scratch that grows on first use
    runner.step({ids.data(), 1}, 32);
    const int64_t before = num_allocations;
    for (int64_t position = 33; position < 64; ++position) {
      runner.step({ids.data(), 1}, position);
    }
    EXPECT_EQ(num_allocations - before, 0) << (reference ? "reference" : "cpu") << " decode";
    const int64_t before_prompt = num_allocations;
    runner.step(ids, 64);
    // The reference device's scratch for attention grows with the prompt.
    EXPECT_TRUE(reference || num_allocations == before_prompt);
  }
}
#endif

TEST(TransformerDecoder, NoOutputRowsStillFillsTheCache) {
  Runner runner(tiny_config(), make_reference_ops());
  const int32_t ids[] = {1, 2, 3, 4};
  const float whole = runner.step(ids, 0);
  Runner other(tiny_config(), make_reference_ops());
  const SequenceSpan span{0, 3, 0, other.table};
  ForwardBatch batch;
  batch.ids = {ids, 3};
  batch.sequences = {&span, 1};
  const ForwardOutput nothing = other.decoder->forward(batch, *other.kv);
  EXPECT_TRUE(nothing.logits.empty());
  EXPECT_TRUE(nothing.hidden.empty());
  EXPECT_EQ(other.step({ids + 3, 1}, 3), whole);
}

}  // namespace
}  // namespace ruvllm::test
