// Quantization at load, with the demo model: every method near the model itself, the same bytes on
// any number of threads, cancelled cleanly, saved and read back equal.
#include <gtest/gtest.h>

#include <unistd.h>

#include <array>
#include <atomic>
#include <cmath>
#include <deque>
#include <filesystem>
#include <fstream>

#include "base/rng.h"
#include "base/str.h"
#include "base/test_util.h"
#include "engine/isq_test_util.h"
#include "engine/quantized_save.h"
#include "formats/safetensors_writer.h"
#include "quantize/calibrate.h"

namespace ruvllm {
namespace {

namespace fs = std::filesystem;

TEST_F(Isq, MethodsStayNearTheModelAndFewerBitsAreFarther) {
  const std::vector<float>& plain = plain_logits();
  const auto error = [&](const char* isq) {
    return relative_rms(logits(path_, exact(isq)), plain);
  };
  const auto calibrated = [&](const char* isq) {
    return relative_rms(logits_of(demo_by(isq).checkpoint, exact(""), ids_), plain);
  };
  const double rtn8 = error("rtn8");
  EXPECT_GT(rtn8, 0.0);
  EXPECT_LT(rtn8, 0.02);
  EXPECT_LT(calibrated("smoothquant8"), 0.05);
  const double rtn4 = error("rtn4:g32");
  EXPECT_GT(rtn4, rtn8);
  EXPECT_LT(rtn4, 0.2);
  EXPECT_LT(calibrated("awq4:g32"), 0.2);
  EXPECT_LT(calibrated("gptq4:g32"), 0.2);
  // Nothing changes where everything is kept.
  EXPECT_EQ(error("rtn4,embed=keep,layers=keep,lm_head=keep"), 0.0);
}

// Scales that a method moves between a matrix and its inputs must not reach an adapter of the same
// matrix: it was trained on the inputs as they are.
TEST_F(Isq, AdaptersStayWithinTheSumOfTheDivergences) {
  auto opened = open_checkpoint(path_);
  ASSERT_TRUE(opened);
  const std::shared_ptr<const Checkpoint> checkpoint = *std::move(opened);
  const ModelConfig& config = checkpoint->config;
  const std::string folder = test::make_temp_dir();
  constexpr int64_t kRank = 4;
  SafetensorsWriter writer;
  std::deque<std::vector<float>> numbers;
  const auto add = [&](const std::string& name, int64_t rows, int64_t cols, double size) {
    std::vector<float>& values = numbers.emplace_back(static_cast<size_t>(rows * cols));
    for (size_t i = 0; i < values.size(); ++i) {
      const double unit = static_cast<double>(random_bits(3, numbers.size(), i) % 2001) / 1000 - 1;
      values[i] = static_cast<float>(unit * size);
    }
    ASSERT_TRUE(writer.add(name, DType::kF32, {rows, cols}, std::as_bytes(std::span(values))));
  };
  const int64_t width = config.hidden_size;
  for (int32_t layer = 0; layer < config.num_layers(); ++layer) {
    const std::string of_layer = concat("base_model.model.model.layers.", layer, ".");
    const auto pair = [&](const std::string& module, int64_t inputs, int64_t outputs) {
      add(concat(of_layer, module, ".lora_A.weight"), kRank, inputs, 0.1);
      add(concat(of_layer, module, ".lora_B.weight"), outputs, kRank, 0.2);
    };
    pair("self_attn.q_proj", width, int64_t{config.num_heads} * config.head_dim);
    pair("self_attn.v_proj", width, int64_t{config.num_kv_heads} * config.head_dim);
    pair("mlp.up_proj", width, config.ffn_size);
    pair("mlp.down_proj", config.ffn_size, width);
  }
  ASSERT_TRUE(writer.write(folder + "/adapter_model.safetensors"));
  std::ofstream(folder + "/adapter_config.json")
      << R"({"peft_type":"LORA","r":4,"lora_alpha":8,)"
      << R"("target_modules":["q_proj","v_proj","up_proj","down_proj"]})";
  // Logits without and with the adapter.
  const auto both_ways = [&](const std::shared_ptr<const Checkpoint>& source) {
    std::array<std::vector<float>, 2> out;
    LoadOptions options = exact("");
    options.adapters = {{"a", folder}};
    auto parts = load_model_parts("same", source, options);
    EXPECT_TRUE(parts) << (parts ? "" : parts.error().message);
    if (!parts) return out;
    EdgeModel model(std::move(*parts));
    for (const size_t adapted : {size_t{0}, size_t{1}}) {
      model.session.set_adapter(*model.parts.adapters.select(adapted == 1 ? "a" : "base"));
      out[adapted] = logits_of(model, ids_);
    }
    return out;
  };
  const auto [plain, with_adapter] = both_ways(checkpoint);
  const double of_adapter = relative_rms(with_adapter, plain);
  EXPECT_GT(of_adapter, 0.03) << "the adapter does something";
  EXPECT_LT(of_adapter, 1.0);
  for (const char* isq : {"awq4:g32", "gptq4:g32", "smoothquant8"}) {
    const auto [quantized, together] = both_ways(demo_by(isq).checkpoint);
    const double of_isq = relative_rms(quantized, plain);
    const double of_both = relative_rms(together, plain);
    const double beside_adapter = relative_rms(together, with_adapter);
    RecordProperty(isq, concat(of_isq, " + ", of_adapter, ": ", of_both, ", ", beside_adapter));
    EXPECT_LE(of_both, of_isq + of_adapter) << isq;
    EXPECT_LE(beside_adapter, 1.5 * of_isq) << isq;
  }
}

TEST_F(Isq, MistakesAreNamed) {
  for (const auto& [isq, word] : {std::pair{"rtn5", "5 bits"}, std::pair{"sq4", "smoothquant"}}) {
    const auto parts = load_model_parts(path_, exact(isq));
    ASSERT_FALSE(parts);
    EXPECT_NE(parts.error().message.find(word), std::string::npos) << parts.error().message;
  }
  // What would do nothing.
  for (const auto& [field, word] : {std::pair{&LoadOptions::isq_cache, "--isq-cache"},
                                    std::pair{&LoadOptions::calibration, "--calibration"}}) {
    LoadOptions idle = exact("");
    idle.*field = "/tmp/x";
    const auto parts = load_model_parts(path_, idle);
    ASSERT_FALSE(parts);
    EXPECT_EQ(parts.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(parts.error().message.find(word), std::string::npos) << parts.error().message;
  }
  LoadOptions options = exact("awq4");
  options.calibration = "/no/such/text.jsonl";
  const auto parts = load_model_parts(path_, options);
  ASSERT_FALSE(parts);
  EXPECT_NE(parts.error().message.find("/no/such/text.jsonl"), std::string::npos);
}

TEST_F(Isq, ThreadsChangeNothing) {
  const auto checkpoint = open_checkpoint(path_);
  ASSERT_TRUE(checkpoint);
  const IsqConfig config = *parse_isq("gptq3:g32:rot");
  const auto matrices = list_matrices(**checkpoint, config);
  ASSERT_TRUE(matrices);
  std::vector<QuantizedMatrix> first;
  for (const int threads : {1, 3}) {
    CalibrationArgs args{.checkpoint = **checkpoint, .matrices = *matrices};
    args.samples = {ids_};
    args.pool = std::make_shared<ThreadPool>(threads);
    const auto tensors = calibrate(std::move(args));
    ASSERT_TRUE(tensors) << tensors.error().message;
    ASSERT_GT(tensors->size(), 4u);
    for (size_t i = 0; i < tensors->size(); i += 5) {
      const auto matrix = (*tensors)[i].quantized->read();
      ASSERT_TRUE(matrix);
      if (threads == 1) {
        first.push_back(*matrix);
      } else {
        EXPECT_EQ(matrix->codes, first[i / 5].codes) << (*tensors)[i].name;
        EXPECT_EQ(matrix->scales, first[i / 5].scales) << (*tensors)[i].name;
        EXPECT_FALSE(matrix->transform.empty());
      }
    }
  }
}

// Whatever was going on: choosing widths, a method, the cache, saving.
TEST_F(Isq, AStopFlagEndsEveryPartAndLeavesNothing) {
  const std::string folder = test::make_temp_dir();
  const auto ends = [](const auto& result) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::kUnavailable) << result.error().message;
  };
  for (const char* isq : {"auto:3", "gptq3:g32", "awq4", "sq8", "rtn2:tuned32", "gptq3:tuned"}) {
    SCOPED_TRACE(isq);
    LoadOptions options = exact(isq);
    options.isq_cache = folder + "/cache";
    std::atomic<bool> stop{false};
    int64_t steps = 0;
    const auto at_step_two = [&](int64_t done, int64_t total) {
      EXPECT_EQ(done, ++steps);
      EXPECT_GE(total, 28);
      stop = done == 2;
    };
    ends(quantized(path_, options, {at_step_two, stop}));
    EXPECT_LE(steps, 4);  // those of a product that was under way
    EXPECT_FALSE(fs::exists(options.isq_cache));
  }
  // RTN works when it is read: by the cache, or when it is saved.
  const std::atomic<bool> stop{true};
  LoadOptions options = exact("rtn4");
  options.isq_cache = folder + "/cache";
  ends(quantized(path_, options, {{}, stop}));
  const auto checkpoint = quantized(path_, exact("rtn4"));
  ASSERT_TRUE(checkpoint);
  ends(save_quantized(**checkpoint, folder + "/out", {{}, {}, {}, stop}));
  EXPECT_TRUE(fs::is_empty(folder));
  fs::remove_all(folder);
}

TEST_F(Isq, ProgressCountsEveryStepOnce) {
  std::vector<int64_t> seen;
  int64_t last = 0;
  const IsqRun run{[&](int64_t done, int64_t total) {
    seen.push_back(done);
    last = total;
  }};
  LoadOptions options = exact("auto:4,layers.1=keep,layers.2=keep,layers.3=keep");
  ASSERT_TRUE(quantized(path_, options, run));
  // A pass for the model and for each part of a layer (q, k, v; o; gate, up; down), 7 matrices.
  EXPECT_EQ(last, 1 + 4 + 7);
  ASSERT_EQ(seen.size(), 12u);
  for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], static_cast<int64_t>(i) + 1);
  seen.clear();
  options.isq = "auto:4:tuned3,layers.1=keep,layers.2=keep,layers.3=keep";
  ASSERT_TRUE(quantized(path_, options, run));
  EXPECT_EQ(last, 1 + 4 + 7 + 3);  // of the one piece, two sequences at a time
  ASSERT_EQ(seen.size(), 15u);
  for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], static_cast<int64_t>(i) + 1);
}

