#include "formats/checkpoint.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "base/json.h"
#include "base/str.h"
#include "base/test_util.h"

namespace ruvllm {
namespace {

namespace fs = std::filesystem;

void write_file(const fs::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

Json read_json(const std::string& path) {
  const auto text = read_text_file(path, 1 << 20);
  EXPECT_TRUE(text) << path;
  auto json = Json::parse(text ? *text : "null");
  EXPECT_TRUE(json) << path;
  return json ? *json : Json();
}

// The text of `base` with the edits of one overlay case.
std::string edited_config(const Json& base, const Json& edits) {
  if (const Json* text = edits.find("config_text")) return *text->as_string();
  Json::Object out;
  const Json* drop = edits.find("config_drop");
  const Json* set = edits.find("config_set");
  for (const JsonMember& member : *base.as_object()) {
    bool keep = set == nullptr || set->find(member.key) == nullptr;
    if (drop != nullptr) {
      for (const Json& key : *drop->as_array()) keep = keep && *key.as_string() != member.key;
    }
    if (keep) out.push_back(member);
  }
  if (set != nullptr) out.insert(out.end(), set->as_object()->begin(), set->as_object()->end());
  return Json(out).dump();
}

void make_overlay(const fs::path& base, const Json& edits, const fs::path& folder) {
  fs::create_directory(folder);
  if (edits.find("config_missing") == nullptr) {
    write_file(folder / "config.json",
               edited_config(read_json((base / "config.json").string()), edits));
  }
  if (edits.find("weights_missing") == nullptr) {
    fs::create_symlink(base / "model.safetensors", folder / "model.safetensors");
  }
  if (const Json* index = edits.find("index")) {
    write_file(folder / "model.safetensors.index.json", index->dump());
  }
}

TEST(Checkpoint, GoldenOverlays) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no reference data";
  const Json overlays = read_json(*shared + "/golden/malformed/hf_overlays.json");
  const fs::path base = fs::path(*shared) / "golden" / *overlays.find("base_model")->as_string();
  const fs::path temp = test::make_temp_dir();
  // What only the tensors' shapes and names can show: refused by the weight loader.
  const std::set<std::string> of_the_weights = {"layers_one_more", "vocab_mismatch"};
  for (const Json& c : *overlays.find("cases")->as_array()) {
    const std::string& name = *c.find("name")->as_string();
    make_overlay(base, c, temp / name);
    const auto opened = open_checkpoint((temp / name).string());
    const std::string& must = *c.find("must")->as_string();
    if (must == "accept" || of_the_weights.contains(name)) {
      EXPECT_TRUE(opened) << name << ": " << opened.error().message;
    } else if (must == "reject") {
      ASSERT_FALSE(opened) << name << ": " << *c.find("why")->as_string();
      EXPECT_TRUE(opened.error().message.starts_with((temp / name).string())) << name;
      EXPECT_EQ(opened.error().message.find('\n'), std::string::npos) << name;
    }
  }
}

TEST(Checkpoint, GoldenModelsOpen) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no reference data";
  size_t seen = 0;
  for (const auto& entry : fs::directory_iterator(*shared + "/golden/models")) {
    const auto opened = open_checkpoint(entry.path().string() + "/");
    ASSERT_TRUE(opened) << opened.error().message;
    const Checkpoint& checkpoint = **opened;
    EXPECT_EQ(checkpoint.format, "safetensors");
    const FileTensor* embedding = checkpoint.find("model.embed_tokens.weight");
    if (embedding == nullptr) embedding = checkpoint.find("transformer.wte.weight");
    ASSERT_NE(embedding, nullptr);
    EXPECT_EQ(checkpoint.config.vocab_size, embedding->view.dim(0)) << entry.path();
    EXPECT_EQ(checkpoint.config.hidden_size, embedding->view.dim(1)) << entry.path();
    EXPECT_EQ(checkpoint.config.eos_ids, std::vector<int32_t>{2}) << entry.path();
    EXPECT_EQ(checkpoint.config.bos_id, 1) << entry.path();
    EXPECT_GE(checkpoint.config.num_layers(), 3) << entry.path();
    for (const FileTensor& tensor : checkpoint.tensors) {
      EXPECT_EQ(checkpoint.find(tensor.name), &tensor);
    }
    EXPECT_EQ(checkpoint.find("no.such.tensor"), nullptr);
    ++seen;
  }
  EXPECT_EQ(seen, 18u);
}

TEST(Checkpoint, ShardsMustHoldWhatTheIndexSays) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no reference data";
  const fs::path base = fs::path(*shared) / "golden/models/mixtral";
  const fs::path folder = fs::path(test::make_temp_dir()) / "m";
  fs::create_directory(folder);
  for (const auto& entry : fs::directory_iterator(base)) {
    if (entry.path().filename() != "model.safetensors.index.json") {
      fs::create_symlink(entry.path(), folder / entry.path().filename());
    }
  }
  std::string index = read_json((base / "model.safetensors.index.json").string()).dump();
  write_file(folder / "model.safetensors.index.json", index);
  ASSERT_TRUE(open_checkpoint(folder.string()));

  const std::string from = "\"model.norm.weight\":\"model-0000";
  const size_t at = index.find(from);
  ASSERT_NE(at, std::string::npos);
  index[at + from.size()] = index[at + from.size()] == '1' ? '2' : '1';
  write_file(folder / "model.safetensors.index.json", index);
  const auto opened = open_checkpoint(folder.string());
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("\"model.norm.weight\" is not in model-0000"),
            std::string::npos)
      << opened.error().message;
}

TEST(Checkpoint, UnalignedTensorsAreCopied) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no reference data";
  const fs::path base = fs::path(*shared) / "golden/models/llama_gqa";
  const fs::path folder = fs::path(test::make_temp_dir()) / "m";
  fs::create_directory(folder);
  fs::copy_file(base / "config.json", folder / "config.json");
  std::string file = *read_text_file((base / "model.safetensors").string(), 1 << 24);
  // One more space after the header: its length is odd and every tensor moves by one byte.
  const size_t header = static_cast<unsigned char>(file[0]) +
                        256 * static_cast<size_t>(static_cast<unsigned char>(file[1]));
  ASSERT_LT(file[0], 127);
  file[0] = static_cast<char>(file[0] + 1);
  file.insert(8 + header, 1, ' ');
  write_file(folder / "model.safetensors", file);

  const auto moved = open_checkpoint(folder.string());
  ASSERT_TRUE(moved) << moved.error().message;
  const auto original = open_checkpoint(base.string());
  ASSERT_TRUE(original);
  EXPECT_EQ((*moved)->copies.size(), (*moved)->tensors.size());
  EXPECT_TRUE((*original)->copies.empty());
  for (const FileTensor& tensor : (*moved)->tensors) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.view.data) % 4, 0u);
    const FileTensor* other = (*original)->find(tensor.name);
    ASSERT_NE(other, nullptr);
    EXPECT_EQ(std::memcmp(tensor.view.data, other->view.data,
                          static_cast<size_t>(tensor.view.num_elements()) * 4),
              0);
  }
}

}  // namespace
}  // namespace ruvllm
