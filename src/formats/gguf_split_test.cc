// GGUF models in several files.
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>

#include "base/test_util.h"
#include "formats/checkpoint.h"
#include "formats/gguf_test_util.h"

namespace ruvllm {
namespace {

TEST(GgufSplit, Names) {
  const auto name = parse_gguf_split_name("/a/b-00002-of-00011.gguf");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->prefix, "/a/b");
  EXPECT_EQ(name->part, 2u);
  EXPECT_EQ(name->parts, 11u);
  EXPECT_EQ(gguf_split_path(*name, 11), "/a/b-00011-of-00011.gguf");
  for (const char* bad :
       {"b.gguf", "-00001-of-00002.gguf", "b-00003-of-00002.gguf", "b-00000-of-00002.gguf",
        "b-0001-of-00002.gguf", "b-00001-of-0000x.gguf"}) {
    EXPECT_FALSE(parse_gguf_split_name(bad)) << bad;
  }
}

class GgufSplitFiles : public testing::Test {
 protected:
  void SetUp() override { folder_ = test::make_temp_dir(); }
  void write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ + "/" + name, std::ios::binary) << bytes;
  }
  static GgufBuilder part(GgufBuilder b, uint16_t number, uint16_t count, int32_t tensors) {
    b.entry("split.no", GgufType::kU16, GgufBuilder::raw(number));
    b.entry("split.count", GgufType::kU16, GgufBuilder::raw(count));
    b.entry("split.tensors.count", GgufType::kI32, GgufBuilder::raw(tensors));
    return b;
  }
  Result<std::unique_ptr<Checkpoint>> open(const std::string& name) {
    return open_checkpoint(folder_ + "/" + name);
  }
  std::string folder_;
};

TEST_F(GgufSplitFiles, AnyPartOpensTheWhole) {
  write("m-00001-of-00002.gguf", part(model("llama"), 0, 2, 2).build());
  write("m-00002-of-00002.gguf",
        part(GgufBuilder().tensor("output.weight", {32, 16}), 1, 2, 2).build());
  for (const char* name : {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"}) {
    const auto opened = open(name);
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_EQ((*opened)->tensors.size(), 2u);
    ASSERT_NE((*opened)->find("output.weight"), nullptr);
    EXPECT_TRUE((*opened)->find("output.weight")->file.ends_with("m-00002-of-00002.gguf"));
    EXPECT_FALSE((*opened)->config.tied_embeddings);
    EXPECT_EQ((*opened)->files.size(), 2u);
  }
}

TEST_F(GgufSplitFiles, ContradictionsAreRefused) {
  const GgufBuilder second = GgufBuilder().tensor("output.weight", {32, 16});
  write("m-00001-of-00002.gguf", part(model("llama"), 0, 2, 2).build());
  EXPECT_EQ(open("m-00001-of-00002.gguf").error().code, ErrorCode::kNotFound);
  write("m-00002-of-00002.gguf", part(second, 0, 2, 2).build());  // calls itself the first
  EXPECT_FALSE(open("m-00001-of-00002.gguf"));
  write("m-00002-of-00002.gguf", second.build());  // does not say what it is
  EXPECT_FALSE(open("m-00001-of-00002.gguf"));
  write("m-00002-of-00002.gguf",
        part(GgufBuilder().tensor("token_embd.weight", {32, 16}), 1, 2, 2).build());
  EXPECT_NE(open("m-00001-of-00002.gguf").error().message.find("is also in"), std::string::npos);
  write("m-00001-of-00002.gguf", part(model("llama"), 0, 2, 3).build());
  write("m-00002-of-00002.gguf", part(second, 1, 2, 3).build());
  EXPECT_NE(open("m-00001-of-00002.gguf").error().message.find("split.tensors.count"),
            std::string::npos);
  write("alone.gguf", part(model("llama"), 0, 2, 2).build());
  EXPECT_NE(open("alone.gguf").error().message.find("one of 2 parts"), std::string::npos);
}

}  // namespace
}  // namespace ruvllm
