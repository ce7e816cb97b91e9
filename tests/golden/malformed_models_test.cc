// Malformed model files end to end: opening and loading gives the verdict of the index, in one
// clear line, without crashing and without memory out of proportion to the file.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>

#include "base/str.h"
#include "base/test_util.h"
#include "golden_util.h"

namespace ruvllm::test {
namespace {

namespace fs = std::filesystem;

// Opens and loads the model and its tokenizer, if it has one, and when that works runs a step; the
// error, or "" for success.
std::string try_model(const std::string& path) {
  const auto tokenizer = load_tokenizer_data(path);
  if (!tokenizer && tokenizer.error().code != ErrorCode::kNotFound) {
    return tokenizer.error().message;
  }
  auto checkpoint = open_checkpoint(path);
  if (!checkpoint) return checkpoint.error().message;
  std::shared_ptr<const Checkpoint> shared = std::move(*checkpoint);
  for (const bool reference : {true, false}) {
    RunnerOptions options = exact_options(reference);
    options.max_step_rows = 8;
    auto runner = ModelRunner::load(shared, options);
    if (!runner) return runner.error().message;
    const int32_t ids[] = {0, 1 % (*runner)->config().vocab_size};
    Sequence((**runner), 2).feed(ids, 2);
  }
  return "";
}

void expect_verdict(const std::string& must, const std::string& what, const std::string& error) {
  if (must == "accept") {
    EXPECT_EQ(error, "") << what;
  } else if (must == "reject") {
    EXPECT_NE(error, "") << what << " was accepted";
  }
  EXPECT_EQ(error.find('\n'), std::string::npos) << what << ": " << error;
  EXPECT_LE(error.size(), 1000u) << what;
}

// Peak resident memory may grow by this much over all malformed files together.
constexpr long kAllowedGrowthKib = 96 * 1024;

class PeakMemory {
 public:
  PeakMemory() : before_(now()) {}
  ~PeakMemory() { EXPECT_LE(now() - before_, kAllowedGrowthKib) << "KiB of peak memory"; }

 private:
  static long now() {
    rusage usage = {};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
  }
  long before_;
};

TEST(MalformedModels, GgufFiles) {
  const auto shared = shared_dir();
  if (!shared) GTEST_SKIP() << "the golden data is not on this machine";
  const std::string folder = *shared + "/golden/malformed/";
  const Json index = read_json(folder + "gguf_index.json");
  ASSERT_NE(index.as_array(), nullptr);
  const PeakMemory peak;
  for (const Json& entry : *index.as_array()) {
    const std::string& file = *entry.find("file")->as_string();
    expect_verdict(*entry.find("must")->as_string(), file, try_model(folder + file));
  }
}

void copy_folder(const fs::path& from, const fs::path& to) {
  fs::create_directories(to);
  for (const auto& entry : fs::directory_iterator(from)) {
    fs::copy_file(entry.path(), to / entry.path().filename());
  }
}

// As the weights of a model: none of these files holds one, so even the well-formed are refused.
TEST(MalformedModels, SafetensorsFiles) {
  const auto shared = shared_dir();
  if (!shared) GTEST_SKIP() << "the golden data is not on this machine";
  const std::string folder = *shared + "/golden/malformed/";
  const Json index = read_json(folder + "safetensors_index.json");
  ASSERT_NE(index.as_array(), nullptr);
  const std::string work = make_temp_dir();
  fs::copy_file(*shared + "/golden/models/llama_gqa/config.json", work + "/config.json");
  const PeakMemory peak;
  for (const Json& entry : *index.as_array()) {
    const std::string& file = *entry.find("file")->as_string();
    fs::copy_file(folder + file, work + "/model.safetensors", fs::copy_options::overwrite_existing);
    expect_verdict("reject", file, try_model(work));
  }
  fs::remove_all(work);
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// The base model's folder with the edits of one overlay.
void apply_overlay(const Json& overlay, const std::string& base, const std::string& work) {
  copy_folder(base, work);
  const Json config = read_json(base + "/config.json");
  Json::Object edited = *config.as_object();
  const auto remove = [&edited](const std::string& key) {
    std::erase_if(edited, [&key](const JsonMember& member) { return member.key == key; });
  };
  if (const Json* set = overlay.find("config_set")) {
    for (const JsonMember& member : *set->as_object()) {
      remove(member.key);
      edited.push_back(member);
    }
  }
  if (const Json* drop = overlay.find("config_drop")) {
    for (const Json& key : *drop->as_array()) remove(*key.as_string());
  }
  write_text(work + "/config.json", Json(edited).dump());
  if (const Json* text = overlay.find("config_text")) {
    write_text(work + "/config.json", *text->as_string());
  }
  const auto is_true = [&overlay](const char* key) {
    const Json* value = overlay.find(key);
    return value != nullptr && value->as_bool().value_or(true);
  };
  if (is_true("config_missing")) fs::remove(work + "/config.json");
  if (is_true("weights_missing")) fs::remove(work + "/model.safetensors");
  if (const Json* index = overlay.find("index")) {
    write_text(work + "/model.safetensors.index.json", index->dump());
  }
}

TEST(MalformedModels, ConfigOverlays) {
  const auto shared = shared_dir();
  if (!shared) GTEST_SKIP() << "the golden data is not on this machine";
  const Json overlays = read_json(*shared + "/golden/malformed/hf_overlays.json");
  ASSERT_NE(overlays.find("cases"), nullptr);
  const std::string base = *shared + "/golden/" + *overlays.find("base_model")->as_string();
  const PeakMemory peak;
  for (const Json& overlay : *overlays.find("cases")->as_array()) {
    const std::string work = make_temp_dir();
    apply_overlay(overlay, base, work);
    expect_verdict(*overlay.find("must")->as_string(), *overlay.find("name")->as_string(),
                   try_model(work));
    fs::remove_all(work);
  }
}

}  // namespace
}  // namespace ruvllm::test
