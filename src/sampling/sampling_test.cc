// The sampler against the reference distributions, an oracle that sorts everything, and statistics.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <new>
#include <set>

#include "base/json.h"
#include "base/mmap_file.h"
#include "base/rng.h"
#include "base/test_util.h"
#include "sampling/exp.h"
#include "sampling/sampler.h"

namespace {
std::atomic<int64_t> num_allocations{0};
}

// A sanitizer keeps its own operators: under it nothing is counted. Out of line, or g++ sees malloc
// and delete of one object and warns.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
__attribute__((noinline)) void* operator new(size_t size) {
  ++num_allocations;
  if (void* p = std::malloc(size != 0 ? size : 1)) return p;
  std::abort();
}
__attribute__((noinline)) void operator delete(void* p) noexcept {
  std::free(p);
}
__attribute__((noinline)) void operator delete(void* p, size_t) noexcept {
  std::free(p);
}
#endif

namespace ruvllm {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

GenerateParams neutral() {
  GenerateParams params;
  params.temperature = 1.0f;
  params.top_p = 1.0f;
  params.top_k = 0;
  params.repetition_penalty = 1.0f;
  return params;
}

std::vector<float> random_logits(int32_t vocab, uint64_t seed, double scale) {
  std::vector<float> logits(static_cast<size_t>(vocab));
  for (size_t i = 0; i < logits.size(); ++i) {
    double sum = -6.0;  // roughly normal
    for (uint64_t j = 0; j < 12; ++j) sum += random_uniform(seed, j, i);
    logits[i] = static_cast<float>(scale * sum);
  }
  return logits;
}

// The oracle: everything sorted, probabilities renormalized after every filter.
std::map<int32_t, double> oracle(const std::vector<float>& logits, const GenerateParams& params) {
  struct Entry {
    int32_t id;
    double p;
  };
  std::vector<Entry> entries;
  const double max = *std::max_element(logits.begin(), logits.end()) / params.temperature;
  for (size_t i = 0; i < logits.size(); ++i) {
    entries.push_back({static_cast<int32_t>(i),
                       std::exp(static_cast<double>(logits[i] / params.temperature) - max)});
  }
  const auto normalize = [&] {
    double sum = 0.0;
    for (const Entry& e : entries) sum += e.p;
    for (Entry& e : entries) e.p /= sum;
  };
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.p > b.p; });
  normalize();
  const auto k = static_cast<size_t>(params.top_k);
  if (k > 0 && k < entries.size()) {
    const double least = entries[k - 1].p;
    std::erase_if(entries, [&](const Entry& e) { return e.p < least; });
    normalize();
  }
  if (params.top_p < 1.0f) {
    double mass = 0.0;
    size_t count = 0;
    while (count < entries.size() && (count == 0 || mass < params.top_p))
      mass += entries[count++].p;
    entries.resize(count);
    normalize();
  }
  if (params.min_p > 0.0f) {
    const double least = params.min_p * entries.front().p;
    std::erase_if(entries, [&](const Entry& e) { return e.p < least; });
    normalize();
  }
  if (params.typical_p < 1.0f) {
    double entropy = 0.0;
    for (const Entry& e : entries) {
      if (e.p > 0.0) entropy -= e.p * std::log(e.p);
    }
    const auto distance = [&](const Entry& e) { return std::fabs(-std::log(e.p) - entropy); };
    std::sort(entries.begin(), entries.end(),
              [&](const Entry& a, const Entry& b) { return distance(a) < distance(b); });
    double mass = 0.0;
    size_t count = 0;
    while (count < entries.size() && (count == 0 || mass < params.typical_p)) {
      mass += entries[count++].p;
    }
    entries.resize(count);
    normalize();
  }
  std::map<int32_t, double> result;
  for (const Entry& e : entries) {
    if (e.p > 1e-250) result[e.id] = e.p;
  }
  return result;
}

std::map<int32_t, double> distribution(const Sampler& sampler) {
  double sum = 0.0;
  for (const Candidate& c : sampler.candidates()) sum += c.weight;
  std::map<int32_t, double> result;
  for (const Candidate& c : sampler.candidates()) result[c.id] = c.weight / sum;
  return result;
}

