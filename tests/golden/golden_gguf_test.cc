// Models from GGUF: one layer of every block format (gguf_blocks), and the trained stories260K in
// all its files, against values computed with weights dequantized to f32.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/str.h"
#include "base/test_util.h"
#include "golden_util.h"

namespace ruvllm::test {
namespace {

constexpr double kTolerance = 5e-5;  // of the logits' standard deviation

// --- gguf_blocks
// ----------------------------------------------------------------------------------

class BlockFormatModel : public testing::TestWithParam<std::pair<std::string, bool>> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(BlockFormatModel);

std::vector<std::pair<std::string, bool>> block_cases() {
  std::vector<std::pair<std::string, bool>> cases;
  const auto shared = shared_dir();
  if (!shared) return cases;
  const Json meta = read_json(*shared + "/golden/gguf_blocks/meta.json");
  if (meta.as_object() == nullptr) return cases;
  for (const JsonMember& member : *meta.as_object()) {
    if (!member.key.ends_with(".gguf")) continue;
    for (const bool reference : {true, false}) cases.emplace_back(member.key, reference);
  }
  return cases;
}

TEST_P(BlockFormatModel, LogitsInExactMode) {
  const auto& [file, reference] = GetParam();
  const std::string folder = *shared_dir() + "/golden/gguf_blocks";
  const ExpectedFile expected(folder + "/expected.safetensors");
  const auto runner = load_runner(open_model(folder + "/" + file), exact_options(reference));
  ASSERT_NE(runner, nullptr);
  const auto ids = expected.i32(file + ".ids");
  const auto want = expected.f32(file + ".logits");
  const Rows got = Sequence(*runner, static_cast<int64_t>(ids.size())).feed(ids, 256);
  EXPECT_LE(largest_difference(got.values, want), kTolerance * standard_deviation(want));
}

// Fast mode (int8 activations for integer weights) may move logits, not turn them around: the
// root-mean-square error stays a small part of their standard deviation.
TEST_P(BlockFormatModel, LogitsInFastMode) {
  const auto& [file, reference] = GetParam();
  const std::string folder = *shared_dir() + "/golden/gguf_blocks";
  const ExpectedFile expected(folder + "/expected.safetensors");
  RunnerOptions options = exact_options(reference);
  options.compute = ComputeType::kAuto;
  const auto runner = load_runner(open_model(folder + "/" + file), options);
  ASSERT_NE(runner, nullptr);
  const auto ids = expected.i32(file + ".ids");
  const auto want = expected.f32(file + ".logits");
  const Rows got = Sequence(*runner, static_cast<int64_t>(ids.size())).feed(ids, 256);
  ASSERT_EQ(got.values.size(), want.size());
  std::vector<float> errors(want.size());
  for (size_t i = 0; i < want.size(); ++i) errors[i] = got.values[i] - want[i];
  EXPECT_LE(standard_deviation(errors), 0.05 * standard_deviation(want));
}

INSTANTIATE_TEST_SUITE_P(All, BlockFormatModel, testing::ValuesIn(block_cases()),
                         [](const auto& info) {
                           std::string name = info.param.first;
                           for (char& c : name) c = c == '-' || c == '.' ? '_' : c;
                           return name + (info.param.second ? "_reference" : "_cpu");
                         });

// --- stories260K
// ------------------------------------------------------------------------------------

struct StoriesCase {
  std::string file;    // below golden/stories260K
  std::string prefix;  // of the expected tensors; "" for the Hugging Face form
  bool reference_ops = false;
};

std::vector<StoriesCase> stories_cases() {
  std::vector<StoriesCase> cases;
  if (!shared_dir()) return cases;
  for (const bool reference : {true, false}) {
    cases.push_back({"hf", "", reference});
    for (const char* type : {"f32", "f16", "q8_0", "q4_0"}) {
      cases.push_back({concat("stories260K-", type, ".gguf"), concat(type, "_"), reference});
    }
  }
  return cases;
}

class Stories : public testing::TestWithParam<StoriesCase> {
 protected:
  std::string folder() const { return *shared_dir() + "/golden/stories260K"; }
  std::unique_ptr<ModelRunner> load() const {
    return load_runner(open_model(folder() + "/" + GetParam().file),
                       exact_options(GetParam().reference_ops));
  }
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Stories);

TEST_P(Stories, PerplexityLogprobsAndLastLogits) {
  const ExpectedFile expected(folder() + "/expected.safetensors");
  const Json meta = read_json(folder() + "/meta.json");
  const auto runner = load();
  ASSERT_NE(runner, nullptr);
  const auto ids = expected.i32("ppl_ids");
  const auto want = expected.f32(GetParam().prefix + "ppl_logprobs");
  const auto last = expected.f32(GetParam().prefix + "ppl_logits_last4");
  const Rows logits = Sequence(*runner, static_cast<int64_t>(ids.size())).feed(ids, 64);
  double total = 0.0;
  for (size_t t = 0; t + 1 < ids.size(); ++t) {
    const double logprob = log_probability(logits.row(static_cast<int64_t>(t)), ids[t + 1]);
    EXPECT_NEAR(logprob, want[t], 2e-4) << t;
    total += logprob;
  }
  EXPECT_LE(largest_difference(std::span(logits.values).last(last.size()), last),
            kTolerance * standard_deviation(last));
  const double perplexity = std::exp(-total / static_cast<double>(ids.size() - 1));
  const Json* published =
      GetParam().prefix.empty()
          ? meta.find("perplexity")->find("perplexity")
          : meta.find("gguf")->find(GetParam().file)->find("perplexity_on_text");
  EXPECT_NEAR(perplexity, published->as_double().value(), 1e-4);
}

void expect_greedy(ModelRunner& runner, std::span<const int32_t> prompt,
                   std::span<const int32_t> want) {
  Sequence sequence(runner, static_cast<int64_t>(prompt.size() + want.size()));
  Rows logits = sequence.feed(prompt, 256);
  for (size_t t = 0; t < want.size(); ++t) {
    const int32_t token = argmax(logits.row(logits.count() - 1));
    ASSERT_EQ(token, want[t]) << "step " << t;
    logits = sequence.feed({&token, 1}, 1);
  }
}

TEST_P(Stories, GreedyContinuations) {
  const ExpectedFile expected(folder() + "/expected.safetensors");
  const auto runner = load();
  ASSERT_NE(runner, nullptr);
  const std::string& prefix = GetParam().prefix;
  if (!prefix.empty()) {
    expect_greedy(*runner, expected.i32("gen1_prompt"), expected.i32(prefix + "gen_ids"));
  }
  if (!prefix.empty() && prefix != "f32_") return;
  const Json meta = read_json(folder() + "/meta.json");
  const Json::Array& generations = *meta.find("generations")->as_array();
  ASSERT_EQ(generations.size(), 5u);
  for (size_t g = 0; g < generations.size(); ++g) {
    const auto exact = static_cast<size_t>(
        generations[g].find("tokens_before_a_gap_under_1e_3")->as_int64().value());
    expect_greedy(*runner, expected.i32(concat("gen", g, "_prompt")),
                  expected.i32(concat("gen", g, "_ids")).first(exact));
  }
}

INSTANTIATE_TEST_SUITE_P(All, Stories, testing::ValuesIn(stories_cases()), [](const auto& info) {
  return (info.param.prefix.empty() ? std::string("hf_") : "gguf_" + info.param.prefix) +
         (info.param.reference_ops ? "reference" : "cpu");
});

}  // namespace
}  // namespace ruvllm::test
