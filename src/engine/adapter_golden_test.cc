// LoRA and X-LoRA against peft's outputs on small models, on the reference device and on the CPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>

#include "base/str.h"
#include "engine/golden_adapters.h"
#include "engine/kv_session.h"
#include "lora/lora_adapter.h"
#include "lora/xlora.h"

namespace ruvllm {
namespace {

// The limits that the reference data suggests for f32 engines.
constexpr float kLogitLimit = 2e-4f;
constexpr float kGateLimit = 2e-5f;

using test::Expected;
using test::golden_root;
using test::max_difference;
using test::read_expected;
using test::read_json;
using test::Values;

struct Model {
  std::shared_ptr<const Checkpoint> checkpoint;
  std::unique_ptr<ModelRunner> runner;
};

Model load_model(const std::string& path, bool reference) {
  Model model;
  auto checkpoint = open_checkpoint(path);
  EXPECT_TRUE(checkpoint.has_value()) << path;
  model.checkpoint = *std::move(checkpoint);
  RunnerOptions options;
  options.compute = ComputeType::kF32;
  options.reference_ops = reference;
  options.threads = 2;
  options.kv_block_tokens = 4;
  auto runner = ModelRunner::load(model.checkpoint, options);
  EXPECT_TRUE(runner.has_value());
  model.runner = *std::move(runner);
  return model;
}

// Logits [B, T, V] of rows of tokens as one batch, row b with tables[b].
Values run_batch(ModelRunner& runner, const std::vector<int32_t>& ids,
                 const std::vector<const LoraTable*>& tables, ConstMatrixF32 gates = {}) {
  const auto batch_size = static_cast<int64_t>(tables.size());
  const int64_t length = static_cast<int64_t>(ids.size()) / batch_size;
  const int64_t blocks = (length + runner.kv_block_tokens() - 1) / runner.kv_block_tokens();
  EXPECT_TRUE(runner.reserve_kv_blocks(blocks * batch_size).has_value());
  std::vector<int32_t> block_ids;
  for (int32_t i = 0; i < blocks * batch_size; ++i) block_ids.push_back(i);
  std::vector<SequenceSpan> sequences;
  for (int64_t b = 0; b < batch_size; ++b) {
    sequences.push_back({b * length, length, 0,
                         std::span(block_ids).subspan(static_cast<size_t>(b * blocks),
                                                      static_cast<size_t>(blocks))});
  }
  std::vector<int32_t> rows;
  for (int32_t i = 0; i < static_cast<int32_t>(ids.size()); ++i) rows.push_back(i);
  ForwardBatch batch;
  batch.ids = ids;
  batch.sequences = sequences;
  batch.adapters = tables;
  batch.gates = gates;
  batch.output_rows = rows;
  const ForwardOutput output = runner.forward(batch);
  return {output.logits.data, output.logits.data + output.logits.rows * output.logits.cols};
}

// One folder of adapters on one device.
class LoraSet {
 public:
  LoraSet(const std::string& root, const std::string& name, bool reference)
      : folder_(root + "/lora/" + name),
        meta_(read_json(folder_ + "/meta.json")),
        expected_(read_expected(folder_ + "/expected.safetensors")),
        model_(load_model(root + "/bases/" + name, reference)),
        ids_(expected_.ids["input_ids"]),
        batch_size_(static_cast<size_t>(expected_.dim("input_ids", 0))) {}

  void check() {
    compare("logits.base", run(nullptr));
    for (const JsonMember& entry : *meta_.find("adapters")->as_object()) {
      load(entry.key, folder_ + "/adapters/" + entry.key);
      const Values logits = run(table(entry.key));
      compare("logits." + entry.key, logits);
      compare_last("logits_merged_last." + entry.key, logits);
    }
    for (const Json& cat : *meta_.find("cat")->as_array()) check_mix(cat);
    for (const JsonMember& batch : *meta_.find("batch")->as_object()) check_batch(batch);
  }