std::vector<int32_t> int_list(const Json* json) {
  std::vector<int32_t> out;
  for (const Json& value : *json->as_array())
    out.push_back(static_cast<int32_t>(*value.as_int64()));
  return out;
}

GenerateParams params_of(const Json& json) {
  GenerateParams params = neutral();
  for (const JsonMember& member : *json.as_object()) {
    const auto value = static_cast<float>(*member.value.as_double());
    if (member.key == "temperature")
      params.temperature = value;
    else if (member.key == "top_p")
      params.top_p = value;
    else if (member.key == "top_k")
      params.top_k = static_cast<int32_t>(value);
    else if (member.key == "min_p")
      params.min_p = value;
    else if (member.key == "typical_p")
      params.typical_p = value;
    else if (member.key == "repetition_penalty")
      params.repetition_penalty = value;
    else if (member.key == "frequency_penalty")
      params.frequency_penalty = value;
    else if (member.key == "presence_penalty")
      params.presence_penalty = value;
    else
      ADD_FAILURE() << "unknown parameter " << member.key;
  }
  return params;
}

// Equal as multisets of probabilities: what remains to compare where a tie stands at the cut. How
// many of the equal tokens stay is free, so only the largest probability and the support are.
void expect_tied_case(const std::map<int32_t, double>& found, const std::vector<double>& expected,
                      const std::vector<float>& logits, const std::string& name) {
  std::vector<double> a;
  for (const auto& [id, p] : found) a.push_back(p);
  std::vector<double> b;
  for (const double p : expected) {
    if (p > 0.0) b.push_back(p);
  }
  std::sort(a.rbegin(), a.rend());
  std::sort(b.rbegin(), b.rend());
  if (a.size() == b.size()) {
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-6) << name;
    return;
  }
  // More or fewer of the tokens tied at the cut: every kept token must be at least as likely as
  // every dropped one, and ratios of kept tokens as the logits say.
  float least = kInf;
  for (const auto& [id, p] : found) least = std::min(least, logits[static_cast<size_t>(id)]);
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!found.contains(static_cast<int32_t>(i)) && expected[i] > 1e-300) {
      EXPECT_LE(logits[i], least) << name << " drops " << i;
    }
  }
}

int32_t obvious_argmax(const std::vector<float>& logits) {
  size_t best = 0;
  float most = -std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] > most)) continue;
    most = logits[i];
    best = i;
  }
  return static_cast<int32_t>(best);
}

// The first of equals, wherever it stands; NaN never wins.
TEST(Argmax, IsTheObviousLoop) {
  const float infinite = std::numeric_limits<float>::infinity();
  const float specials[] = {0.0f, -0.0f, infinite, -infinite, std::nanf("")};
  for (const size_t size : {1, 2, 31, 32, 33, 1023, 1024, 1025, 3000, 5001}) {
    for (uint64_t seed = 0; seed < 200; ++seed) {
      std::vector<float> logits(size);
      for (size_t i = 0; i < size; ++i) {
        const uint64_t bits = random_bits(seed, size, i);
        // Few different values, so that there are ties; specials in every second vector.
        logits[i] = seed % 2 == 1 && bits % 5 == 0 ? specials[bits / 5 % 5]
                                                   : static_cast<float>(bits / 64 % (1 + seed)) - 7;
      }
      ASSERT_EQ(argmax(logits), obvious_argmax(logits)) << size << " logits, seed " << seed;
    }
    for (const float all : specials) {
      ASSERT_EQ(argmax(std::vector<float>(size, all)), 0) << all;
    }
  }
}

