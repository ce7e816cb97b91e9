// Random loads, unloads and generations while files break, change and cannot be read: whoever gets
// an answer gets the right one, nobody else notices, nothing is left behind.
// RUVLLM_ADAPTER_OPERATIONS says how many (scripts/test-long adapters).
#include <gtest/gtest.h>

#include <dirent.h>
#include <sys/stat.h>

#include <atomic>
#include <cstdlib>
#include <deque>
#include <map>
#include <thread>

#include "base/file_faults.h"
#include "base/mmap_file.h"
#include "base/rng.h"
#include "base/str.h"
#include "base/test_util.h"
#include "engine/random_model.h"
#include "engine/serving_test_util.h"
#include "formats/safetensors_writer.h"

namespace ruvllm {
namespace {

constexpr ModelShape kShape = {"tiny", 2, 32, 64, 4, 2, 64, 128, 0.3f};
constexpr int kVariants = 4;
constexpr int kPrompts = 4;

// --- Files ---

void write_text(const std::string& path, std::string_view text) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  ASSERT_NE(file, nullptr) << path;
  std::fwrite(text.data(), 1, text.size(), file);
  std::fclose(file);
}

// An adapter of q_proj in both layers; variants differ in every number.
void write_adapter(const std::string& folder, int variant) {
  ::mkdir(folder.c_str(), 0755);
  SafetensorsWriter writer;
  std::deque<std::vector<float>> numbers;
  for (int layer = 0; layer < 2; ++layer) {
    for (const char* half : {"A", "B"}) {
      std::vector<float>& values = numbers.emplace_back(64);
      for (size_t i = 0; i < values.size(); ++i) {
        const auto key = static_cast<uint64_t>(variant * 4 + layer * 2 + (half[0] == 'A' ? 0 : 1));
        values[i] = static_cast<float>(random_bits(5, key, i) % 1000) * 0.004f - 2.0f;
      }
      const std::vector<int64_t> shape =
          half[0] == 'A' ? std::vector<int64_t>{2, 32} : std::vector<int64_t>{32, 2};
      ASSERT_TRUE(writer.add(concat("base_model.model.model.layers.", layer,
                                    ".self_attn.q_proj.lora_", half, ".weight"),
                             DType::kF32, shape, std::as_bytes(std::span(values))));
    }
  }
  write_text(folder + "/adapter_config.json",
             R"({"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["q_proj"]})");
  ASSERT_TRUE(writer.write(folder + "/adapter_model.safetensors"));
}

// Folders that no reader may accept: cut short, no JSON, no tensors, a number that is none.
constexpr int kBroken = 4;
void write_broken(const std::string& folder, int kind) {
  write_adapter(folder, 0);
  const std::string tensors = folder + "/adapter_model.safetensors";
  std::string bytes = *read_text_file(tensors, 1 << 20);
  if (kind == 0) write_text(tensors, std::string_view(bytes).substr(0, bytes.size() - 100));
  if (kind == 1) write_text(folder + "/adapter_config.json", R"({"peft_type":"LORA")");
  if (kind == 2) ::unlink(tensors.c_str());
  if (kind == 3) {
    bytes.replace(bytes.size() - 4, 4, std::string("\0\0\xc0\x7f", 4));
    write_text(tensors, bytes);
  }
}

int open_descriptors() {
  DIR* dir = ::opendir("/proc/self/fd");
  if (dir == nullptr) return 0;
  int count = 0;
  while (::readdir(dir) != nullptr) ++count;
  ::closedir(dir);
  return count;
}

// --- Faults ---

std::atomic<bool> g_armed{false};
std::atomic<uint64_t> g_asked{0};
std::atomic<uint64_t> g_faults{0};

FileFault fault_sometimes(const std::string& path) {
  if (!g_armed.load() || path.find("/adapter_") == std::string::npos) return FileFault::kNone;
  const uint64_t draw = random_bits(77, 0, g_asked.fetch_add(1)) % 16;
  if (draw > 1) return FileFault::kNone;
  g_faults.fetch_add(1);
  return draw == 0 ? FileFault::kOpen : FileFault::kRead;
}

// --- The backend and what it should say ---

