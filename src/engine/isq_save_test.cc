// Quantized models in files: other projects' layouts read back with the logits of what was saved,
// the cache gives the second start the first one's matrices, and a failure leaves nothing that
// loads.
#include <fcntl.h>
#include <sys/resource.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "base/str.h"
#include "base/test_util.h"
#include "engine/foreign_config.h"
#include "engine/gguf_save.h"
#include "engine/isq_cache.h"
#include "engine/isq_test_util.h"
#include "engine/model_folder.h"
#include "engine/quantized_save.h"
#include "formats/safetensors_writer.h"
#include "quantize/mixed_widths.h"

namespace ruvllm {
namespace {

namespace fs = std::filesystem;

const IsqRun kFoldable{{}, {}, /*foldable_scales=*/true};

class IsqSave : public Isq {
 protected:
  void SetUp() override {
    Isq::SetUp();
    folder_ = test::make_temp_dir();
  }
  void TearDown() override { fs::remove_all(folder_); }

  // The demo model by `isq` in another's layout, and what save_quantized needs for it.
  Result<std::shared_ptr<const Checkpoint>> save_foreign(const std::string& isq,
                                                         ForeignLayout layout,
                                                         const std::string& out) {
    RUVLLM_ASSIGN(const auto source, open_checkpoint(path_));
    RUVLLM_ASSIGN(const IsqConfig config, parse_isq(isq));
    SaveFormat format;
    format.layout = layout;
    RUVLLM_ASSIGN(format.matrices, list_matrices(*source, config));
    RUVLLM_TRY(check_foreign_matrices(layout, format.matrices));
    RUVLLM_ASSIGN(auto checkpoint, quantized(path_, exact(isq), kFoldable));
    RUVLLM_ASSIGN(const SavedModel saved, save_quantized(*checkpoint, out, format));
    EXPECT_GT(saved.num_matrices, 0u);
    return checkpoint;
  }

  std::vector<fs::path> files_in(const std::string& folder) {
    std::vector<fs::path> out;
    if (!fs::exists(folder)) return out;
    for (const auto& entry : fs::directory_iterator(folder)) out.push_back(entry.path());
    return out;
  }

  std::string folder_;
};

TEST_F(IsqSave, OthersLayoutsReadBackWithTheSameLogits) {
  struct Case {
    const char* isq;
    ForeignLayout layout;
    double tolerance;  // of the logits' rms; 0 is bit for bit
  };
  // Nothing is rounded again but norms that took a scale, in f32.
  constexpr Case kCases[] = {
      {"rtn4:g32,embed=keep,head=keep", ForeignLayout::kGptq, 0.0},
      {"rtn3:g64,embed=keep,head=keep", ForeignLayout::kGptq, 0.0},
      {"rtn8:g128,embed=keep,head=keep", ForeignLayout::kGptq, 0.0},
      {"rtn4:g32:tuned1,embed=keep,head=keep", ForeignLayout::kGptq, 0.0},
      {"rtn4:g64:tuned1,embed=keep,head=keep", ForeignLayout::kAwq, 0.0},
      {"rtn4:g32:tuned1,embed=keep,head=keep", ForeignLayout::kCompressedTensors, 0.0},
      {"awq4:g64,embed=keep,head=keep", ForeignLayout::kAwq, 1e-5},
      // A norm whose readers are not all quantized takes no scale, others do.
      {"awq4:g64,embed=keep,head=keep,v_proj=keep,layers.2=keep,layers.3=keep", ForeignLayout::kAwq,
       1e-5},
      {"sq8,embed=keep,head=keep,up_proj=keep,layers.2=keep,layers.3=keep",
       ForeignLayout::kCompressedTensors, 1e-5},
      {"rtn4:g32:sym,embed=keep,head=keep,down_proj=keep", ForeignLayout::kAwq, 0.0},
      {"rtn4:g32,embed=keep,head=keep", ForeignLayout::kCompressedTensors, 0.0},
      {"rtn8:g128,embed=keep,head=keep,o_proj=keep", ForeignLayout::kCompressedTensors, 0.0}};
  int number = 0;
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.isq << " " << foreign_layout_name(c.layout));
    const std::string out = concat(folder_, "/", number++);
    const auto checkpoint = save_foreign(c.isq, c.layout, out);
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    const std::vector<float> found = logits(out, exact(""));
    const std::vector<float> expected = logits_of(*checkpoint, exact(""), ids_);
    if (c.tolerance == 0.0) {
      EXPECT_EQ(found, expected);
    } else {
      EXPECT_LT(relative_rms(found, expected), c.tolerance);
    }
    EXPECT_GT(relative_rms(found, plain_logits()), 1e-4);  // quantized indeed
  }
}