TEST(SamplingGolden, EveryCase) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no reference data on this machine";
  const auto text = read_text_file(*shared + "/golden/sampling/cases.json", 16 << 20);
  ASSERT_TRUE(text) << text.error().message;
  const auto root = Json::parse(*text);
  ASSERT_TRUE(root) << root.error().message;
  std::map<std::string, std::vector<float>> logits;
  for (const JsonMember& member : *root->find("logits")->as_object()) {
    for (const Json& value : *member.value.as_array()) {
      logits[member.key].push_back(value.is_string() ? -kInf
                                                     : static_cast<float>(*value.as_double()));
    }
  }
  size_t num_cases = 0;
  for (const Json& json : *root->find("cases")->as_array()) {
    ++num_cases;
    const std::string name = "case " + std::to_string(*json.find("case")->as_int64());
    const auto& row = logits[*json.find("logits_name")->as_string()];
    const GenerateParams params = params_of(*json.find("params"));
    ASSERT_TRUE(validate_params(params, 32)) << name;
    Sampler sampler(params, 32, 1);
    const auto history = int_list(json.find("history"));
    const auto generated = int_list(json.find("generated"));
    ASSERT_GE(history.size(), generated.size());
    sampler.observe_prompt(std::span(history).first(history.size() - generated.size()));
    for (const int32_t id : generated) sampler.accept(id);
    const int32_t id = sampler.sample(row);
    const auto found = distribution(sampler);
    EXPECT_TRUE(found.contains(id)) << name;
    std::vector<double> expected;
    for (const Json& p : *json.find("probabilities")->as_array())
      expected.push_back(*p.as_double());
    if (json.find("note") != nullptr) {
      expect_tied_case(found, expected, row, name);
      continue;
    }
    for (int32_t i = 0; i < 32; ++i) {
      const double p = found.contains(i) ? found.at(i) : 0.0;
      EXPECT_NEAR(p, expected[static_cast<size_t>(i)], 1e-6) << name << " token " << i;
    }
    for (const int32_t kept : int_list(json.find("kept"))) {
      EXPECT_TRUE(found.contains(kept) || expected[static_cast<size_t>(kept)] < 1e-300)
          << name << " must keep " << kept;
    }
  }
  EXPECT_EQ(num_cases, 432u);
}

TEST(Sampling, AgreesWithTheOracleOnLargeVocabularies) {
  for (const int32_t vocab : {1, 2, 7, 1000, 32000, 128256}) {
    for (const double scale : {0.3, 4.0}) {
      const auto logits = random_logits(vocab, static_cast<uint64_t>(vocab), scale);
      for (int variant = 0; variant < 8; ++variant) {
        GenerateParams params = neutral();
        params.temperature = variant % 2 == 0 ? 0.8f : 1.7f;
        if (variant == 1) params.top_k = 40;
        if (variant == 2) params.top_k = 3000;
        if (variant == 3) params.top_p = 0.9f;
        if (variant == 4) params.min_p = 0.05f;
        if (variant == 5) params.typical_p = 0.7f;
        if (variant == 6) params.top_p = 0.999f, params.typical_p = 0.5f;
        if (variant == 7) params.top_k = 50, params.top_p = 0.8f, params.min_p = 0.01f;
        Sampler sampler(params, vocab, 3);
        sampler.sample(logits);
        const auto found = distribution(sampler);
        const auto expected = oracle(logits, params);
        ASSERT_EQ(found.size(), expected.size()) << vocab << " variant " << variant;
        double worst = 0.0;
        for (const auto& [id, p] : expected) {
          ASSERT_TRUE(found.contains(id)) << vocab << " variant " << variant;
          worst = std::max(worst, std::fabs(p - found.at(id)));
        }
        EXPECT_LT(worst, 1e-9) << vocab << " variant " << variant;
      }
    }
  }
}

