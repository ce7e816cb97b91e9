#include "formats/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "base/json.h"
#include "base/str.h"
#include "base/test_util.h"
#include "formats/checkpoint.h"
#include "formats/gguf_test_util.h"

namespace ruvllm {
namespace {

namespace fs = std::filesystem;

TEST(Gguf, GenerationDefaults) {
  const auto read = [](const GgufBuilder& builder) {
    const std::string bytes = builder.build();
    const auto file = parse_gguf(as_bytes(bytes), "f");
    EXPECT_TRUE(file);
    return gguf_generation_defaults(*file);
  };
  const auto none = read(GgufBuilder().f32("general.temp", 0.3f));
  ASSERT_TRUE(none);
  EXPECT_FALSE(none->temperature || none->top_p || none->top_k || none->repetition_penalty);
  const auto all = read(GgufBuilder()
                            .f32("general.sampling.temp", 0.6f)
                            .u32("general.sampling.top_k", 20)
                            .f32("general.sampling.top_p", 0.95f)
                            .f32("general.sampling.min_p", 0.01f)
                            .f32("general.sampling.penalty_repeat", 1.05f));
  ASSERT_TRUE(all);
  GenerateParams params;
  params.presence_penalty = 0.5f;
  all->apply_to(params);
  EXPECT_EQ(params.temperature, 0.6f);
  EXPECT_EQ(params.top_k, 20);
  EXPECT_EQ(params.top_p, 0.95f);
  EXPECT_EQ(params.min_p, 0.01f);
  EXPECT_EQ(params.repetition_penalty, 1.05f);
  EXPECT_EQ(params.presence_penalty, 0.5f);
  const auto bad = read(GgufBuilder().f32("general.sampling.top_p", 1.5f));
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.error().message.find("top_p"), std::string::npos);
}

TEST(Gguf, ValuesOfEveryType) {
  GgufBuilder b;
  b.entry("u8", GgufType::kU8, GgufBuilder::raw<uint8_t>(200));
  b.entry("i8", GgufType::kI8, GgufBuilder::raw<int8_t>(-3));
  b.entry("u16", GgufType::kU16, GgufBuilder::raw<uint16_t>(65535));
  b.entry("i16", GgufType::kI16, GgufBuilder::raw<int16_t>(-300));
  b.u32("u32", 4000000000u).f32("f32", 1.5f).string("string", "text");
  b.entry("i32", GgufType::kI32, GgufBuilder::raw<int32_t>(-70000));
  b.entry("bool", GgufType::kBool, GgufBuilder::raw<uint8_t>(1));
  b.entry("u64", GgufType::kU64, GgufBuilder::raw<uint64_t>(UINT64_MAX));
  b.entry("i64", GgufType::kI64, GgufBuilder::raw<int64_t>(INT64_MIN));
  b.entry("f64", GgufType::kF64, GgufBuilder::raw<double>(-0.25));
  b.array("strings", GgufType::kString,
          {GgufBuilder::text("a"), GgufBuilder::text(""), GgufBuilder::text("bc")});
  b.array("ints", GgufType::kI16, {GgufBuilder::raw<int16_t>(-1), GgufBuilder::raw<int16_t>(7)});
  b.array("none", GgufType::kF32, {});
  const std::string bytes = b.build(2);
  const auto file = parse_gguf(as_bytes(bytes), "f");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->version, 2u);
  EXPECT_EQ(file->metadata.size(), 15u);
  EXPECT_EQ(file->find("u8")->as_int64(), 200);
  EXPECT_EQ(file->find("i8")->as_int64(), -3);
  EXPECT_EQ(file->find("u16")->as_int64(), 65535);
  EXPECT_EQ(file->find("i16")->as_int64(), -300);
  EXPECT_EQ(file->find("u32")->as_int64(), 4000000000);
  EXPECT_EQ(file->find("i32")->as_int64(), -70000);
  EXPECT_EQ(file->find("u64")->as_int64(), std::nullopt);
  EXPECT_EQ(file->find("u64")->as_double(), 18446744073709551615.0);
  EXPECT_EQ(file->find("i64")->as_int64(), INT64_MIN);
  EXPECT_EQ(file->find("f32")->as_double(), 1.5);
  EXPECT_EQ(file->find("f32")->as_int64(), std::nullopt);
  EXPECT_EQ(file->find("f64")->as_double(), -0.25);
  EXPECT_EQ(file->find("bool")->as_bool(), true);
  EXPECT_EQ(file->find("bool")->as_int64(), std::nullopt);
  EXPECT_EQ(file->find("string")->as_string(), "text");
  EXPECT_EQ(file->find("absent"), nullptr);
  std::vector<std::string_view> strings;
  ASSERT_TRUE(file->find("strings")->get_strings(strings));
  EXPECT_EQ(strings, (std::vector<std::string_view>{"a", "", "bc"}));
  std::vector<int64_t> ints;
  EXPECT_FALSE(file->find("strings")->get_integers(ints));
  ASSERT_TRUE(file->find("ints")->get_integers(ints));
  EXPECT_EQ(ints, (std::vector<int64_t>{-1, 7}));
  std::vector<double> doubles;
  EXPECT_TRUE(file->find("none")->get_doubles(doubles));
  EXPECT_TRUE(doubles.empty());
  EXPECT_EQ(file->find("ints")->describe(), "array of 2 i16");
}