TEST_F(IsqSave, WhatALayoutCannotHoldIsSaidBeforeTheWork) {
  const auto refused = [&](const char* isq, ForeignLayout layout, const char* word) {
    const auto saved = save_foreign(isq, layout, folder_ + "/no");
    ASSERT_FALSE(saved) << isq;
    EXPECT_NE(saved.error().message.find(word), std::string::npos) << saved.error().message;
    EXPECT_TRUE(files_in(folder_).empty());
  };
  refused("rtn4", ForeignLayout::kGptq, "embed");
  refused("gptq2:rot,embed=keep,head=keep", ForeignLayout::kGptq, "rotated");
  refused("sq8,embed=keep,head=keep", ForeignLayout::kAwq, "smoothquant");
  refused("rtn4:g96,embed=keep,head=keep", ForeignLayout::kGptq, "do not divide");
  refused("rtn4,embed=keep,head=keep,down_proj=8", ForeignLayout::kGptq, "one grid");
}

TEST_F(IsqSave, AFolderThatCannotBeWrittenIsSaidBeforeTheWork) {
  const auto source = open_checkpoint(path_);
  ASSERT_TRUE(source);
  const auto refused = [&](const std::string& folder, const char* word) {
    const Status status = check_model_folder(**source, folder);
    ASSERT_FALSE(status) << folder;
    EXPECT_NE(status.error().message.find(word), std::string::npos) << status.error().message;
  };
  refused(folder_ + "/no/such", "cannot create");
  std::ofstream(folder_ + "/file") << "x";
  refused(folder_ + "/file", "cannot create");
  refused(path_, "holds a model already");
  EXPECT_TRUE(check_model_folder(**source, folder_ + "/new"));
  EXPECT_TRUE(check_model_folder(**source, folder_));
  EXPECT_EQ(files_in(folder_).size(), 1u);  // and leaves nothing
}

// A model whose config.json has a quantization_config, of something that quantized nothing.
TEST_F(IsqSave, AQuantizationConfigIsReplaced) {
  std::ofstream(folder_ + "/config.json")
      << R"({"a": 1, "quantization_config": {"old": 1}, "b": 2})";
  Json::Object quantization;
  quantization.push_back({"quant_method", Json(std::string("new"))});
  const auto text = config_with_quantization(folder_, quantization);
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(*text, "{\"a\":1,\"b\":2,\"quantization_config\":{\"quant_method\":\"new\"}}\n");
}

TEST_F(IsqSave, GgufReadsBackWithTheSameLogits) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no reference data";
  const std::string source = *shared + "/golden/stories260K/stories260K-f32.gguf";
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 64; ++i) ids.push_back((i * 37 + 11) % 500);
  struct Case {
    const char* isq;
    double tolerance;
  };
  // 172 inputs are no whole blocks. Q4_1's minimum is rounded to f16.
  constexpr Case kCases[] = {{"rtn8:g32,ffn_down=keep", 1e-6},
                             {"gptq4:g64:sym,ffn_down=keep", 1e-6},
                             {"rtn4:g32:sym:tuned1,ffn_down=keep", 1e-6},
                             {"awq4:g32,ffn_down=keep", 5e-3},
                             {"awq4:g32,ffn_down=keep,attn_v=8,ffn_up=keep", 5e-3}};
  int number = 0;
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.isq);
    LoadOptions options = exact(c.isq);
    const auto config = parse_isq(c.isq);
    const auto base = open_checkpoint(source);
    ASSERT_TRUE(base && config);
    const auto matrices = list_matrices(**base, *config);
    ASSERT_TRUE(matrices);
    const std::string out = concat(folder_, "/", number++, ".gguf");
    const Status fits = check_gguf_target(**base, *matrices, out);
    ASSERT_TRUE(fits) << fits.error().message;
    const auto checkpoint = quantized(source, options, kFoldable);
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    const auto saved = save_gguf(**checkpoint, out);
    ASSERT_TRUE(saved) << saved.error().message;
    const std::vector<float> expected = logits_of(*checkpoint, exact(""), ids);
    EXPECT_LT(relative_rms(logits_of(out, exact(""), ids), expected), c.tolerance);
    EXPECT_FALSE(check_gguf_target(**base, *matrices, out));  // it exists
  }
  const auto base = open_checkpoint(source);
  for (const auto& [isq, word] :
       {std::pair{"rtn3,ffn_down=keep", "8 or 4 bits"}, std::pair{"rtn4", "whole blocks"},
        std::pair{"gptq4:rot,ffn_down=keep", "transform"}}) {
    const Status fits =
        check_gguf_target(**base, *list_matrices(**base, *parse_isq(isq)), folder_ + "/x");
    ASSERT_FALSE(fits) << isq;
    EXPECT_NE(fits.error().message.find(word), std::string::npos) << fits.error().message;
  }
}

