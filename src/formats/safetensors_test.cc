#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "base/json.h"
#include "base/mmap_file.h"
#include "base/str.h"
#include "base/test_util.h"
#include "formats/safetensors_writer.h"

namespace ruvllm {
namespace {

std::string with_header(const std::string& header, const std::string& data) {
  std::string out(8, '\0');
  for (size_t i = 0; i < 8; ++i) out[i] = static_cast<char>(header.size() >> (8 * i));
  return out + header + data;
}

std::span<const std::byte> as_bytes(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

std::string message_of(const std::string& file) {
  const auto parsed = parse_safetensors(as_bytes(file), "f");
  return parsed ? "" : parsed.error().message;
}

TEST(Safetensors, ReadsNamesShapesAndBytes) {
  const std::string file = with_header(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"I32","shape":[2,3],"data_offsets":[4,28]},)"
      R"("a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}})",
      std::string(28, 'x'));
  const auto tensors = parse_safetensors(as_bytes(file), "f");
  ASSERT_TRUE(tensors) << tensors.error().message;
  ASSERT_EQ(tensors->size(), 2u);
  const FileTensor& b = (*tensors)[0];
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.view.dtype, DType::kI32);
  EXPECT_EQ(b.view.rank, 2);
  EXPECT_EQ(b.view.dim(1), 3);
  EXPECT_EQ(b.view.stride[0], 3);
  EXPECT_EQ(b.view.data - as_bytes(file).data(), static_cast<std::ptrdiff_t>(file.size() - 24));
  EXPECT_EQ((*tensors)[1].view.data - as_bytes(file).data(),
            static_cast<std::ptrdiff_t>(file.size() - 28));
}

TEST(Safetensors, EveryDTypeOfTheFormat) {
  struct Case {
    const char* name;
    DType dtype;
    size_t bytes;
  };
  constexpr Case kCases[] = {
      {"F32", DType::kF32, 4},        {"F16", DType::kF16, 2},        {"BF16", DType::kBF16, 2},
      {"F8_E4M3", DType::kF8E4M3, 1}, {"F8_E5M2", DType::kF8E5M2, 1}, {"I8", DType::kI8, 1},
      {"U8", DType::kU8, 1},          {"I16", DType::kI16, 2},        {"I32", DType::kI32, 4},
      {"I64", DType::kI64, 8},        {"F64", DType::kF64, 8},        {"BOOL", DType::kBool, 1},
  };
  for (const Case& c : kCases) {
    const std::string file =
        with_header(concat(R"({"t":{"dtype":")", c.name, R"(","shape":[3],"data_offsets":[0,)",
                           3 * c.bytes, "]}}"),
                    std::string(3 * c.bytes, '\0'));
    const auto tensors = parse_safetensors(as_bytes(file), "f");
    ASSERT_TRUE(tensors) << tensors.error().message;
    EXPECT_EQ((*tensors)[0].view.dtype, c.dtype);
    EXPECT_EQ(safetensors_dtype_name(c.dtype), c.name);
  }
}

TEST(Safetensors, MessagesNameTensorFoundAndExpected) {
  const std::string u32 =
      with_header(R"({"t":{"dtype":"U32","shape":[1],"data_offsets":[0,4]}})", "abcd");
  EXPECT_EQ(message_of(u32), "f: tensor \"t\": dtype U32 is not supported");
  const std::string sizes =
      with_header(R"({"t":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "abcdefgh");
  EXPECT_EQ(message_of(sizes),
            "f: tensor \"t\": data_offsets hold 8 bytes, expected 12 for [3] f32");
  const std::string rank =
      with_header(R"({"t":{"dtype":"I8","shape":[1,1,1,1,1],"data_offsets":[0,1]}})", "a");
  EXPECT_EQ(message_of(rank), "f: tensor \"t\": shape: found 5 dimensions, expected at most 4");
  EXPECT_NE(message_of("version https://git-lfs.github.com/spec/v1\noid").find("git-lfs pointer"),
            std::string::npos);
}

TEST(Safetensors, EveryCutOfAFileIsRefused) {
  const std::string file = with_header(
      R"({"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}})", std::string(8, 'x'));
  ASSERT_EQ(message_of(file), "");
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_NE(message_of(file.substr(0, size)), "") << size;
  }
  EXPECT_NE(message_of(file + "y"), "");
}