TEST_F(Isq, TunedIsNearerThanItsRoundingAndSavedAsItIs) {
  const std::string folder = test::make_temp_dir();
  for (const auto& [isq, rounding] :
       {std::pair{"rtn2:g32:tuned2", "rtn2:g32"}, std::pair{"auto:2.6:tuned2", "rtn2:g32"},
        std::pair{"gptq3:g64:tuned1,down_proj=8", "rtn3:g64"}}) {
    SCOPED_TRACE(isq);
    const auto& [quantized, summary] = demo_by(isq);
    ASSERT_TRUE(quantized);
    EXPECT_EQ(summary.isq, isq);
    const std::vector<float> found = logits_of(quantized, exact(""), ids_);
    EXPECT_LT(relative_rms(found, plain_logits()),
              relative_rms(logits(path_, exact(rounding)), plain_logits()));
    const std::string out = concat(folder, "/", summary.isq);
    const auto saved = save_quantized(*quantized, out, {{}, {}, summary.isq});
    ASSERT_TRUE(saved) << saved.error().message;
    EXPECT_EQ(logits(out, exact("")), found);
  }
  const std::string isq = "rtn2:g32:tuned2";
  EXPECT_EQ(logits(path_, exact(isq)), logits(concat(folder, "/", isq), exact("")));  // at load
  fs::remove_all(folder);
}