TEST_F(IsqSave, TheCacheGivesTheSameBitsAndNoticesWhatChanged) {
  LoadOptions options = exact("gptq3:g32:rot,mlp=keep,layers.1=keep,layers.2=keep,layers.3=keep");
  const std::vector<float> expected = logits(path_, options);
  options.isq_cache = folder_ + "/cache";
  EXPECT_EQ(logits(path_, options), expected);
  ASSERT_EQ(files_in(options.isq_cache).size(), 1u);
  const fs::path stored = files_in(options.isq_cache)[0];
  const auto time = fs::last_write_time(stored);
  EXPECT_EQ(logits(path_, options), expected);
  EXPECT_EQ(fs::last_write_time(stored), time);
  // Other settings, another text: other files.
  LoadOptions other = options;
  other.isq.replace(0, 9, "gptq3:g64");
  logits(path_, other);
  other = options;
  other.calibration_samples = 2;
  logits(path_, other);
  EXPECT_EQ(files_in(options.isq_cache).size(), 3u);
  // A file that was cut is made anew.
  fs::resize_file(stored, fs::file_size(stored) / 2);
  EXPECT_EQ(logits(path_, options), expected);
  EXPECT_EQ(logits(path_, options), expected);
  // What is folded into norms is another file.
  other = options;
  other.isq = "awq4,mlp=keep,layers.1=keep,layers.2=keep,layers.3=keep";
  const size_t before = files_in(options.isq_cache).size();
  ASSERT_TRUE(quantized(path_, other) && quantized(path_, other, kFoldable));
  EXPECT_EQ(files_in(options.isq_cache).size(), before + 2);
  // Tuned, and tuned longer.
  other.isq = "rtn3:g32,layers.1=keep,layers.2=keep,layers.3=keep";
  for (const char* passes : {":tuned1", ":tuned2"}) {
    LoadOptions tuned = other;
    tuned.isq.insert(8, passes);
    EXPECT_EQ(logits(path_, tuned), logits(path_, tuned));
  }
  EXPECT_EQ(files_in(options.isq_cache).size(), before + 4);
  // RTN, too.
  other = exact("rtn4");
  const std::vector<float> rounded = logits(path_, other);
  other.isq_cache = options.isq_cache;
  EXPECT_EQ(logits(path_, other), rounded);
  EXPECT_EQ(logits(path_, other), rounded);
}