  int compared() const { return compared_; }

 private:
  Values run(const LoraTable* table) {
    return run_batch(*model_.runner, ids_, std::vector(batch_size_, table));
  }
  void load(const std::string& name, const std::string& path) {
    auto adapter = load_lora_adapter(path, *model_.checkpoint);
    ASSERT_TRUE(adapter.has_value()) << adapter.error().message;
    adapters_[name] = *std::move(adapter);
  }
  const LoraTable* table(const std::string& name) const {
    const auto found = adapters_.find(name);
    return found != adapters_.end() ? &found->second->table : nullptr;
  }
  void compare(const std::string& name, const Values& logits) {
    EXPECT_LE(max_difference(logits, expected_.at(name)), kLogitLimit) << folder_ << " " << name;
    ++compared_;
  }
  void compare_last(const std::string& name, const Values& logits) {
    const auto vocab = static_cast<size_t>(model_.runner->config().vocab_size);
    const size_t length = ids_.size() / batch_size_;
    Values last;
    for (size_t b = 0; b < batch_size_; ++b) {
      const auto begin = logits.begin() + static_cast<ptrdiff_t>(((b + 1) * length - 1) * vocab);
      last.insert(last.end(), begin, begin + static_cast<ptrdiff_t>(vocab));
    }
    compare(name, last);
  }

  // The saved combination, and the same adapters with the same weights mixed here.
  void check_mix(const Json& cat) {
    const std::string& name = *cat.find("name")->as_string();
    load(name, folder_ + "/" + *cat.find("saved")->as_string());
    compare("logits." + name, run(table(name)));
    std::vector<LoraMix::Part> parts;
    const Json::Array& names = *cat.find("adapters")->as_array();
    for (size_t i = 0; i < names.size(); ++i) {
      const double weight = (*cat.find("weights")->as_array())[i].as_double().value();
      parts.push_back({adapters_[*names[i].as_string()], static_cast<float>(weight)});
    }
    const auto mix = mix_lora_adapters(parts, model_.runner->config().num_layers());
    compare("logits." + name, run(&mix->table));
  }

  // Rows with different adapters in one batch: as expected, and each as it is alone, bit for bit.
  void check_batch(const JsonMember& batch) {
    std::vector<const LoraTable*> tables;
    for (const Json& name : *batch.value.find("adapter_names")->as_array()) {
      tables.push_back(table(*name.as_string()));
    }
    const Values together = run_batch(*model_.runner, ids_, tables);
    compare("logits." + batch.key, together);
    const size_t length = ids_.size() / batch_size_;
    for (size_t b = 0; b < tables.size(); ++b) {
      const std::vector<int32_t> row(ids_.begin() + static_cast<ptrdiff_t>(b * length),
                                     ids_.begin() + static_cast<ptrdiff_t>((b + 1) * length));
      const Values alone = run_batch(*model_.runner, row, {tables[b]});
      EXPECT_EQ(0, std::memcmp(alone.data(), together.data() + b * alone.size(), alone.size() * 4))
          << folder_ << " " << batch.key << " row " << b;
    }
  }

