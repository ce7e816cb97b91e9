#include "lora/adapter_store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "base/str.h"
#include "base/test_util.h"
#include "formats/safetensors_writer.h"

namespace ruvllm {
namespace {

ModelConfig tiny_config() {
  ModelConfig config;
  config.architecture = "LlamaForCausalLM";
  config.vocab_size = 8;
  config.hidden_size = 8;
  config.ffn_size = 16;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 4;
  config.layers.resize(2);
  return config;
}

std::shared_ptr<const Checkpoint> tiny_base() {
  auto base = std::make_shared<Checkpoint>();
  base->config = tiny_config();
  return base;
}

// An adapter of q_proj [8, 8] with r = 2 whose numbers are all `value`: 2 layers, f32, A [2, 8] and
// B in a panel.
constexpr uint64_t kAdapterBytes = 2 * (2 * 8 + 2 * kLoraPanel) * 4;

void write_text(const std::string& path, std::string_view text) {
  FILE* file = std::fopen(path.c_str(), "wb");
  ASSERT_NE(file, nullptr) << path;
  std::fwrite(text.data(), 1, text.size(), file);
  std::fclose(file);
}

void write_adapter(const std::string& folder, float value) {
  ::mkdir(folder.c_str(), 0755);
  write_text(folder + "/adapter_config.json",
             R"({"peft_type":"LORA","r":2,"lora_alpha":2,"target_modules":["q_proj"]})");
  const std::vector<float> numbers(16, value);
  SafetensorsWriter writer;
  for (int layer = 0; layer < 2; ++layer) {
    const std::string name =
        concat("base_model.model.model.layers.", layer, ".self_attn.q_proj.lora_");
    ASSERT_TRUE(
        writer.add(name + "A.weight", DType::kF32, {2, 8}, std::as_bytes(std::span(numbers)))
            .has_value());
    ASSERT_TRUE(
        writer.add(name + "B.weight", DType::kF32, {8, 2}, std::as_bytes(std::span(numbers)))
            .has_value());
  }
  ASSERT_TRUE(writer.write(folder + "/adapter_model.safetensors").has_value());
}

float value_of(const StoredAdapter& adapter) {
  float value = 0.0f;
  std::memcpy(&value, adapter.mix->parts.front().adapter->pairs.front().a.data(), sizeof value);
  return value;
}

class Store : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = test::make_temp_dir();
    ASSERT_FALSE(root_.empty());
    for (int i = 0; i < 4; ++i) write_adapter(concat(root_, "/a", i), static_cast<float>(i + 1));
  }
  AdapterStoreOptions options(uint64_t bytes = 1 << 20) const {
    AdapterStoreOptions options;
    options.root = root_;
    options.memory_bytes = bytes;
    return options;
  }
  std::string root_;
};