// A change anywhere that is looked at, the very end among it, is another key; a copy is none.
TEST_F(IsqSave, TheCachesKeyCoversTheEndOfTheWeights) {
  fs::copy(path_, folder_, fs::copy_options::recursive);
  const fs::path weights = folder_ + "/model.safetensors";
  const auto size = static_cast<int64_t>(fs::file_size(weights));
  const auto time = fs::last_write_time(weights);
  const auto key = [&] {
    const auto checkpoint = open_checkpoint(folder_);
    EXPECT_TRUE(checkpoint);
    return IsqCache("x", **checkpoint, "rtn4", false, {}).path();
  };
  const std::string before = key();
  EXPECT_EQ(key(), before);
  for (const int64_t place : {size - 1, size - 300, (int64_t{1} << 20) - 1}) {
    std::fstream file(weights, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(place);
    const auto old = static_cast<char>(file.get());
    file.seekp(place);
    file.put(static_cast<char>(old ^ 1));
    file.close();
    fs::last_write_time(weights, time);
    EXPECT_NE(key(), before) << place;
    file.open(weights, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(place);
    file.put(old);
    file.close();
    fs::last_write_time(weights, time);
    EXPECT_EQ(key(), before);
  }
  fs::last_write_time(weights, time + std::chrono::seconds(1));
  EXPECT_NE(key(), before);
}

// What a full disk does: writing fails in the middle of a file.
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit now = before_;
    now.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &now);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
  }
  ~FileLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_ = {};
  void (*handler_)(int) = nullptr;
};

TEST_F(IsqSave, AFullDiskLeavesNothingThatLoads) {
  const auto checkpoint = quantized(path_, exact("rtn4"));
  ASSERT_TRUE(checkpoint);
  const std::string out = folder_ + "/model";
  LoadOptions options = exact("rtn4");
  options.isq_cache = folder_ + "/cache";
  {
    const FileLimit limit(100000);
    const auto saved = save_quantized(**checkpoint, out, {});
    ASSERT_FALSE(saved);
    EXPECT_EQ(saved.error().code, ErrorCode::kIo);
    EXPECT_NE(saved.error().message.find("model.safetensors"), std::string::npos);
    EXPECT_FALSE(logits(path_, options).empty());  // without the cache then
  }
  EXPECT_TRUE(files_in(out).empty());
  EXPECT_TRUE(files_in(options.isq_cache).empty());
  EXPECT_FALSE(open_checkpoint(out));
}

TEST_F(IsqSave, BrokenWeightsAreNamed) {
  const auto base = open_checkpoint(path_);
  ASSERT_TRUE(base);
  fs::copy(path_ + "/config.json", folder_ + "/config.json");
  fs::copy(path_ + "/tokenizer.json", folder_ + "/tokenizer.json");
  fs::copy(path_ + "/tokenizer_config.json", folder_ + "/tokenizer_config.json");
  // The demo model with one element that is no number.
  const auto break_tensor = [&](const std::string& name, size_t at) {
    SafetensorsWriter writer;
    std::vector<std::byte> copy;
    for (const FileTensor& tensor : (*base)->tensors) {
      uint64_t bytes = 0;
      ASSERT_TRUE(row_bytes(tensor.view.dtype, tensor.view.num_elements(), bytes));
      std::span<const std::byte> data{tensor.view.data, static_cast<size_t>(bytes)};
      if (tensor.name == name) {
        copy.assign(data.begin(), data.end());
        copy[at] = copy[at + 1] = std::byte{0xff};  // bf16 NaN
        data = copy;
      }
      const auto& shape = tensor.view.shape;
      ASSERT_TRUE(writer.add(tensor.name, tensor.view.dtype,
                             {shape.begin(), shape.begin() + tensor.view.rank}, data));
    }
    ASSERT_TRUE(writer.write(folder_ + "/model.safetensors"));
  };
  const auto refused = [&](const char* isq, const std::string& word) {
    const auto parts = load_model_parts(folder_, exact(isq));
    ASSERT_FALSE(parts) << isq;
    EXPECT_NE(parts.error().message.find(word), std::string::npos) << parts.error().message;
    EXPECT_NE(parts.error().message.find("finite"), std::string::npos) << parts.error().message;
  };
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  break_tensor(name, 2000);
  for (const char* isq : {"rtn4", "gptq4", "sq8", "auto:3"}) refused(isq, name);
  // A norm, of which no quantizer knows: what it does to predictions, or inputs.
  break_tensor("model.layers.3.post_attention_layernorm.weight", 10);
  refused("auto:3", "predictions");
  refused("gptq4", "layers.3.mlp.gate_proj");
}