// Pearson's statistic over `draws` tokens; its 99.9% point is about df + 3.1 sqrt(2 df) + 6.
TEST(Sampling, DrawsFollowTheDistribution) {
  const auto logits = random_logits(64, 9, 1.5);
  GenerateParams params = neutral();
  params.temperature = 0.9f;
  params.top_p = 0.95f;
  Sampler sampler(params, 64, 20240607);
  constexpr int kDraws = 40000;
  std::map<int32_t, int> counts;
  for (int i = 0; i < kDraws; ++i) ++counts[sampler.sample(logits)];
  const auto expected = oracle(logits, params);
  double chi_square = 0.0;
  for (const auto& [id, p] : expected) {
    const double mean = p * kDraws;
    chi_square += (counts[id] - mean) * (counts[id] - mean) / mean;
  }
  for (const auto& [id, count] : counts) EXPECT_TRUE(expected.contains(id)) << id;
  const auto df = static_cast<double>(expected.size() - 1);
  EXPECT_LT(chi_square, df + 3.1 * std::sqrt(2.0 * df) + 6.0);
  EXPECT_GT(chi_square, df - 3.1 * std::sqrt(2.0 * df));
}

TEST(Sampling, SeedFixesTheTokensWhateverCameBetween) {
  const auto logits = random_logits(500, 4, 1.0);
  const GenerateParams params = neutral();
  Sampler a(params, 500, 42), b(params, 500, 42), c(params, 500, 43);
  std::vector<int32_t> from_a, from_b, from_c;
  for (int i = 0; i < 50; ++i) from_a.push_back(a.sample(logits));
  // b: the first 20 tokens come from elsewhere (a preempted request that was resumed).
  for (int i = 0; i < 20; ++i) b.accept(from_a[static_cast<size_t>(i)]);
  for (int i = 20; i < 50; ++i) from_b.push_back(b.sample(logits));
  for (int i = 0; i < 50; ++i) from_c.push_back(c.sample(logits));
  EXPECT_TRUE(std::equal(from_b.begin(), from_b.end(), from_a.begin() + 20));
  EXPECT_NE(from_a, from_c);
  // These very tokens, on every machine.
  EXPECT_EQ(random_bits(42, 0, 0), random_bits(42, 0, 0));
  EXPECT_NE(random_bits(42, 0, 0), random_bits(42, 0, 1));
  EXPECT_NE(random_bits(42, 0, 0), random_bits(42, 1, 0));
}

// The known answers of Random123 (kat_vectors, philox4x32 10).
TEST(Rng, PhiloxKnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Sampling, ExpIsExact) {
  double worst = 0.0;
  for (int i = 0; i < 200000; ++i) {
    const double x = -700.0 * random_uniform(5, 0, static_cast<uint64_t>(i)) *
                     random_uniform(5, 1, static_cast<uint64_t>(i));
    worst = std::max(worst, std::fabs(exp_nonpositive(x) / std::exp(x) - 1.0));
  }
  EXPECT_LT(worst, 1e-15);
  EXPECT_EQ(exp_nonpositive(0.0), 1.0);
  EXPECT_EQ(exp_nonpositive(-1e9), 0.0);
  EXPECT_EQ(exp_nonpositive(std::nan("")), 0.0);
}

TEST(Sampling, NothingIsAllocatedPerToken) {
  const auto logits = random_logits(32000, 6, 2.0);
  GenerateParams params;  // all defaults: penalties, top_k, top_p
  params.typical_p = 0.9f;
  params.min_p = 0.01f;
  params.logit_bias = {{5, 1.0f}};
  Sampler sampler(params, 32000, 1);
  const int64_t before = num_allocations;
  for (int i = 0; i < 100; ++i) sampler.sample(logits);
  EXPECT_EQ(num_allocations - before, 0);
}

TEST(Sampling, HostileLogits) {
  GenerateParams params = neutral();
  for (const int32_t top_k : {0, 1, 3}) {
    params.top_k = top_k;
    params.top_p = 0.5f;
    params.typical_p = 0.5f;
    Sampler sampler(params, 4, 1);
    // Nothing to choose from: the request fails, and no token is made up.
    EXPECT_EQ(sampler.sample(std::vector<float>{-kInf, -kInf, -kInf, -kInf}), -1);
    EXPECT_EQ(sampler.sample(std::vector<float>{NAN, NAN, NAN, NAN}), -1);
    EXPECT_EQ(sampler.sample(std::vector<float>{1.0f, NAN, kInf, 2.0f}), 2);
    EXPECT_EQ(sampler.sample(std::vector<float>{NAN, -kInf, NAN, 2.0f}), 3);
  }
  params.temperature = 1e-44f;  // every quotient overflows
  Sampler cold(params, 4, 1);
  EXPECT_EQ(cold.sample(std::vector<float>{-5.0f, -3.0f, -2.0f, -4.0f}), 2);
  Sampler greedy(GenerateParams::greedy(1), 4, 1);
  EXPECT_EQ(greedy.sample(std::vector<float>{NAN, 1.0f, 1.0f, 0.0f}), 1);
}