  std::string folder_;
  Json meta_;
  Expected expected_;
  Model model_;
  std::vector<int32_t> ids_;
  size_t batch_size_;
  std::map<std::string, std::shared_ptr<const LoraAdapter>> adapters_;
  int compared_ = 0;
};

TEST(AdapterGolden, LoraOnBothDevices) {
  const std::string root = golden_root();
  if (root.empty()) GTEST_SKIP() << "no reference data";
  int compared = 0;
  for (const bool reference : {true, false}) {
    for (const char* name : {"llama_h64", "llama_h96_legacycfg", "mistral_h64_sw8",
                             "qwen2_h64_tied", "qwen3_h64_hd32"}) {
      LoraSet set(root, name, reference);
      set.check();
      compared += set.compared();
    }
  }
  RecordProperty("compared", compared);
  EXPECT_GE(compared, 2 * (5 + 2 * 19 + 2 * 6 + 6)) << compared;
}

// --- X-LoRA
// ---------------------------------------------------------------------------------------

struct Scored {
  Values logits;
  Values gates;  // [T, L, n]
};

// Every gate row as [L, n].
void append_gates(const XLora& xlora, const float* row, Values& out) {
  const auto n = static_cast<size_t>(xlora.num_experts());
  for (int32_t l = 0; l < xlora.num_modules(); ++l) {
    const float* begin = row + (xlora.layerwise ? static_cast<size_t>(l) * n : 0);
    out.insert(out.end(), begin, begin + n);
  }
}

Scored score(KvSession& session, const XLora& xlora, std::span<const int32_t> ids, int32_t vocab) {
  Scored out;
  const auto status = session.score(ids, {}, [&](const ScoredRow& row) {
    out.logits.insert(out.logits.end(), row.logits, row.logits + vocab);
    append_gates(xlora, row.gates, out.gates);
  });
  EXPECT_TRUE(status.has_value());
  return out;
}

int32_t best_of(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

class XLoraCase {
 public:
  XLoraCase(const std::string& root, const std::string& name, const std::string& adapter_folder,
            bool reference)
      : name_(name),
        meta_(read_json(root + "/xlora/" + name + "/meta.json")),
        expected_(read_expected(root + "/xlora/" + name + "/expected.safetensors")),
        model_(load_model(root + "/xlora/" + name + "/" + *meta_.find("base")->as_string(),
                          reference)) {
    auto xlora = load_xlora(adapter_folder, *model_.checkpoint);
    EXPECT_TRUE(xlora.has_value()) << xlora.error().message;
    if (!xlora) return;
    xlora_ = *xlora;
    auto gate = XLoraGate::make(xlora_, *model_.runner->ops(), model_.runner->max_step_rows());
    EXPECT_TRUE(gate.has_value());
    gate_ = *std::move(gate);
  }

  void check() {
    if (gate_ == nullptr) return;
    check_modules();
    const auto& ids = expected_.ids["input_ids"];
    const auto batch_size = static_cast<size_t>(expected_.dim("input_ids", 0));
    const size_t length = ids.size() / batch_size;
    const int32_t vocab = model_.runner->config().vocab_size;
    KvSession session(*model_.runner);
    session.set_adapter({nullptr, gate_});
    Scored all;
    for (size_t b = 0; b < batch_size; ++b) {
      const Scored row = score(session, *xlora_, std::span(ids).subspan(b * length, length), vocab);
      all.logits.insert(all.logits.end(), row.logits.begin(), row.logits.end());
      all.gates.insert(all.gates.end(), row.gates.begin(), row.gates.end());
    }
    EXPECT_LE(max_difference(all.logits, expected_.at("logits")), kLogitLimit) << name_;
    EXPECT_LE(max_difference(all.gates, expected_.at("gates")), kGateLimit) << name_;
    check_hidden_and_scalings();
    check_negatives(all.logits, batch_size, length, vocab);
    check_greedy(session, std::span(ids).first(length), vocab);
  }

 private:
  void check_modules() {
    const Json::Array& order = *meta_.find("layer_order")->as_array();
    ASSERT_EQ(order.size(), xlora_->module_names.size()) << name_;
    for (size_t i = 0; i < order.size(); ++i) {
      EXPECT_EQ(*order[i].as_string(), xlora_->module_names[i]) << name_;
    }
    Values pass1(static_cast<size_t>(xlora_->num_gates()));
    gate_->fill_pass1(make_matrix(pass1.data(), 1, xlora_->num_gates()));
    Values expanded;
    append_gates(*xlora_, pass1.data(), expanded);
    EXPECT_LE(max_difference(expanded, expected_.at("gates_pass1")), kGateLimit) << name_;
  }

  // The classifier alone, on the reference's hidden states; and pass 1's hidden states.
  void check_hidden_and_scalings() {
    Values& hidden = expected_.values["hidden_pass1"];
    const int64_t width = model_.runner->config().hidden_size;
    const auto rows = static_cast<int64_t>(hidden.size()) / width;
    const int64_t columns = xlora_->num_gates();
    Values gates(static_cast<size_t>(rows * columns));
    Values scalings(gates.size());
    gate_->compute(make_matrix(hidden.data(), rows, width),
                   make_matrix(gates.data(), rows, columns),
                   make_matrix(scalings.data(), rows, columns));
    Values all;
    for (int64_t t = 0; t < rows; ++t) append_gates(*xlora_, scalings.data() + t * columns, all);
    EXPECT_LE(max_difference(all, expected_.at("scalings")), kGateLimit) << name_;
    if (!xlora_->pass1_is_base()) return;
    KvSession plain(*model_.runner);
    const auto& ids = expected_.ids["input_ids"];
    const auto length = static_cast<size_t>(expected_.dim("input_ids", 1));
    Values got;
    for (size_t begin = 0; begin < ids.size(); begin += length) {
      const auto status = plain.score(
          std::span(ids).subspan(begin, length), {.first_row = 0, .logits = false, .hidden = true},
          [&](const ScoredRow& row) { got.insert(got.end(), row.hidden, row.hidden + width); });
      EXPECT_TRUE(status.has_value());
    }
    EXPECT_LE(max_difference(got, hidden), 1e-4f) << name_;
  }

  // Wrong computations are farther away than the right one.
  void check_negatives(const Values& logits, size_t batch_size, size_t length, int32_t vocab) {
    const auto width = static_cast<size_t>(vocab);
    Values last;
    for (size_t b = 0; b < batch_size; ++b) {
      const auto begin = logits.begin() + static_cast<ptrdiff_t>(((b + 1) * length - 1) * width);
      last.insert(last.end(), begin, begin + vocab);
    }
    int negatives = 0;
    for (const auto& [name, values] : expected_.values) {
      if (!name.starts_with("neg_")) continue;
      ++negatives;
      EXPECT_GT(max_difference(last, values), 0.05f) << name_ << " " << name;
    }
    EXPECT_GE(negatives, 2) << name_;
  }

  // Token by token on the caches.
  void check_greedy(KvSession& session, std::span<const int32_t> prompt, int32_t) {
    const std::vector<int32_t>& want = expected_.ids["greedy"];
    session.clear();  // check_hidden_and_scalings() has used its blocks
    const std::atomic<bool> never{false};
    auto logits = session.prefill(prompt, never);
    ASSERT_TRUE(logits.has_value());
    std::vector<int32_t> got = {best_of(*logits)};
    while (got.size() < want.size()) {
      logits = session.advance(got.back(), never);
      ASSERT_TRUE(logits.has_value());
      got.push_back(best_of(*logits));
    }
    EXPECT_EQ(got, want) << name_;
  }

  std::string name_;
  Json meta_;
  Expected expected_;
  Model model_;
  std::shared_ptr<const XLora> xlora_;
  std::shared_ptr<XLoraGate> gate_;
};

constexpr const char* kXLoraCases[] = {"mistral_n3",
                                       "n2_d1",
                                       "n2_embedding",
                                       "n2_pass05_layerwise",
                                       "n3_d1_layerwise",
                                       "n3_d3_dropout",
                                       "n3_d3_temp2_nodropout",
                                       "n3_hetero_targets",
                                       "n3_pass03_top2",
                                       "n3_rawgates_gsw07",
                                       "n3_top1_layerwise",
                                       "n3_top2_both_softmax",
                                       "n4_d2_layerwise_temp05",
                                       "n4_top2",
                                       "n4_top2_softmaxtopk",
                                       "qwen2_n2",
                                       "qwen3_n2"};

TEST(AdapterGolden, XLoraOnBothDevices) {
  const std::string root = golden_root();
  if (root.empty()) GTEST_SKIP() << "no reference data";
  for (const bool reference : {true, false}) {
    for (const char* name : kXLoraCases) {
      XLoraCase(root, name, root + "/xlora/" + name, reference).check();
    }
    for (const char* name : {"n3_d1_layerwise", "n4_d2_layerwise_temp05"}) {
      XLoraCase(root, name, root + "/xlora_original_layout/" + name, reference).check();
    }
  }
}

TEST(AdapterGolden, FixedGatesAreWhatTheySay) {
  const std::string root = golden_root();
  if (root.empty()) GTEST_SKIP() << "no reference data";
  const std::string folder = root + "/xlora/n3_d1_layerwise";
  for (const bool reference : {true, false}) {
    Model model = load_model(root + "/bases/llama_h64", reference);
    const auto xlora = load_xlora(folder, *model.checkpoint);
    ASSERT_TRUE(xlora.has_value()) << xlora.error().message;
    const std::vector<int32_t> ids =
        read_expected(folder + "/expected.safetensors").ids["input_ids"];
    const std::vector<int32_t> row(ids.begin(), ids.begin() + 8);
    const int64_t columns = (*xlora)->num_gates();
    const auto with_gates = [&](const Values& of_expert) {
      Values gates;
      for (int64_t i = 0; i < 8 * columns; ++i)
        gates.push_back(of_expert[static_cast<size_t>(i % 3)]);
      return run_batch(*model.runner, row, {&(*xlora)->table},
                       make_matrix(gates.data(), 8, columns));
    };
    // No expert: the base. One alone: that adapter. The last bits too: what the others add is zero.
    EXPECT_EQ(max_difference(with_gates({0, 0, 0}), run_batch(*model.runner, row, {nullptr})),
              0.0f);
    const auto& experts = (*xlora)->experts;
    EXPECT_EQ(
        max_difference(with_gates({0, 1, 0}), run_batch(*model.runner, row, {&experts[1]->table})),
        0.0f);
    EXPECT_GT(
        max_difference(with_gates({1, 0, 0}), run_batch(*model.runner, row, {&experts[1]->table})),
        0.05f);
    // Constant gates: the weighted sum.
    const auto mix =
        mix_lora_adapters({{experts[0], 0.5f}, {experts[1], -0.25f}, {experts[2], 2.0f}},
                          model.runner->config().num_layers());
    EXPECT_LE(max_difference(with_gates({0.5f, -0.25f, 2.0f}),
                             run_batch(*model.runner, row, {&mix->table})),
              kLogitLimit);
  }
}

TEST(AdapterGolden, MalformedXLoraIsRefusedInOneLine) {
  const std::string root = golden_root();
  if (root.empty()) GTEST_SKIP() << "no reference data";
  const Model model = load_model(root + "/bases/llama_h64", true);
  for (const char* name :
       {"classifier_empty", "classifier_hidden", "classifier_missing", "classifier_nan",
        "classifier_not_layerwise", "classifier_rows", "depth_mismatch", "depth_zero",
        "expert_dora", "expert_folder_missing", "expert_rank", "hidden_size_field", "no_experts",
        "temperature_zero", "topk_too_large", "topk_zero"}) {
    const std::string path = root + "/xlora_malformed/" + name;
    const auto xlora = load_xlora(path, *model.checkpoint);
    ASSERT_FALSE(xlora.has_value()) << name;
    EXPECT_TRUE(xlora.error().message.starts_with(path)) << name << ": " << xlora.error().message;
    EXPECT_EQ(xlora.error().message.find('\n'), std::string::npos);
    // Experts that may not be read are an error as well.
    const auto refuse = [](const std::string& folder) -> Result<std::string> {
      return fail(ErrorCode::kInvalidArgument, folder + ": outside");
    };
    EXPECT_FALSE(load_xlora(path, *model.checkpoint, {.folder = refuse}).has_value());
  }
}

}  // namespace
}  // namespace ruvllm