TEST_F(Store, NamesComeAndGoAndRequestsKeepWhatTheyHave) {
  AdapterStore store(tiny_base(), options());
  EXPECT_FALSE(store.acquire("x").has_value());
  const auto first = store.add("x", "a0");
  ASSERT_TRUE(first.has_value()) << first.error().message;
  EXPECT_FALSE(store.add("x", "a1").has_value());
  const auto held = store.acquire("x");
  ASSERT_TRUE(held.has_value());
  EXPECT_EQ(held->generation, *first);
  const auto second = store.add("x", "a1", true);
  ASSERT_TRUE(second.has_value());
  EXPECT_GT(*second, *first);
  EXPECT_EQ(value_of(*held), 1.0f);
  EXPECT_EQ(value_of(store.acquire("x").value()), 2.0f);
  EXPECT_TRUE(store.remove("x").has_value());
  EXPECT_FALSE(store.remove("x").has_value());
  EXPECT_EQ(store.acquire("x").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(value_of(*held), 1.0f);
  EXPECT_GT(store.add("x", "a0").value(), *second);
}

TEST_F(Store, TheLeastRecentlyUsedGoesAndComesBack) {
  AdapterStore store(tiny_base(), options(2 * kAdapterBytes));
  ASSERT_TRUE(store.add("0", "a0").has_value());
  ASSERT_TRUE(store.add("1", "a1").has_value());
  ASSERT_TRUE(store.acquire("0").has_value());
  ASSERT_TRUE(store.add("2", "a2").has_value());  // "1" goes
  const std::vector<AdapterInfo> list = store.list();
  ASSERT_EQ(list.size(), 3u);
  EXPECT_TRUE(list[0].resident);
  EXPECT_FALSE(list[1].resident);
  EXPECT_TRUE(list[2].resident);
  EXPECT_EQ(list[1].max_rank, 2);
  EXPECT_EQ(store.resident_bytes(), 2 * kAdapterBytes);
  const auto back = store.acquire("1");
  ASSERT_TRUE(back.has_value()) << back.error().message;
  EXPECT_EQ(value_of(*back), 2.0f);
  EXPECT_EQ(back->generation, list[1].generation);
  // Both places held: nothing can go.
  const auto other = store.acquire("2");
  ASSERT_TRUE(other.has_value());
  EXPECT_EQ(store.acquire("0").error().code, ErrorCode::kUnavailable);
  AdapterStore small(tiny_base(), options(kAdapterBytes - 1));
  EXPECT_EQ(small.add("0", "a0").error().code, ErrorCode::kOutOfMemory);
}

TEST_F(Store, ClaimsCountInTheBudgetUntilTheLastCopyGoes) {
  MemoryClaim outlives;
  {
    AdapterStore store(tiny_base(), options(2 * kAdapterBytes));
    ASSERT_TRUE(store.add("0", "a0").has_value());
    ASSERT_TRUE(store.add("1", "a1").has_value());
    auto claim = store.claim(kAdapterBytes);
    ASSERT_TRUE(claim.has_value()) << claim.error().message;
    EXPECT_FALSE(store.list()[0].resident) << "the least recently used made room";
    EXPECT_TRUE(store.list()[1].resident);
    EXPECT_EQ(store.resident_bytes(), 2 * kAdapterBytes);
    const MemoryClaim copy = *claim;
    claim->reset();
    const auto held = store.acquire("1");
    EXPECT_EQ(store.acquire("0").error().code, ErrorCode::kUnavailable);
    EXPECT_EQ(store.claim(1).error().code, ErrorCode::kUnavailable);
    EXPECT_EQ(store.claim(2 * kAdapterBytes + 1).error().code, ErrorCode::kOutOfMemory);
    outlives = copy;
  }
  EXPECT_EQ(*outlives, kAdapterBytes);
  AdapterStore store(tiny_base(), options(kAdapterBytes));
  {
    ASSERT_TRUE(store.claim(kAdapterBytes).has_value());
  }
  EXPECT_TRUE(store.add("0", "a0").has_value()) << "the claim went with its only copy";
}

TEST_F(Store, FilesThatCannotFitAreNotRead) {
  // The budget allows twice its bytes, 16 for each number of the base's matrix, and 1 MiB.
  std::FILE* file = std::fopen((root_ + "/a0/adapter_model.safetensors").c_str(), "r+b");
  ASSERT_NE(file, nullptr);
  std::fseek(file, 4 << 20, SEEK_SET);
  std::fputc(0, file);
  std::fclose(file);
  AdapterStore store(tiny_base(), options(kAdapterBytes));
  const auto added = store.add("0", "a0");
  ASSERT_FALSE(added.has_value());
  EXPECT_NE(added.error().message.find("4194305"), std::string::npos) << added.error().message;
}

TEST_F(Store, ChangedFilesAreNoticed) {
  AdapterStoreOptions one = options();
  one.max_resident = 1;
  AdapterStore store(tiny_base(), one);
  ASSERT_TRUE(store.add("0", "a0").has_value());
  ASSERT_TRUE(store.add("1", "a1").has_value());
  write_adapter(root_ + "/a0", 9.0f);
  const auto changed = store.acquire("0");
  ASSERT_FALSE(changed.has_value());
  EXPECT_NE(changed.error().message.find("changed"), std::string::npos);
  ASSERT_TRUE(store.add("0", "a0", true).has_value());
  EXPECT_EQ(value_of(store.acquire("0").value()), 9.0f);
  write_text(root_ + "/a1/adapter_model.safetensors", "broken");
  EXPECT_FALSE(store.acquire("1").has_value());
  EXPECT_TRUE(store.acquire("0").has_value());
}

TEST_F(Store, TheRootIsAJail) {
  const std::string outside = test::make_temp_dir();
  write_adapter(outside + "/evil", 1.0f);
  ASSERT_EQ(::symlink((outside + "/evil").c_str(), (root_ + "/link").c_str()), 0);
  write_adapter(root_ + "/half", 1.0f);
  ASSERT_EQ(::unlink((root_ + "/half/adapter_model.safetensors").c_str()), 0);
  ASSERT_EQ(::symlink((outside + "/evil/adapter_model.safetensors").c_str(),
                      (root_ + "/half/adapter_model.safetensors").c_str()),
            0);
  AdapterStore store(tiny_base(), options());
  for (const std::string& path :
       {outside + "/evil", std::string("../") + outside, std::string("a0/../../x"),
        std::string("link"), std::string("half"), std::string("."), std::string(""),
        std::string("/"), root_, root_ + "x", std::string("a0\0b", 4)}) {
    const auto status = store.add("x", path);
    ASSERT_FALSE(status.has_value()) << path;
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument) << path;
  }
  EXPECT_TRUE(store.add("x", root_ + "/a0").has_value());
  EXPECT_TRUE(store.add("y", "a0/../a1").has_value());
  EXPECT_FALSE(store.add(std::string(300, 'n'), "a0").has_value());
}

TEST_F(Store, ManyThreadsSeeWholeAdapters) {
  AdapterStore store(tiny_base(), options(2 * kAdapterBytes));
  std::atomic<int> wrong{0};
  std::atomic<int> done{0};
  const auto work = [&](uint32_t seed) {
    for (int i = 0; i < 200; ++i) {
      seed = seed * 1664525u + 1013904223u;
      const int which = static_cast<int>((seed >> 16) % 4);
      const std::string name = concat("n", which);
      switch ((seed >> 24) % 4) {
        case 0:
          (void)store.add(name, concat("a", which), true);
          break;
        case 1:
          (void)store.remove(name);
          break;
        default:
          if (const auto adapter = store.acquire(name)) {
            wrong += value_of(*adapter) != static_cast<float>(which + 1);
            ++done;
          }
      }
      wrong += store.resident_bytes() > 2 * kAdapterBytes;
    }
  };
  std::thread a(work, 1), b(work, 2), c(work, 3);
  a.join();
  b.join();
  c.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(done, 50);
}

}  // namespace
}  // namespace ruvllm