std::unique_ptr<ServingBackend> open(size_t max_resident) {
  ServingConfig config = test::small_config(40, 6);
  auto backend = std::make_unique<ServingBackend>(
      config,
      [](const std::string& name, const LoadOptions& options) -> Result<ModelParts> {
        RUVLLM_ASSIGN(auto checkpoint, make_random_checkpoint(kShape, DType::kF32, 3));
        LoaderSettings settings;
        settings.max_step_rows = 16;
        settings.kv_block_tokens = 8;
        return load_model_parts(name, checkpoint, options, settings);
      },
      make_incremental_decoder);
  LoadOptions options;
  options.compute = ComputeType::kF32;
  options.threads = 1;
  options.max_resident_adapters = static_cast<int32_t>(max_resident);
  const Status status = backend->load_model("tiny", options);
  EXPECT_TRUE(status) << status.error().message;
  return backend;
}

std::vector<int32_t> prompt_of(int number) {
  std::vector<int32_t> ids(static_cast<size_t>(9 + number), 5);
  ids.back() = number + 6;
  return ids;
}

Result<std::unique_ptr<TokenStream>> start(ServingBackend& backend, int prompt,
                                           const std::string& adapter) {
  GenerateParams params = GenerateParams::greedy(6);
  params.ignore_eos = true;
  RequestOptions options;
  options.adapter = adapter;
  return backend.generate_stream(prompt_of(prompt), params, options);
}

class Storm {
 public:
  Storm() : root_(test::make_temp_dir()), backend_(open(2)), oracle_(open(64)) {
    for (int i = 0; i < kVariants; ++i) {
      write_adapter(concat(root_, "/v", i), i);
      write_adapter(concat(root_, "/f", i), i);
      variant_of_folder_.push_back(i);
      EXPECT_TRUE(oracle_->load_adapter(concat("v", i), concat(root_, "/v", i), false));
    }
    for (int i = 0; i < kBroken; ++i) write_broken(concat(root_, "/b", i), i);
  }

  void run(int64_t operations) {
    const int descriptors = open_descriptors();
    std::atomic<bool> over{false};
    std::thread other([&] {  // names of its own, all the time
      for (uint64_t i = 0; !over.load(); ++i) {
        static_cast<void>(backend_->load_adapter("other", concat(root_, "/v", i % 4), true));
        if (i % 3 == 0) static_cast<void>(backend_->unload_adapter("other"));
        std::this_thread::yield();
      }
    });
    for (int64_t i = 0; i < operations && !::testing::Test::HasFailure(); ++i) step();
    over.store(true);
    other.join();
    while (!running_.empty()) finish_one();
    g_armed.store(false);
    for (const AdapterInfo& adapter : backend_->adapters()) {
      EXPECT_TRUE(backend_->unload_adapter(adapter.name)) << adapter.name;
    }
    EXPECT_TRUE(backend_->adapters().empty());
    EXPECT_TRUE(test::eventually([&] { return backend_->stats()->kv_pages_used == 0; }));
    EXPECT_EQ(open_descriptors(), descriptors);
  }

  int64_t answers = 0, refused = 0, loads = 0, failed_loads = 0;

 private:
  struct Running {
    std::unique_ptr<TokenStream> stream;
    int prompt = 0;
    std::string wanted;  // what the oracle is asked
  };

  int below(int n) {
    return static_cast<int>(random_bits(1, 2, draws_++) % static_cast<uint64_t>(n));
  }
  std::string any_name() { return concat("n", below(6)); }

  void step() {
    g_armed.store(below(4) != 0);
    switch (below(10)) {
      case 0:
      case 1:
      case 2:
        return load();
      case 3:
        return unload();
      case 4:
        return rewrite();
      case 5:
      case 6:
        if (!running_.empty()) return finish_one();
        [[fallthrough]];
      default:
        return generate();
    }
  }

  void load() {
    const std::string name = any_name();
    const bool replace = below(2) == 0;
    const bool broken = below(4) == 0;
    const int folder = below(broken ? kBroken : kVariants);
    const bool known = variant_of_name_.contains(name);
    const Status status =
        backend_->load_adapter(name, concat(root_, broken ? "/b" : "/f", folder), replace);
    ++loads;
    if (!status) {
      ++failed_loads;
      EXPECT_EQ(status.error().message.find('\n'), std::string::npos);
      EXPECT_TRUE(g_armed.load() || broken || (known && !replace) ||
                  status.error().code == ErrorCode::kUnavailable)
          << status.error().message;
      return;  // what was known before is what it was
    }
    EXPECT_FALSE(broken) << folder;
    EXPECT_TRUE(replace || !known);
    variant_of_name_[name] = variant_of_folder_[static_cast<size_t>(folder)];
  }

