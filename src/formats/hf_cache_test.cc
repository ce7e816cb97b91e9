#include "formats/hf_cache.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/test_util.h"
#include "formats/checkpoint.h"

namespace ruvllm {
namespace {

namespace fs = std::filesystem;

// Sets environment variables for one test; nullptr unsets.
class Env {
 public:
  Env(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    set(value);
  }
  ~Env() { set(old_ ? old_->c_str() : nullptr); }
  Env(const Env&) = delete;
  Env& operator=(const Env&) = delete;

 private:
  void set(const char* value) { value != nullptr ? ::setenv(name_, value, 1) : ::unsetenv(name_); }
  const char* name_;
  std::optional<std::string> old_;
};

void write_file(const fs::path& path, std::string_view text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

TEST(HfCache, ModelNames) {
  const auto model = parse_hub_model("Org-1/Name_2.5");
  ASSERT_TRUE(model);
  EXPECT_EQ(model->repo, "Org-1/Name_2.5");
  EXPECT_EQ(model->revision, "main");
  EXPECT_EQ(parse_hub_model("a/b@v1")->revision, "v1");
  for (const char* bad : {"", "a", "a/", "/b", "a/b/c", "../b", "a/..", "a/b@", "a/b@../x", "a b/c",
                          "a/b?x", "a/b%2f", "-a/b", ".a/b", "a/b--c", "a/b\n"}) {
    EXPECT_FALSE(parse_hub_model(bad)) << bad;
  }
}

TEST(HfCache, WhereTheCacheIs) {
  Env a("HF_HUB_CACHE", nullptr), b("HUGGINGFACE_HUB_CACHE", nullptr), c("HF_HOME", nullptr);
  Env d("XDG_CACHE_HOME", nullptr), e("HOME", "/home/x");
  EXPECT_EQ(hub_cache_dir(), "/home/x/.cache/huggingface/hub");
  Env f("XDG_CACHE_HOME", "/xdg");
  EXPECT_EQ(hub_cache_dir(), "/xdg/huggingface/hub");
  Env g("HF_HOME", "/hf");
  EXPECT_EQ(hub_cache_dir(), "/hf/hub");
  Env h("HF_HUB_CACHE", "/hub");
  EXPECT_EQ(hub_cache_dir(), "/hub");
  EXPECT_EQ(hub_repo_dir("/hub", "org/name"), "/hub/models--org--name");
}

TEST(HfCache, TokenFromEnvironmentOrFile) {
  const std::string home = test::make_temp_dir();
  Env a("HF_TOKEN", nullptr), b("HUGGING_FACE_HUB_TOKEN", nullptr), c("HF_TOKEN_PATH", nullptr);
  Env d("HF_HOME", home.c_str());
  EXPECT_EQ(hub_token(), "");
  write_file(home + "/token", "hf_file\n");
  EXPECT_EQ(hub_token(), "hf_file");
  Env e("HF_TOKEN", " hf_env ");
  EXPECT_EQ(hub_token(), "hf_env");
}

TEST(HfCache, Snapshots) {
  const std::string cache = test::make_temp_dir();
  const std::string repo = cache + "/models--org--name";
  const HubModel model{"org/name", "main"};
  EXPECT_FALSE(find_snapshot(cache, model));
  write_file(repo + "/snapshots/abc/config.json", "{}");
  EXPECT_EQ(find_snapshot(cache, model), repo + "/snapshots/abc");  // the only one
  write_file(repo + "/snapshots/def/config.json", "{}");
  EXPECT_FALSE(find_snapshot(cache, model));
  write_file(repo + "/refs/main", "def\n");
  EXPECT_EQ(find_snapshot(cache, model), repo + "/snapshots/def");
  EXPECT_EQ(find_snapshot(cache, {"org/name", "abc"}), repo + "/snapshots/abc");
  EXPECT_FALSE(find_snapshot(cache, {"org/name", "v2"}));
  write_file(repo + "/refs/main", "../../..");  // a hostile reference leads nowhere
  EXPECT_FALSE(find_snapshot(cache, model));

  const std::string snapshot = repo + "/snapshots/abc";
  EXPECT_FALSE(snapshot_is_complete(snapshot));
  write_file(snapshot + "/model.safetensors", "");
  EXPECT_TRUE(snapshot_is_complete(snapshot));
  write_file(snapshot + "/model.safetensors.index.json",
             R"({"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}})");
  write_file(snapshot + "/model-1.safetensors", "");
  EXPECT_FALSE(snapshot_is_complete(snapshot));
  write_file(snapshot + "/model-2.safetensors", "");
  EXPECT_TRUE(snapshot_is_complete(snapshot));
}

TEST(HfCache, ResolveModel) {
  const std::string temp = test::make_temp_dir();
  Env a("HF_HUB_CACHE", temp.c_str());
  EXPECT_EQ(resolve_model(temp, true), temp);
  write_file(temp + "/x.gguf", "GGUF");
  EXPECT_EQ(resolve_model(temp + "/x.gguf", true), temp + "/x.gguf");
  EXPECT_EQ(resolve_model("", true).error().code, ErrorCode::kInvalidArgument);
  for (const char* absent : {"/no/such/folder", "./no-such", "no-such-name", "no/such", "x.gguf"}) {
    const auto path = resolve_model(absent, true);
    ASSERT_FALSE(path) << absent;
    EXPECT_EQ(path.error().code, ErrorCode::kNotFound) << absent;
  }
  write_file(temp + "/models--org--name/snapshots/abc/config.json", "{}");
  EXPECT_EQ(resolve_model("org/name", true), temp + "/models--org--name/snapshots/abc");
}

TEST(HfCache, DemoModel) {
  const std::string temp = test::make_temp_dir();
  Env a("RUVLLM_MODELS", nullptr);
  write_file(temp + "/p/share/ruvllm/models/demo/config.json", "{}");
  fs::create_directories(temp + "/p/bin");
  EXPECT_EQ(find_demo_model(temp + "/p/bin"), temp + "/p/bin/../share/ruvllm/models/demo");
  write_file(temp + "/tree/models/demo/config.json", "{}");
  EXPECT_EQ(find_demo_model(temp + "/tree/build/edge/apps/ruvllm"), temp + "/tree/models/demo");
  write_file(temp + "/own/demo/config.json", "{}");
  Env b("RUVLLM_MODELS", (temp + "/own").c_str());
  EXPECT_EQ(find_demo_model(temp + "/p/bin"), temp + "/own/demo");
  EXPECT_EQ(resolve_model("demo", true), temp + "/own/demo");
}

}  // namespace
}  // namespace ruvllm