TEST_F(IsqSave, CalibrationTextsThatCannotBeUsedAreNamed) {
  const auto refused = [&](const char* file, const std::string& text, const char* word) {
    LoadOptions options = exact("gptq4");
    options.calibration = folder_ + "/" + file;
    std::ofstream(options.calibration) << text;
    const auto parts = load_model_parts(path_, options);
    ASSERT_FALSE(parts) << file;
    EXPECT_NE(parts.error().message.find(word), std::string::npos) << parts.error().message;
  };
  refused("a.txt", "too short", "tokens, expected at least");
  refused("a.jsonl", "{\"text\": \"fine\"}\n{\"txt\": 1}\n", "line 2");
  refused("b.jsonl", "\n\n", "0 tokens");
}

TEST_F(IsqSave, MixedWidthsKeepToTheirBudgetAndAreRepeatable) {
  const auto base = open_checkpoint(path_);
  ASSERT_TRUE(base);
  std::vector<int32_t> widths[2];
  for (std::vector<int32_t>& found : widths) {
    auto matrices = list_matrices(**base, *parse_isq("auto:3,layers.0.mlp=8"));
    ASSERT_TRUE(matrices);
    const auto pool = std::make_shared<ThreadPool>(&found == &widths[0] ? 1 : 3);
    const auto parts = choose_widths({**base, *matrices, 3.0, {ids_}, pool});
    ASSERT_TRUE(parts) << parts.error().message;
    uint64_t bytes = 0, weights = 0;
    for (const PartWidth& part : *parts) {
      EXPECT_GT(part.divergence, 0.0);
      for (const size_t i : part.matrices) {
        const IsqMatrix& matrix = (*matrices)[i];
        EXPECT_EQ(matrix.name.find("layers.0.mlp"), std::string::npos);
        EXPECT_EQ(matrix.scheme.grid.bits, part.bits);
        bytes += stored_bytes(matrix.scheme.grid, matrix.rows(), matrix.cols());
        weights += static_cast<uint64_t>(matrix.rows() * matrix.cols());
      }
      found.push_back(part.bits);
      found.push_back(static_cast<int32_t>(part.group_size));
    }
    const double bits = 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
    EXPECT_LE(bits, 3.0);
    EXPECT_GT(bits, 2.7);
  }
  EXPECT_EQ(widths[0], widths[1]);
}

// Rows of 192 have a second, partly filled group of 128: 2 + 2 * 16 / 192 + 2 * 2 / 192 bits.
TEST(MixedWidths, ABudgetThatCannotBeKeptIsRefusedBeforeTheWork) {
  std::vector<IsqMatrix> matrices(2);
  for (IsqMatrix& matrix : matrices) {
    matrix.view = make_view(nullptr, DType::kF32, {192, 192});
    matrix.layer = 0;
  }
  EXPECT_TRUE(check_width_budget(matrices, 2.1876));
  const Status refused = check_width_budget(matrices, 2.1874);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("2.1875 bits"), std::string::npos)
      << refused.error().message;
  matrices[0].scheme.keep = matrices[1].scheme.keep = true;  // nothing to choose
  EXPECT_TRUE(check_width_budget(matrices, 2.0));
}

// Every family of the reference models, however it stores its matrices.
TEST(IsqFamilies, EightAndFourBitsStayNear) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no reference data";
  int families = 0;
  for (const auto& entry : fs::directory_iterator(*shared + "/golden/models")) {
    SCOPED_TRACE(entry.path().filename().string());
    LoadOptions options;
    options.compute = ComputeType::kF32;
    options.threads = 1;
    const auto checkpoint = open_checkpoint(entry.path().string());
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < 24; ++i) {
      ids.push_back((i * 37 + 11) % (*checkpoint)->config.vocab_size);
    }
    const std::vector<float> plain = logits_of(entry.path().string(), options, ids);
    options.isq = "rtn8";
    const double eight = relative_rms(logits_of(entry.path().string(), options, ids), plain);
    options.isq = "rtn4,embed=keep,head=keep";
    const double four = relative_rms(logits_of(entry.path().string(), options, ids), plain);
    EXPECT_GT(eight, 0.0);
    EXPECT_LT(eight, 0.05);
    EXPECT_GT(four, 0.0);
    EXPECT_LT(four, 0.6);
    ++families;
  }
  EXPECT_GE(families, 15);
}

}  // namespace
}  // namespace ruvllm