  void unload() {
    const std::string name = any_name();
    EXPECT_EQ(backend_->unload_adapter(name).has_value(), variant_of_name_.erase(name) == 1);
  }

  // The folder holds another adapter from now on; who has loaded the old one keeps it.
  void rewrite() {
    const int folder = below(kVariants);
    const int variant = below(kVariants);
    write_adapter(concat(root_, "/f", folder), variant);
    variant_of_folder_[static_cast<size_t>(folder)] = variant;
  }

  void generate() {
    if (running_.size() >= 8) return finish_one();
    const std::string name = any_name();
    const int prompt = below(kPrompts);
    std::string asked = name, wanted;
    const int kind = below(5);
    const auto known = variant_of_name_.find(name);
    if (kind == 0) {
      asked = wanted = "base";
    } else if (known != variant_of_name_.end()) {
      wanted = concat("v", known->second);
      if (kind == 1) {
        asked += concat(":0.5+", name, ":-1.25");
        wanted += concat(":0.5+", wanted, ":-1.25");
      }
    }
    auto stream = start(*backend_, prompt, asked);
    if (!stream) {
      ++refused;
      const ErrorCode code = stream.error().code;
      if (wanted.empty()) {
        EXPECT_EQ(code, ErrorCode::kNotFound) << stream.error().message;
      } else {  // it had to come back from its files, or all places are held
        EXPECT_NE(wanted, "base") << stream.error().message;
        EXPECT_NE(code, ErrorCode::kInternal) << stream.error().message;
      }
      return;
    }
    EXPECT_FALSE(wanted.empty()) << "an adapter that nobody has loaded: " << asked;
    running_.push_back({*std::move(stream), prompt, wanted});
  }

  void finish_one() {
    const auto index = static_cast<ptrdiff_t>(below(static_cast<int>(running_.size())));
    Running running = std::move(running_[static_cast<size_t>(index)]);
    running_.erase(running_.begin() + index);
    if (below(8) == 0) return;  // whoever walks away cancels
    const test::Heard heard = test::listen(*running.stream);
    ASSERT_TRUE(heard.result) << (heard.error ? heard.error->message : "");
    EXPECT_EQ(heard.result->ids, expected(running.prompt, running.wanted)) << running.wanted;
    ++answers;
  }

  const std::vector<int32_t>& expected(int prompt, const std::string& wanted) {
    std::vector<int32_t>& ids = expected_[{prompt, wanted}];
    if (ids.empty()) ids = test::listen(**start(*oracle_, prompt, wanted)).result->ids;
    return ids;
  }

  std::string root_;
  std::unique_ptr<ServingBackend> backend_;
  std::unique_ptr<ServingBackend> oracle_;  // nothing ever fails here
  std::vector<int> variant_of_folder_;
  std::map<std::string, int> variant_of_name_;
  std::map<std::pair<int, std::string>, std::vector<int32_t>> expected_;
  std::vector<Running> running_;
  uint64_t draws_ = 0;
};

TEST(AdapterFaults, NobodyGetsAWrongTextAndNothingIsLeftBehind) {
  const char* wanted = std::getenv("RUVLLM_ADAPTER_OPERATIONS");
  const int64_t operations = wanted != nullptr ? std::atoll(wanted) : 400;
  set_file_fault_hook(fault_sometimes);
  {
    Storm storm;
    storm.run(operations);
    std::printf(
        "%lld operations: %lld answers, %lld refused, %lld of %lld loads failed, %llu faults\n",
        static_cast<long long>(operations), static_cast<long long>(storm.answers),
        static_cast<long long>(storm.refused), static_cast<long long>(storm.failed_loads),
        static_cast<long long>(storm.loads), static_cast<unsigned long long>(g_faults.load()));
    EXPECT_GT(storm.answers, operations / 10);
    EXPECT_GT(storm.failed_loads, operations / 40);
    EXPECT_LT(storm.failed_loads, storm.loads);
    EXPECT_GT(g_faults.load(), 0u);
  }
  set_file_fault_hook(nullptr);
}

}  // namespace
}  // namespace ruvllm