TEST(Safetensors, IndexNeverLeavesItsFolder) {
  for (const char* name :
       {"../model.safetensors", "/etc/x.safetensors", "a/b.safetensors", "", "..", "model.bin",
        ".safetensors", "a\\\\b.safetensors", "c:x.safetensors", "a\\u0000.safetensors"}) {
    const auto index =
        parse_safetensors_index(concat(R"({"weight_map":{"t":")", name, "\"}}"), "i");
    EXPECT_FALSE(index) << name;
  }
  const auto index = parse_safetensors_index(
      R"({"metadata":{},"weight_map":{"t":"b.safetensors","u":"a.safetensors","v":"b.safetensors"}})",
      "i");
  ASSERT_TRUE(index) << index.error().message;
  EXPECT_EQ(index->shards, (std::vector<std::string>{"a.safetensors", "b.safetensors"}));
  EXPECT_EQ(index->tensor_to_shard.size(), 3u);
}

TEST(Safetensors, GoldenMalformedFiles) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no reference data";
  const std::string folder = *shared + "/golden/malformed/";
  const auto text = read_text_file(folder + "safetensors_index.json", 1 << 20);
  ASSERT_TRUE(text);
  const auto cases = Json::parse(*text);
  ASSERT_TRUE(cases);
  size_t seen = 0;
  for (const Json& c : *cases->as_array()) {
    const std::string path = folder + *c.find("file")->as_string();
    const auto file = MmapFile::open(path);
    ASSERT_TRUE(file) << file.error().message;
    const auto parsed = parse_safetensors(file->bytes(), path);
    const std::string& must = *c.find("must")->as_string();
    if (must == "accept") {
      EXPECT_TRUE(parsed) << path << ": " << parsed.error().message;
    } else if (must == "reject") {
      ASSERT_FALSE(parsed) << path << ": " << *c.find("why")->as_string();
      EXPECT_TRUE(parsed.error().message.starts_with(path + ": "));
      EXPECT_EQ(parsed.error().message.find('\n'), std::string::npos);
    }
    ++seen;
  }
  EXPECT_GT(seen, 50u);
}

TEST(SafetensorsWriter, WhatItWritesReadsBack) {
  const std::string folder = test::make_temp_dir();
  ASSERT_FALSE(folder.empty());
  const std::vector<uint8_t> small = {1, 2, 3};
  const std::vector<float> large = {1.5f, -2.0f};
  SafetensorsWriter writer;
  writer.add_metadata("made by", "a \"test\"");
  ASSERT_TRUE(writer.add("small", DType::kU8, {3}, std::as_bytes(std::span(small))));
  ASSERT_TRUE(writer.add("nothing", DType::kF16, {0, 4}, {}));
  ASSERT_TRUE(writer.add("large\n", DType::kF32, {1, 2}, std::as_bytes(std::span(large))));
  EXPECT_FALSE(writer.add("small", DType::kU8, {3}, std::as_bytes(std::span(small))));
  EXPECT_FALSE(writer.add("other", DType::kU8, {4}, std::as_bytes(std::span(small))));
  EXPECT_FALSE(writer.add("blocks", DType::kQ4_0, {32}, std::as_bytes(std::span(small))));
  ASSERT_TRUE(writer.write(folder + "/x.safetensors"));

  const auto file = MmapFile::open(folder + "/x.safetensors");
  ASSERT_TRUE(file);
  const auto tensors = parse_safetensors(file->bytes(), "x");
  ASSERT_TRUE(tensors) << tensors.error().message;
  ASSERT_EQ(tensors->size(), 3u);
  for (const FileTensor& tensor : *tensors) {
    if (tensor.name == "large\n") {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.view.data) % 4, 0u);
      EXPECT_EQ(std::memcmp(tensor.view.data, large.data(), 8), 0);
      EXPECT_EQ(tensor.view.rank, 2);
    } else if (tensor.name == "small") {
      EXPECT_EQ(std::memcmp(tensor.view.data, small.data(), 3), 0);
    } else {
      EXPECT_EQ(tensor.view.num_elements(), 0);
    }
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    EXPECT_FALSE(entry.path().string().ends_with(".tmp")) << entry.path();
  }
  EXPECT_FALSE(writer.write(folder + "/no/such/folder"));
}

}  // namespace
}  // namespace ruvllm
