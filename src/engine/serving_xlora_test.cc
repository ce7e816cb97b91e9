// X-LoRA in the serving backend: peft's numbers through the whole engine, and the same bits alone,
// in a mixed batch, in chunks of any size, preempted, from the prefix cache, on the edge backend.
#include <gtest/gtest.h>

#include <sys/stat.h>

#include "base/rng.h"
#include "engine/edge_backend.h"
#include "engine/golden_adapters.h"
#include "engine/serving_test_util.h"
#include "formats/safetensors_writer.h"
#include "ruvllm/xlora_manager.h"

namespace ruvllm {
namespace {

using test::Expected;
using test::golden_root;
using test::read_expected;
using test::read_json;

// Twice the limit of logits: a log probability has the error of one and of their logarithmic sum.
constexpr float kLogprobLimit = 4e-4f;
constexpr float kGateLimit = 2e-5f;

using Case = test::ServingCase;

// Small pages and steps: the models are tiny.
Case small_case() {
  Case c;
  c.block = 4;
  c.step_rows = 64;
  return c;
}

std::unique_ptr<ServingBackend> open(const std::string& model, LoadOptions options,
                                     const Case& c = small_case()) {
  options.compute = ComputeType::kF32;
  return test::open_served(model, c, std::move(options));
}

GenerateParams greedy(int32_t max_tokens) {
  GenerateParams params = GenerateParams::greedy(max_tokens);
  params.ignore_eos = true;
  params.top_logprobs = 0;
  return params;
}

float logprob(const float* logits, int32_t vocab, int32_t id) {
  double sum = 0.0;
  for (int32_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(logits[i]));
  return static_cast<float>(logits[id] - std::log(sum));
}

// --- peft's numbers ---

// Log probabilities of the prompts, gates of every module, and greedy continuations.
void check_golden(const std::string& root, const std::string& folder, const std::string& name) {
  const Json meta = read_json(root + "/xlora/" + name + "/meta.json");
  Expected expected = read_expected(root + "/xlora/" + name + "/expected.safetensors");
  LoadOptions options;
  options.xlora = folder;
  const auto backend =
      open(root + "/xlora/" + name + "/" + *meta.find("base")->as_string(), options);
  const auto length = static_cast<size_t>(expected.dim("input_ids", 1));
  const auto vocab = static_cast<int32_t>(expected.dim("logits", 2));
  const std::vector<int32_t>& ids = expected.ids["input_ids"];
  GenerateParams params = greedy(static_cast<int32_t>(expected.ids["greedy"].size()));
  params.prompt_logprobs = 0;
  params.gates = GateDetail::kModules;
  for (size_t begin = 0; begin < ids.size(); begin += length) {
    const std::vector<int32_t> prompt(ids.begin() + static_cast<ptrdiff_t>(begin),
                                      ids.begin() + static_cast<ptrdiff_t>(begin + length));
    const auto result = backend->generate_detailed(prompt, params);
    ASSERT_TRUE(result) << result.error().message;
    if (begin == 0) {
      EXPECT_EQ(result->ids, expected.ids["greedy"]) << name;
    }
    ASSERT_EQ(result->prompt_logprobs.size(), length);
    for (size_t t = 1; t < length; ++t) {
      const float* logits =
          expected.at("logits").data() + (begin + t - 1) * static_cast<size_t>(vocab);
      EXPECT_NEAR(result->prompt_logprobs[t].logprob, logprob(logits, vocab, prompt[t]),
                  kLogprobLimit)
          << name << " position " << t;
    }
    ASSERT_TRUE(result->gates) << name;
    const GateTrace& trace = *result->gates;
    EXPECT_EQ(trace.num_rows, result->prompt_tokens + result->completion_tokens - 1);
    const size_t per_row = trace.modules.size() * trace.experts.size();
    const auto first = expected.at("gates").begin() + static_cast<ptrdiff_t>(begin * per_row);
    EXPECT_LE(
        test::max_difference(
            {trace.values.begin(), trace.values.begin() + static_cast<ptrdiff_t>(length * per_row)},
            {first, first + static_cast<ptrdiff_t>(length * per_row)}),
        kGateLimit)
        << name;
  }
}

TEST(XLoraServing, PeftsNumbers) {
  const std::string root = golden_root();
  if (root.empty()) GTEST_SKIP() << "no reference data";
  for (const char* name :
       {"mistral_n3", "n2_d1", "n2_embedding", "n2_pass05_layerwise", "n3_d1_layerwise",
        "n3_d3_dropout", "n3_d3_temp2_nodropout", "n3_hetero_targets", "n3_pass03_top2",
        "n3_rawgates_gsw07", "n3_top1_layerwise", "n3_top2_both_softmax", "n4_d2_layerwise_temp05",
        "n4_top2", "n4_top2_softmaxtopk", "qwen2_n2", "qwen3_n2"}) {
    check_golden(root, root + "/xlora/" + name, name);
  }
  check_golden(root, root + "/xlora_original_layout/n3_d1_layerwise", "n3_d1_layerwise");
}

// --- The same bits ---

struct Answer {
  std::vector<int32_t> ids;
  std::vector<float> logprobs;
  std::vector<float> gates;
  bool operator==(const Answer&) const = default;
};

struct Job {
  std::vector<int32_t> prompt;
  std::string adapter;
  bool traced = false;
};

// Prompts of which half begin alike, each with one of the adapters.
std::vector<Job> make_jobs(size_t count, const std::vector<std::string>& adapters) {
  std::vector<Job> jobs(count);
  for (size_t i = 0; i < count; ++i) {
    const auto length = 1 + random_bits(7, 1, i) % 30;
    const uint64_t stream = i % 2 == 0 ? 0 : i;
    for (uint64_t k = 0; k < length; ++k) {
      jobs[i].prompt.push_back(static_cast<int32_t>(5 + random_bits(9, stream, k) % 400));
    }
    jobs[i].prompt.push_back(static_cast<int32_t>(5 + i));
    jobs[i].adapter = adapters[i % adapters.size()];
    jobs[i].traced = i % 3 == 0;
  }
  return jobs;
}

std::unique_ptr<TokenStream> start(LlmBackend& backend, const Job& job) {
  GenerateParams params = greedy(10);
  if (job.traced) params.gates = GateDetail::kMean;
  RequestOptions options;
  options.adapter = job.adapter;
  auto stream = backend.generate_stream(job.prompt, params, options);
  EXPECT_TRUE(stream) << stream.error().message;
  return *std::move(stream);
}

Answer answer_of(TokenStream& stream) {
  const test::Heard heard = test::listen(stream);
  EXPECT_FALSE(heard.error) << heard.error->message;
  if (!heard.result) return {};
  Answer answer;
  answer.ids = heard.result->ids;
  for (const Token& token : heard.result->tokens) answer.logprobs.push_back(*token.logprob);
  if (heard.result->gates) answer.gates = heard.result->gates->values;
  return answer;
}

std::vector<Answer> one_by_one(LlmBackend& backend, const std::vector<Job>& jobs) {
  std::vector<Answer> answers;
  for (const Job& job : jobs) answers.push_back(answer_of(*start(backend, job)));
  return answers;
}

std::vector<Answer> all_at_once(LlmBackend& backend, const std::vector<Job>& jobs) {
  std::vector<std::unique_ptr<TokenStream>> streams;
  for (const Job& job : jobs) streams.push_back(start(backend, job));
  std::vector<Answer> answers;
  for (const auto& stream : streams) answers.push_back(answer_of(*stream));
  return answers;
}

// Three X-LoRAs (one layerwise, one that routes in pass 1 too), two adapters and a sum of them.
LoadOptions many_adapters(const std::string& root) {
  LoadOptions options;
  options.xlora = root + "/xlora/n3_d1_layerwise";
  options.adapters = {{"qv", root + "/lora/llama_h64/adapters/qv_r4"},
                      {"all", root + "/lora/llama_h64/adapters/all_r8"}};
  return options;
}
const std::vector<std::string>& mixed() {
  static const std::vector<std::string> names = {"xlora", "base",  "qv",   "second",
                                                 "xlora", "third", "late", "qv:0.5+all:-0.25"};
  return names;
}

// An X-LoRA whose experts leave the first two layers alone.
std::string write_late_xlora(const std::string& root) {
  const std::string from = root + "/xlora/n2_d1";
  const std::string to = test::make_temp_dir();
  const auto copy = [&](const std::string& name, const std::string& text) {
    std::FILE* file = std::fopen((to + name).c_str(), "wb");
    ASSERT_NE(file, nullptr);
    std::fwrite(text.data(), 1, text.size(), file);
    std::fclose(file);
  };
  for (const char* name : {"/adapter_config.json", "/adapter_model.safetensors"}) {
    copy(name, *read_text_file(from + name, 1 << 20));
  }
  for (const std::string expert : {"/0", "/1"}) {
    EXPECT_EQ(::mkdir((to + expert).c_str(), 0755), 0);
    std::string config = *read_text_file(from + expert + "/adapter_config.json", 1 << 20);
    const std::string all = "\"layers_to_transform\": null";
    const size_t at = config.find(all);
    EXPECT_NE(at, std::string::npos);
    config.replace(at, all.size(), "\"layers_to_transform\": [2, 3]");
    copy(expert + "/adapter_config.json", config);
    const std::string path = from + expert + "/adapter_model.safetensors";
    const auto file = MmapFile::open(path);
    const auto tensors = parse_safetensors(file->bytes(), path);
    EXPECT_TRUE(tensors.has_value());
    SafetensorsWriter writer;
    for (const FileTensor& tensor : *tensors) {
      const bool late = tensor.name.find(".layers.2.") != std::string::npos ||
                        tensor.name.find(".layers.3.") != std::string::npos;
      if (!late) continue;
      const TensorView& view = tensor.view;
      EXPECT_TRUE(writer.add(tensor.name, view.dtype, {view.dim(0), view.dim(1)},
                             {view.data, static_cast<size_t>(view.num_elements()) * 4}));
    }
    EXPECT_TRUE(writer.write(to + expert + "/adapter_model.safetensors"));
  }
  return to;
}

void add_xloras(LlmBackend& backend, const std::string& root, const std::string& late) {
  XLoraManager xloras(backend);
  for (const auto& [name, path] :
       {std::pair{"second", root + "/xlora/n2_pass05_layerwise"},
        std::pair{"third", root + "/xlora/n4_top2_softmaxtopk"}, std::pair{"late", late}}) {
    const Status status = xloras.load(name, path);
    EXPECT_TRUE(status) << status.error().message;
  }
}

TEST(XLoraServing, SameBitsHoweverItIsScheduled) {
  const std::string root = golden_root();
  if (root.empty()) GTEST_SKIP() << "no reference data";
  const std::string base = root + "/bases/llama_h64";
  const std::string late = write_late_xlora(root);
  const std::vector<Job> jobs = make_jobs(32, mixed());
  const auto plain = [&](const Case& c) {
    auto backend = open(base, many_adapters(root), c);
    add_xloras(*backend, root, late);
    return backend;
  };
  Case no_cache = small_case();
  no_cache.prefix_caching = false;
  auto backend = plain(no_cache);
  const std::vector<Answer> alone = one_by_one(*backend, jobs);
  EXPECT_NE(alone[0].ids, alone[3].ids);
  EXPECT_FALSE(alone[0].gates.empty());
  EXPECT_TRUE(alone[9].gates.empty()) << "the base has none";
  EXPECT_EQ(all_at_once(*backend, jobs), alone) << "no prefix cache";
  backend = plain(small_case());
  EXPECT_EQ(all_at_once(*backend, jobs), alone) << "with a prefix cache";
  const uint64_t hits = backend->stats()->prefix_hit_tokens;
  EXPECT_EQ(all_at_once(*backend, jobs), alone) << "from the prefix cache";
  EXPECT_GT(backend->stats()->prefix_hit_tokens, hits);
  Case in_ones = small_case();
  Case in_sevens = in_ones, tiny_pool = in_ones, two_threads = in_ones;
  in_ones.chunk = 1;
  in_sevens.chunk = 7;
  tiny_pool.blocks = 28;  // of which one X-LoRA request may need 22
  two_threads.threads = 2;
  for (const auto& [name, c] :
       {std::pair{"chunks of 1", in_ones}, std::pair{"of 7", in_sevens},
        std::pair{"a tiny pool", tiny_pool}, std::pair{"two threads", two_threads}}) {
    backend = plain(c);
    EXPECT_EQ(all_at_once(*backend, jobs), alone) << name;
    EXPECT_EQ(backend->stats()->kv_pages_used, 0);
    if (c.blocks == tiny_pool.blocks) {
      EXPECT_GT(backend->stats()->preemptions, 0u);
    }
  }
  EdgeBackend edge(
      [](const std::string& name, const LoadOptions& load) { return load_model_parts(name, load); },
      make_incremental_decoder);
  LoadOptions options = many_adapters(root);
  options.compute = ComputeType::kF32;
  options.threads = 1;
  ASSERT_TRUE(edge.load_model(base, options));
  add_xloras(edge, root, late);
  EXPECT_EQ(one_by_one(edge, jobs), alone) << "the edge backend";
}

TEST(XLoraServing, SharedLayersChangeNoBit) {
  const std::string root = golden_root();
  if (root.empty()) GTEST_SKIP() << "no reference data";
  LoadOptions options;
  options.compute = ComputeType::kF32;
  const auto parts = load_model_parts(root + "/bases/llama_h64", options);
  ASSERT_TRUE(parts);
  const auto xlora = load_xlora(write_late_xlora(root), *parts->checkpoint);
  ASSERT_TRUE(xlora) << xlora.error().message;
  EXPECT_EQ((*xlora)->first_layer, 2);
  auto whole = std::make_shared<XLora>(**xlora);
  whole->first_layer = 0;  // both passes through all layers
  const std::vector<int32_t> ids = make_jobs(2, {""})[1].prompt;
  std::vector<float> results[2];
  for (const bool shared : {false, true}) {
    KvSession session(*parts->runner);
    std::shared_ptr<XLoraGate> gate =
        *XLoraGate::make(shared ? *xlora : whole, *parts->runner->ops(), 256);
    session.set_adapter({nullptr, gate});
    const auto status = session.score(ids, {}, [&](const ScoredRow& row) {
      std::vector<float>& out = results[shared ? 1 : 0];
      out.insert(out.end(), row.logits, row.logits + 512);
      out.insert(out.end(), row.gates, row.gates + gate->xlora().num_gates());
    });
    ASSERT_TRUE(status);
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST(XLoraServing, Pass1SharesThePagesOfTheBase) {
  const std::string root = golden_root();
  if (root.empty()) GTEST_SKIP() << "no reference data";
  const auto backend = open(root + "/bases/llama_h64", many_adapters(root));
  const std::vector<int32_t> prompt(25, 7);
  const auto cached = [&](const std::string& adapter) {
    auto stream = backend->generate_stream(prompt, greedy(2), XLoraManager::request(adapter));
    return test::listen(**stream).result->cached_prompt_tokens;
  };
  EXPECT_EQ(cached("xlora"), 0);
  EXPECT_EQ(cached("base"), 24);   // what pass 1 computed
  EXPECT_EQ(cached("xlora"), 24);  // both passes
  EXPECT_EQ(cached("qv"), 0);
  // Constant gates that are not zero make pass 1 a model of its own.
  ASSERT_TRUE(backend->load_xlora("other", root + "/xlora/n2_pass05_layerwise", {}, false));
  EXPECT_EQ(cached("other"), 0);
  EXPECT_EQ(cached("other"), 24);
}

TEST(XLoraServing, EmbeddingsAndPromptScoresAreOfPass2) {
  const std::string root = golden_root();
  if (root.empty()) GTEST_SKIP() << "no reference data";
  const std::string base = root + "/bases/llama_h64";
  const auto backend = open(base, many_adapters(root));
  const std::vector<int32_t> prompt(9, 11);
  const auto routed = backend->get_embeddings_batch({prompt});
  ASSERT_TRUE(routed) << routed.error().message;
  ASSERT_TRUE(backend->set_default_adapter("base"));
  const auto plain = backend->get_embeddings_batch({prompt});
  ASSERT_TRUE(plain);
  EXPECT_NE(*routed, *plain);
  EdgeBackend edge(
      [](const std::string& name, const LoadOptions& load) { return load_model_parts(name, load); },
      make_incremental_decoder);
  LoadOptions options = many_adapters(root);
  options.compute = ComputeType::kF32;
  ASSERT_TRUE(edge.load_model(base, options));
  EXPECT_EQ(*edge.get_embeddings_batch({prompt}), *routed);
}

// --- XLoraManager ---

TEST(XLoraManager, LoadsListsChoosesAndTellsTheGates) {
  const std::string root = golden_root();
  if (root.empty()) GTEST_SKIP() << "no reference data";
  LoadOptions options = many_adapters(root);
  options.xlora.clear();
  const auto backend = open(root + "/bases/llama_h64", options);
  XLoraManager xloras(*backend);
  EXPECT_EQ(xloras.active(), "base");
  EXPECT_EQ(xloras.last_gates().error().code, ErrorCode::kNotFound);
  const std::string folder = root + "/xlora/n4_top2";
  ASSERT_TRUE(xloras.load("router", folder));
  EXPECT_EQ(xloras.load("router", folder).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(xloras.load("qv", folder).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(xloras.load("base", folder).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(
      backend->load_adapter("router", root + "/lora/llama_h64/adapters/qv_r4", true).error().code,
      ErrorCode::kInvalidArgument);
  EXPECT_EQ(xloras.load("none", root + "/nowhere").error().code, ErrorCode::kNotFound);

  XLoraConfig dense;
  dense.top_k = 0;
  dense.temperature = 2.0f;
  ASSERT_TRUE(xloras.load("dense", folder, dense));
  dense.top_k = 5;
  EXPECT_EQ(xloras.load("five", folder, dense).error().code, ErrorCode::kInvalidArgument);
  dense.top_k = 1;
  dense.adapters = {"1", "0", "2", "3"};
  EXPECT_EQ(xloras.load("order", folder, dense).error().code, ErrorCode::kInvalidArgument);
  XLoraConfig sum;
  sum.mixing_mode = XLoraMixingMode::kAdditive;
  sum.adapters = {"qv:0.5", "all"};
  EXPECT_EQ(xloras.load("sum", folder, sum).error().code, ErrorCode::kInvalidArgument);
  ASSERT_TRUE(xloras.compose("sum", sum));
  sum.adapters = {"nobody"};
  EXPECT_EQ(xloras.compose("other", sum).error().code, ErrorCode::kNotFound);

  const std::vector<XLoraInfo> list = xloras.list();
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(list[0].name, "dense");
  EXPECT_EQ(list[0].top_k, 0);
  EXPECT_EQ(list[0].temperature, 2.0f);
  EXPECT_EQ(list[1].top_k, 2);
  EXPECT_EQ(list[1].experts.size(), 4u);
  EXPECT_EQ(list[2].sum, "qv:0.5+all:1");
  EXPECT_GT(list[1].num_bytes, 0u);
  EXPECT_GT(list[1].max_rank, 0);
  for (const AdapterInfo& info : backend->adapters()) {
    EXPECT_EQ(info.num_bytes > 0 && info.max_rank > 0, info.name != "sum") << info.name;
  }

  const Job base = {std::vector<int32_t>(12, 9), ""};
  Job routed = base, summed = base, spelled = base;
  routed.adapter = "router";
  summed.adapter = "sum";
  spelled.adapter = "qv:0.5+all:1";
  const Answer of_base = answer_of(*start(*backend, base));
  const Answer of_router = answer_of(*start(*backend, routed));
  EXPECT_NE(of_base, of_router);
  EXPECT_EQ(answer_of(*start(*backend, summed)), answer_of(*start(*backend, spelled)));
  const auto gates = xloras.last_gates("router");
  ASSERT_TRUE(gates);
  ASSERT_EQ(gates->num_rows, 1);
  ASSERT_EQ(gates->values.size(), gates->modules.size() * 4);
  EXPECT_EQ(std::count(gates->values.begin(), gates->values.end(), 0.0f),
            static_cast<ptrdiff_t>(gates->modules.size() * 2));
  EXPECT_EQ(xloras.last_gates("dense")->num_rows, 0) << "nobody has used it";

  ASSERT_TRUE(xloras.set_active("router"));
  EXPECT_EQ(xloras.active(), "router");
  EXPECT_EQ(answer_of(*start(*backend, base)), of_router);
  EXPECT_EQ(xloras.set_active("nobody").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(xloras.set_active("").error().code, ErrorCode::kInvalidArgument);
  const Status mixed = xloras.set_active("qv+router");
  EXPECT_EQ(mixed.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(mixed.error().message.find("router is an X-LoRA"), std::string::npos);
  EXPECT_EQ(xloras.active(), "router");
  ASSERT_TRUE(xloras.unload("router"));
  EXPECT_EQ(answer_of(*start(*backend, base)), of_router) << "what is active stays";
  EXPECT_EQ(backend->generate_stream(base.prompt, greedy(1), XLoraManager::request("router"))
                .error()
                .code,
            ErrorCode::kNotFound);
  ASSERT_TRUE(xloras.set_active("base"));
  EXPECT_EQ(answer_of(*start(*backend, base)), of_base);
}

TEST(XLoraManager, XLorasCountInTheBudgetOfAdapters) {
  const std::string root = golden_root();
  if (root.empty()) GTEST_SKIP() << "no reference data";
  const std::string folder = root + "/xlora/n4_top2";
  LoadOptions options;
  options.xlora = folder;
  const uint64_t bytes = open(root + "/bases/llama_h64", options)->xloras()[0].num_bytes;
  options.xlora.clear();
  options.adapter_memory_bytes = 2 * bytes;
  const auto backend = open(root + "/bases/llama_h64", options);
  ASSERT_TRUE(backend->load_xlora("a", folder, {}, false));
  ASSERT_TRUE(backend->load_xlora("b", folder, {}, false));
  EXPECT_EQ(backend->load_xlora("c", folder, {}, false).error().code, ErrorCode::kUnavailable);
  ASSERT_TRUE(backend->unload_adapter("a"));
  EXPECT_TRUE(backend->load_xlora("c", folder, {}, false)) << "the bytes of a are free";
  options.adapter_memory_bytes = bytes - 1;
  EXPECT_EQ(
      open(root + "/bases/llama_h64", options)->load_xlora("a", folder, {}, false).error().code,
      ErrorCode::kOutOfMemory);
}

TEST(XLoraManager, TheServingConfigurationCounts) {
  const std::string root = golden_root();
  if (root.empty()) GTEST_SKIP() << "no reference data";
  LoadOptions options;
  options.xlora = root + "/xlora/n4_top2";
  XLoraConfig one;
  one.top_k = 1;
  options.xlora_config = one;
  const auto backend = open(root + "/bases/llama_h64", options);
  GenerateParams params = greedy(3);
  params.gates = GateDetail::kModules;
  const auto result = backend->generate_detailed(std::vector<int32_t>(6, 3), params);
  ASSERT_TRUE(result && result->gates);
  const auto zeros = std::count(result->gates->values.begin(), result->gates->values.end(), 0.0f);
  EXPECT_EQ(static_cast<size_t>(zeros) * 4, result->gates->values.size() * 3);
}

// --- XLoraRows ---

TEST(XLoraRows, ALongPromptsMemoryDoesNotStay) {
  XLoraRows rows(3, 2);
  const std::vector<float> gates(3, 0.5f), stream(2, 1.0f);
  for (int64_t i = 0; i < 1000; ++i) rows.put(i, gates.data(), stream.data());
  rows.drop_before(999);
  EXPECT_EQ(rows.gates(999)[2], 0.5f);
  EXPECT_EQ(rows.stream(999)[1], 1.0f);
  rows.drop_before(1000);
  EXPECT_EQ(rows.capacity_rows(), 0);
  for (int64_t i = 1000; i < 1016; ++i) rows.put(i, gates.data(), stream.data());
  rows.drop_before(1016);
  EXPECT_EQ(rows.capacity_rows(), 16) << "few rows keep their place: a step allocates nothing";
}

}  // namespace
}  // namespace ruvllm