TEST(Gguf, EveryCutOfAFileIsRefused) {
  const std::string file = model("llama")
                               .array("a", GgufType::kString, {GgufBuilder::text("xyz")})
                               .tensor("t", {2, 3}, 1.0f)
                               .build();
  ASSERT_TRUE(parse_gguf(as_bytes(file), "f"));
  // The last tensor's data ends 8 bytes before the padded end of the file.
  for (size_t size = 0; size < file.size() - 8; ++size) {
    const std::string cut = file.substr(0, size);
    const auto parsed = parse_gguf(as_bytes(cut), "f");
    EXPECT_FALSE(parsed) << size;
  }
}

TEST(Gguf, TensorShapesAreReversed) {
  const std::string file = model("llama").tensor("t", {2, 3, 5}, 2.5f).build();
  const auto parsed = parse_gguf(as_bytes(file), "f");
  ASSERT_TRUE(parsed) << parsed.error().message;
  const TensorView& view = parsed->tensors[1].view;
  EXPECT_EQ(view.rank, 3);
  EXPECT_EQ(view.dim(0), 5);
  EXPECT_EQ(view.dim(2), 2);
  EXPECT_EQ(view.stride[0], 6);
  EXPECT_EQ(view.stride[2], 1);
  float first = 0;
  std::memcpy(&first, view.data, 4);
  EXPECT_EQ(first, 2.5f);
}

TEST(Gguf, GoldenMalformedFiles) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no reference data";
  const std::string folder = *shared + "/golden/malformed/";
  const auto text = read_text_file(folder + "gguf_index.json", 1 << 20);
  ASSERT_TRUE(text);
  const auto cases = Json::parse(*text);
  ASSERT_TRUE(cases);
  // What only the tokenizer's reader or the weight loader can see.
  const std::set<std::string> elsewhere = {
      "tokens_are_u32",    "scores_are_strings", "scores_short",   "tokenizer_model_unknown",
      "ffn_length_wrong",  "block_count_two",    "integer_weight", "q_transposed_kv",
      "norm_wrong_length", "norm_missing",       "q_missing"};
  size_t seen = 0;
  for (const Json& c : *cases->as_array()) {
    const std::string path = folder + *c.find("file")->as_string();
    const std::string name = fs::path(path).stem().string();
    const auto opened = open_checkpoint(path);
    const std::string& must = *c.find("must")->as_string();
    if (must == "accept" || elsewhere.contains(name)) {
      EXPECT_TRUE(opened) << opened.error().message;
    } else if (must == "reject") {
      ASSERT_FALSE(opened) << path << ": " << *c.find("why")->as_string();
      EXPECT_TRUE(opened.error().message.starts_with(path + ": ")) << opened.error().message;
      EXPECT_EQ(opened.error().message.find('\n'), std::string::npos);
    }
    ++seen;
  }
  EXPECT_GT(seen, 100u);
}

TEST(Gguf, GoldenFilesOpen) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no reference data";
  size_t seen = 0;
  for (const char* folder : {"gguf_blocks", "stories260K"}) {
    for (const auto& entry : fs::directory_iterator(*shared + "/golden/" + folder)) {
      if (entry.path().extension() != ".gguf") continue;
      const auto opened = open_checkpoint(entry.path().string());
      ASSERT_TRUE(opened) << opened.error().message;
      const ModelConfig& config = (*opened)->config;
      EXPECT_EQ((*opened)->format, "gguf");
      EXPECT_EQ((*opened)->names, NameStyle::kGguf);
      EXPECT_EQ(config.family, Family::kLlama);
      EXPECT_EQ(config.rope.layout, RopeLayout::kInterleaved);
      EXPECT_EQ(config.bos_id, 1);
      EXPECT_EQ(config.eos_ids, std::vector<int32_t>{2});
      EXPECT_EQ(config.tied_embeddings, (*opened)->find("output.weight") == nullptr);
      EXPECT_NEAR(config.norm_eps, 1e-5f, 1e-12f);
      ++seen;
    }
  }
  EXPECT_EQ(seen, 22u);
}

}  // namespace
}  // namespace ruvllm