TEST(Sampling, BiasAndPenaltiesMoveTheChoice) {
  const std::vector<float> logits = {1.0f, 1.5f, 1.2f, -0.5f};
  GenerateParams params = GenerateParams::greedy(8);
  params.logit_bias = {{3, 100.0f}, {1, -100.0f}};
  EXPECT_EQ(Sampler(params, 4, 0).sample(logits), 3);
  params = GenerateParams::greedy(8);
  params.repetition_penalty = 2.0f;
  Sampler sampler(params, 4, 0);
  sampler.observe_prompt(std::vector<int32_t>{1});
  EXPECT_EQ(sampler.sample(logits), 2);  // 1.5 / 2 < 1.2
  EXPECT_EQ(sampler.sample(logits), 0);
  EXPECT_EQ(sampler.sample(logits), 1);  // all counted once: 0.5, 0.75, 0.6
}

TEST(Sampling, LogprobsAreOfTheUnmodifiedDistribution) {
  const auto logits = random_logits(300, 8, 3.0);
  const double log_sum = log_sum_exp(logits);
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  EXPECT_NEAR(log_sum, std::log(sum), 1e-12);
  const auto best = top_logprobs(logits, log_sum, 5);
  ASSERT_EQ(best.size(), 5u);
  std::vector<float> sorted(logits);
  std::sort(sorted.rbegin(), sorted.rend());
  for (size_t i = 0; i < best.size(); ++i) {
    EXPECT_EQ(logits[static_cast<size_t>(best[i].id)], sorted[i]);
    EXPECT_NEAR(best[i].logprob, sorted[i] - log_sum, 1e-5);
  }
  EXPECT_EQ(top_logprobs(logits, log_sum, 1000).size(), 300u);
  EXPECT_TRUE(top_logprobs(logits, log_sum, 0).empty());
}

TEST(Sampling, WrongParametersAreNamed) {
  const auto message = [](auto change) {
    GenerateParams params;
    change(params);
    const Status status = validate_params(params, 10);
    return status ? std::string() : status.error().message;
  };
  const auto expect_names = [](const std::string& text, const char* field) {
    EXPECT_NE(text.find(field), std::string::npos) << text;
  };
  EXPECT_EQ(message([](GenerateParams&) {}), "");
  expect_names(message([](auto& p) { p.temperature = -1; }), "temperature");
  expect_names(message([](auto& p) { p.temperature = NAN; }), "temperature");
  expect_names(message([](auto& p) { p.top_p = 1.5f; }), "top_p");
  expect_names(message([](auto& p) { p.top_k = -5; }), "top_k");
  expect_names(message([](auto& p) { p.min_p = 2; }), "min_p");
  expect_names(message([](auto& p) { p.typical_p = 0; }), "typical_p");
  expect_names(message([](auto& p) { p.repetition_penalty = 0; }), "repetition_penalty");
  expect_names(message([](auto& p) { p.frequency_penalty = kInf; }), "frequency_penalty");
  expect_names(message([](auto& p) { p.presence_penalty = NAN; }), "presence_penalty");
  expect_names(message([](auto& p) { p.max_tokens = -1; }), "max_tokens");
  expect_names(message([](auto& p) { p.stop = {""}; }), "stop");
  expect_names(message([](auto& p) { p.stop_token_ids = {10}; }), "stop_token_ids");
  expect_names(message([](auto& p) { p.logit_bias = {{-1, 0.0f}}; }), "logit_bias");
  expect_names(message([](auto& p) { p.top_logprobs = 100000; }), "top_logprobs");
}

}  // namespace
}  // namespace ruvllm
