// Every model with expected values, from safetensors: the golden ones (transformers 5.23, f32
// eager) and the families made by tools/reference/make_model_goldens.py (tests/fixtures/models), on
// the reference device and on the CPU device. The same from GGUF files that llama.cpp's converter
// wrote: tests/fixtures/gguf, and a folder named by RUVLLM_GOLDEN_GGUF (scripts/test-long
// gguf-goldens makes one of the golden models).
#include <gtest/gtest.h>

#include <algorithm>

#include "base/str.h"
#include "golden_util.h"

namespace ruvllm::test {
namespace {

std::string case_name(const testing::TestParamInfo<ModelCase>& info) {
  return info.param.name + (info.param.reference_ops ? "_reference" : "_cpu");
}

class GoldenModel : public testing::TestWithParam<ModelCase> {
 protected:
  std::unique_ptr<ModelRunner> load(int32_t page = 64) {
    RunnerOptions options = exact_options(GetParam().reference_ops);
    options.kv_block_tokens = page;
    return load_runner(open_model(GetParam().model), options);
  }
  double logits_std() const { return GetParam().logits_std(); }
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(GoldenModel);

TEST_P(GoldenModel, LogitsLogprobsAndHidden) {
  const ExpectedFile expected(GetParam().folder + "/expected.safetensors");
  const auto runner = load();
  ASSERT_NE(runner, nullptr);
  const double tolerance = kTolerance * logits_std();
  ASSERT_GT(tolerance, 0.0);
  double worst = 0.0;
  for (int i = 0; i < 3; ++i) {
    const auto ids = expected.i32(concat("ids_", i));
    Sequence sequence(*runner, static_cast<int64_t>(ids.size()));
    Rows hidden;
    const Rows logits = sequence.feed(ids, 256, &hidden);
    const auto want = expected.f32(concat("logits_", i));
    ASSERT_LE(want.size(), logits.values.size());
    const auto got = std::span(logits.values).last(want.size());
    const double difference = largest_difference(got, want);
    EXPECT_LE(difference, tolerance) << "logits of sequence " << i;
    worst = std::max(worst, difference);
    const auto logprobs = expected.f32(concat("logprobs_", i));
    ASSERT_EQ(logprobs.size() + 1, ids.size());
    for (size_t t = 0; t + 1 < ids.size(); ++t) {
      EXPECT_NEAR(log_probability(logits.row(static_cast<int64_t>(t)), ids[t + 1]), logprobs[t],
                  kLogprobTolerance)
          << "sequence " << i << " token " << t;
    }
    if (i != 1) continue;
    const auto states = expected.f32("hidden_1");
    EXPECT_LE(largest_difference(hidden.values, states), kTolerance * standard_deviation(states));
  }
  RecordProperty("worst_logit_difference_in_std", concat(worst / logits_std()));
}

TEST_P(GoldenModel, GreedyWithKvCache) {
  const ExpectedFile expected(GetParam().folder + "/expected.safetensors");
  const auto runner = load();
  ASSERT_NE(runner, nullptr);
  for (int i = 0; i < 3; ++i) {
    const auto prompt = expected.i32(concat("ids_", i));
    const auto want = expected.i32(concat("greedy_", i));
    const auto want_logprobs = expected.f32(concat("greedy_logprobs_", i));
    Sequence sequence(*runner, static_cast<int64_t>(prompt.size() + want.size()));
    Rows logits = sequence.feed(prompt, 256);
    for (size_t t = 0; t < want.size(); ++t) {
      const auto row = logits.row(logits.count() - 1);
      const int32_t token = argmax(row);
      ASSERT_EQ(token, want[t]) << "sequence " << i << " step " << t;
      EXPECT_NEAR(log_probability(row, token), want_logprobs[t], kLogprobTolerance);
      logits = sequence.feed({&token, 1}, 1);
    }
  }
}

// Chunking, page size and neighbours in the batch must not change a single bit.
TEST_P(GoldenModel, SameBitsInAnyChunkingAndPageSize) {
  const ExpectedFile expected(GetParam().folder + "/expected.safetensors");
  const auto ids = expected.i32("ids_2");
  const auto whole_runner = load();
  ASSERT_NE(whole_runner, nullptr);
  const auto length = static_cast<int64_t>(ids.size());
  const Rows whole = Sequence(*whole_runner, length).feed(ids, 256);
  for (const int32_t page : {16, 64, 128}) {
    const auto runner = load(page);
    ASSERT_NE(runner, nullptr);
    for (const int64_t chunk : {1, 7, 64}) {
      const Rows parts = Sequence(*runner, length).feed(ids, chunk);
      EXPECT_EQ(largest_difference(parts.values, whole.values), 0.0)
          << "page " << page << " chunk " << chunk;
    }
  }
}

TEST_P(GoldenModel, SameBitsBesideOtherSequences) {
  const ExpectedFile expected(GetParam().folder + "/expected.safetensors");
  const auto runner = load(16);
  ASSERT_NE(runner, nullptr);
  const auto long_ids = expected.i32("ids_2");
  const auto short_ids = expected.i32("ids_1");
  const auto long_length = static_cast<int64_t>(long_ids.size());
  const auto short_length = static_cast<int64_t>(short_ids.size());
  const Rows long_alone = Sequence(*runner, long_length).feed(long_ids, 256);
  const Rows short_alone = Sequence(*runner, short_length).feed(short_ids, 256);

  Sequence first(*runner, short_length, 0);
  Sequence second(*runner, long_length, 4);
  const SequenceSpan spans[] = {{0, short_length, 0, first.blocks()},
                                {short_length, long_length, 0, second.blocks()}};
  const uint8_t regimes[] = {first.regime(), second.regime()};
  std::vector<int32_t> ids(short_ids.begin(), short_ids.end());
  ids.insert(ids.end(), long_ids.begin(), long_ids.end());
  const int32_t rows[] = {static_cast<int32_t>(short_length - 1),
                          static_cast<int32_t>(short_length + long_length - 1)};
  ForwardBatch batch;
  batch.ids = ids;
  batch.sequences = spans;
  batch.rope_regimes = regimes;
  batch.output_rows = rows;
  const ForwardOutput output = runner->forward(batch);
  const auto vocab = static_cast<size_t>(output.logits.cols);
  EXPECT_EQ(
      largest_difference({output.logits.row(0), vocab}, short_alone.row(short_alone.count() - 1)),
      0.0);
  EXPECT_EQ(
      largest_difference({output.logits.row(1), vocab}, long_alone.row(long_alone.count() - 1)),
      0.0);
}

TEST_P(GoldenModel, SameBitsWithMoreThreads) {
  const ExpectedFile expected(GetParam().folder + "/expected.safetensors");
  const auto ids = expected.i32("ids_1");
  std::vector<Rows> results;
  for (const int32_t threads : {1, 3}) {
    RunnerOptions options = exact_options(GetParam().reference_ops);
    options.threads = threads;
    const auto runner = load_runner(open_model(GetParam().model), options);
    ASSERT_NE(runner, nullptr);
    results.push_back(Sequence(*runner, static_cast<int64_t>(ids.size())).feed(ids, 9));
  }
  EXPECT_EQ(largest_difference(results[0].values, results[1].values), 0.0);
}

// The fast mode (bf16 KV cache, the device's own products) stays close by rank: the expected next
// token is among the best few nearly always.
TEST_P(GoldenModel, FastModeAgreesByRank) {
  const ExpectedFile expected(GetParam().folder + "/expected.safetensors");
  RunnerOptions options = exact_options(GetParam().reference_ops);
  options.compute = ComputeType::kAuto;
  const auto runner = load_runner(open_model(GetParam().model), options);
  ASSERT_NE(runner, nullptr);
  const auto ids = expected.i32("ids_1");
  const auto want = expected.f32("logits_1");
  const Rows got = Sequence(*runner, static_cast<int64_t>(ids.size())).feed(ids, 256);
  ASSERT_EQ(got.values.size(), want.size());
  int among_best = 0;
  for (int64_t t = 0; t < got.count(); ++t) {
    const auto exact =
        want.subspan(static_cast<size_t>(t * got.cols), static_cast<size_t>(got.cols));
    const float value = got.row(t)[static_cast<size_t>(argmax(exact))];
    int better = 0;
    for (const float logit : got.row(t)) better += logit > value ? 1 : 0;
    among_best += better < 5 ? 1 : 0;
  }
  EXPECT_GE(among_best, static_cast<int>(got.count()) - 2) << "of " << got.count();
}

INSTANTIATE_TEST_SUITE_P(All, GoldenModel, testing::ValuesIn(model_cases()), case_name);

// --- the tests above can fail: a feature left out moves the logits as far as meta.json says
// --------

struct Dropped {
  const char* model;
  const char* feature;  // its name in meta.json
  void (*drop)(ModelConfig&);
};

void drop_window(ModelConfig& config) {
  for (LayerConfig& layer : config.layers) layer.window = 0;
}
void drop_scaling(ModelConfig& config) {
  config.rope.scaling = RopeScaling::kNone;
  config.rope.attention_factor = 1.0;
}

// The folder of a golden or fixture model; "" when it is not on this machine.
std::string find_model(const std::string& name) {
  for (const ModelCase& model : model_cases()) {
    if (model.name == name) return model.folder;
  }
  return "";
}

class FeatureDropped : public testing::TestWithParam<Dropped> {};

TEST_P(FeatureDropped, MovesLogitsAsExpected) {
  const std::string folder = find_model(GetParam().model);
  if (folder.empty()) GTEST_SKIP() << "the golden data is not on this machine";
  const auto checkpoint = open_model(folder);
  ASSERT_NE(checkpoint, nullptr);
  GetParam().drop(checkpoint->config);
  const auto runner = load_runner(checkpoint, exact_options(true));
  ASSERT_NE(runner, nullptr);
  const ExpectedFile expected(folder + "/expected.safetensors");
  const Json meta = read_json(folder + "/meta.json");
  const Json* all = meta.find("max_abs_logit_change_if_feature_dropped_per_sequence");
  ASSERT_NE(all, nullptr);
  const Json* changes = all->find(GetParam().feature);
  ASSERT_NE(changes, nullptr);
  for (int i = 0; i < 3; ++i) {
    const auto ids = expected.i32(concat("ids_", i));
    const Rows logits = Sequence(*runner, static_cast<int64_t>(ids.size())).feed(ids, 256);
    const auto all_rows = expected.f32(concat("logits_", i));
    // The published change is the largest of the last four positions.
    const auto want =
        all_rows.last(std::min(all_rows.size(), static_cast<size_t>(4 * logits.cols)));
    const double moved = largest_difference(std::span(logits.values).last(want.size()), want);
    const double published = (*changes->as_array())[static_cast<size_t>(i)].as_double().value();
    EXPECT_NEAR(moved, published, 2e-4) << "sequence " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, FeatureDropped,
    testing::Values(
        Dropped{"gemma2", "no_window", drop_window},
        Dropped{"gemma2", "no_attn_softcap", [](ModelConfig& c) { c.attention_softcap = 0.0f; }},
        Dropped{"gemma2", "no_final_softcap", [](ModelConfig& c) { c.logit_softcap = 0.0f; }},
        Dropped{"gemma2", "query_pre_attn_scalar_32",
                [](ModelConfig& c) { c.attention_scale = 0.17677669529663687f; }},
        Dropped{"llama_rope_linear", "no_rope_scaling", drop_scaling},
        Dropped{"llama_rope_llama3", "no_rope_scaling", drop_scaling},
        Dropped{"llama_rope_yarn", "no_rope_scaling", drop_scaling},
        Dropped{"phi3_longrope", "no_rope_scaling", drop_scaling},
        Dropped{"mistral_swa", "no_window", drop_window}, Dropped{"phi3", "no_window", drop_window},
        Dropped{"qwen2_swa_mixed", "no_window", drop_window},
        Dropped{"starcoder2", "no_window", drop_window},
        Dropped{"mixtral_window", "no_window", drop_window},
        Dropped{"qwen3_moe", "no_norm_topk_prob", [](ModelConfig& c) { c.norm_topk_prob = false; }},
        Dropped{"granite", "embedding_multiplier_1",
                [](ModelConfig& c) { c.embedding_scale = 1.0f; }},
        Dropped{"granite", "residual_multiplier_1",
                [](ModelConfig& c) { c.residual_scale = 1.0f; }},
        Dropped{"granite", "attention_multiplier_default",
                [](ModelConfig& c) { c.attention_scale = 0.35355339059327373f; }},
        Dropped{"granite", "logits_scaling_1", [](ModelConfig& c) { c.logit_scale = 1.0f; }},
        Dropped{"smollm3", "rope_in_every_layer",
                [](ModelConfig& c) {
                  for (LayerConfig& layer : c.layers) layer.use_rope = true;
                }}),
    [](const testing::TestParamInfo<Dropped>& info) {
      return std::string(info.param.model) + "_" + info.param.feature;
    });

}  // namespace
}  // namespace ruvllm::test