TEST_F(Isq, FamiliesWithoutGradientAreRefusedBeforeTheTextIsRead) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no reference data";
  LoadOptions options = exact("rtn4:g16:tuned");
  options.calibration = "/no/such/text";
  for (const auto& [family, what] :
       {std::pair{"mixtral", "a mixture of experts"}, std::pair{"gpt2", "LayerNorm"}}) {
    const auto parts = load_model_parts(concat(*shared, "/golden/models/", family), options);
    ASSERT_FALSE(parts);
    EXPECT_EQ(parts.error().code, ErrorCode::kUnsupported);
    EXPECT_NE(parts.error().message.find(what), std::string::npos) << parts.error().message;
    EXPECT_NE(parts.error().message.find("use gptq"), std::string::npos) << parts.error().message;
  }
}

TEST_F(Isq, SavedAndReadBackIsTheSame) {
  const std::string folder =
      concat(testing::TempDir(), "isq_saved_", static_cast<int64_t>(::getpid()));
  fs::remove_all(folder);
  const LoadOptions options = exact("awq4:g32");
  const auto& [quantized, summary] = demo_by("awq4:g32");
  ASSERT_TRUE(quantized);
  EXPECT_GT(summary.bits_per_weight, 4.0);
  EXPECT_LT(summary.bits_per_weight, 9.0);
  const auto saved = save_quantized(*quantized, folder, {{}, {}, summary.isq});
  ASSERT_TRUE(saved) << saved.error().message;
  EXPECT_EQ(logits(folder, exact("")), logits(path_, options));
  // Not over a model that is there, and not quantized twice.
  EXPECT_FALSE(save_quantized(*quantized, folder, {{}, {}, summary.isq}));
  const auto twice = load_model_parts(folder, exact("rtn4"));
  ASSERT_FALSE(twice);
  EXPECT_NE(twice.error().message.find("isq8"), std::string::npos) << twice.error().message;
  fs::remove_all(folder);
}

}  // namespace
}  // namespace ruvllm
