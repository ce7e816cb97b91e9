#include "lora/lora_adapter.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/json.h"
#include "base/mmap_file.h"
#include "base/str.h"
#include "base/test_util.h"
#include "lora/lora_config.h"
#include "lora/name_pattern.h"

#include <dirent.h>

namespace ruvllm {
namespace {

bool full_match(std::string_view pattern, std::string_view name) {
  const auto compiled = NamePattern::compile(pattern);
  EXPECT_TRUE(compiled.has_value()) << pattern << ": " << compiled.error().message;
  if (!compiled) return false;
  const auto result = compiled->matches(name);
  EXPECT_TRUE(result.has_value()) << pattern;
  return result && *result;
}

TEST(NamePattern, MatchesWholeNamesAsPythonDoes) {
  const char* q1 = "model.layers.1.self_attn.q_proj";
  EXPECT_TRUE(full_match(R"(.*\.(1|3)\.self_attn\.(q|k)_proj)", q1));
  EXPECT_FALSE(
      full_match(R"(.*\.(1|3)\.self_attn\.(q|k)_proj)", "model.layers.2.self_attn.q_proj"));
  EXPECT_FALSE(full_match(R"((q|k)_proj)", q1));
  EXPECT_TRUE(full_match(R"(model\.layers\.[0-9]+\.self_attn\.[qkv]_proj)", q1));
  EXPECT_FALSE(full_match(R"(model\.layers\.[^0-9]+\.self_attn\.[qkv]_proj)", q1));
  EXPECT_TRUE(full_match(R"(^(?!.*lm_head).*proj$)", q1));
  EXPECT_FALSE(full_match(R"(^(?!.*self_attn).*proj$)", q1));
  EXPECT_TRUE(full_match(R"((?:.*?(?:language|text).*?)|(?:\bmodel\.layers\.[\d]{1,}\.)"
                         R"((?:self_attn|mlp)\.(?:(?:q_proj|k_proj))))",
                         q1));
  EXPECT_TRUE(full_match("a{2,3}b{0,}c?", "aaab"));
  EXPECT_FALSE(full_match("a{2,3}", "aaaa"));
  EXPECT_TRUE(full_match("(a*)*b", "aab"));
  EXPECT_TRUE(full_match("(|a)+", ""));
  EXPECT_TRUE(full_match("x{y", "x{y"));
  EXPECT_TRUE(full_match(R"([]a-c\-]+)", "]b-"));
}

TEST(NamePattern, RefusesWhatItDoesNotKnow) {
  for (const char* pattern : {"(a", "a)", "[a", "*a", "a**", "\\", "(?<name>a)", "(?<=a)b", "\\1",
                              "a{5,2}", "a{2000}", "[z-a]", "a++", "(?i)a"}) {
    EXPECT_FALSE(NamePattern::compile(pattern).has_value()) << pattern;
  }
  EXPECT_FALSE(NamePattern::compile(std::string(100, '(') + std::string(100, ')')).has_value());
  EXPECT_FALSE(NamePattern::compile(std::string(100000, 'a')).has_value());
}

TEST(NamePattern, ExplosivePatternsEndInAnError) {
  const auto pattern = NamePattern::compile("(a+)+(a+)+(a+)+b");
  ASSERT_TRUE(pattern.has_value());
  EXPECT_FALSE(pattern->matches(std::string(60, 'a')).has_value());
  const auto deep = NamePattern::compile(".*x");
  ASSERT_TRUE(deep.has_value());
  EXPECT_FALSE(deep->matches(std::string(100000, 'a')).has_value());
}

TEST(LoraConfig, ReadsRanksScalesAndTargets) {
  const char* text =
      R"({"peft_type":"LORA","r":8,"lora_alpha":16,"target_modules":["q_proj","down_proj"],
    "rank_pattern":{"down_proj":4,"^model.layers.1.self_attn.q_proj":2},"alpha_pattern":{"q_proj":32},
    "use_rslora":false,"layers_to_transform":[1],"init_lora_weights":"gaussian"})";
  const auto config = parse_lora_config(text, "c.json");
  ASSERT_TRUE(config.has_value()) << config.error().message;
  LoraModule q0{"model.layers.0.self_attn.q_proj", LoraSite::kQkv, 0, 0, 8, 8, 1};
  LoraModule q1{"model.layers.1.self_attn.q_proj", LoraSite::kQkv, 1, 0, 8, 8, 1};
  LoraModule down1{"model.layers.1.mlp.down_proj", LoraSite::kDown, 1, 0, 8, 8, 0};
  EXPECT_FALSE(config->targets(q0).value());
  EXPECT_TRUE(config->targets(q1).value());
  EXPECT_EQ(config->rank_of(q0).value(), 8);
  EXPECT_EQ(config->rank_of(q1).value(), 2);
  EXPECT_EQ(config->rank_of(down1).value(), 4);
  EXPECT_EQ(config->scale_of(q0).value(), 4.0);
  EXPECT_EQ(config->scale_of(down1).value(), 4.0);
}

TEST(LoraConfig, RefusesByName) {
  struct Case {
    const char* fields;
    const char* names;
  };
  for (const Case& c : {Case{R"("use_dora":true)", "use_dora: DoRA"},
                        Case{R"("modules_to_save":["lm_head"])", "modules_to_save"},
                        Case{R"("init_lora_weights":"pissa_niter_4")", "init_lora_weights"},
                        Case{R"("some_new_thing":{"a":1})", "some_new_thing"},
                        Case{R"("target_modules":[1])", "target_modules"},
                        Case{R"("target_modules":"(a")", "target_modules"},
                        Case{R"("layers_to_transform":[-1])", "layers_to_transform"},
                        Case{R"("rank_pattern":{"q_proj":0})", "rank_pattern"},
                        Case{R"("alpha_pattern":{"q_proj":"x"})", "alpha_pattern"},
                        Case{R"("target_parameters":["x"])", "target_parameters"},
                        Case{R"("r":4096)", "r: "}, Case{R"("lora_alpha":1e300)", "lora_alpha"}}) {
    const auto config = parse_lora_config(concat(R"({"peft_type":"LORA",)", c.fields, "}"), "c");
    ASSERT_FALSE(config.has_value()) << c.fields;
    EXPECT_NE(config.error().message.find(c.names), std::string::npos) << config.error().message;
  }
}

TEST(LoraAdapter, GgufFilesAreRefusedByName) {
  const auto adapter = load_lora_adapter("/nowhere/adapter.gguf", Checkpoint());
  ASSERT_FALSE(adapter.has_value());
  EXPECT_EQ(adapter.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(adapter.error().message.find("GGUF"), std::string::npos);
}

std::vector<std::string> folders(const std::string& path) {
  std::vector<std::string> names;
  DIR* dir = ::opendir(path.c_str());
  if (dir == nullptr) return names;
  while (const dirent* entry = ::readdir(dir)) {
    if (entry->d_name[0] != '.' && directory_exists(concat(path, "/", entry->d_name))) {
      names.emplace_back(entry->d_name);
    }
  }
  ::closedir(dir);
  std::sort(names.begin(), names.end());
  return names;
}

class GoldenAdapters : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto shared = test::shared_dir();
    if (!shared || !directory_exists(*shared + "/golden_adapters")) {
      GTEST_SKIP() << "no reference data";
    }
    root_ = *shared + "/golden_adapters";
  }
  Json meta(const std::string& path) const {
    const auto text = read_text_file(path, 1 << 20);
    EXPECT_TRUE(text.has_value()) << path;
    auto json = Json::parse(text.value_or("{}"));
    return json ? *std::move(json) : Json();
  }
  std::string root_;
};

TEST_F(GoldenAdapters, MalformedOnesAreRefusedInOneLine) {
  const auto base = open_checkpoint(root_ + "/bases/llama_h64");
  ASSERT_TRUE(base.has_value());
  int refused = 0;
  for (const std::string& name : folders(root_ + "/malformed")) {
    const std::string path = root_ + "/malformed/" + name;
    bool must_reject = false;
    if (name != "_template") {
      must_reject = meta(path + "/meta.json").find("must_reject")->as_bool().value();
    }
    const auto adapter = load_lora_adapter(path, **base);
    EXPECT_EQ(adapter.has_value(), !must_reject) << name;
    if (adapter) continue;
    ++refused;
    const std::string& message = adapter.error().message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_TRUE(message.starts_with(path)) << name << ": " << message;
  }
  EXPECT_EQ(refused, 37);
}

TEST_F(GoldenAdapters, GoodOnesHaveTheScalesOfTheReference) {
  int adapters = 0;
  for (const std::string& set : folders(root_ + "/lora")) {
    const std::string folder = root_ + "/lora/" + set;
    const auto base = open_checkpoint(root_ + "/bases/" + set);
    ASSERT_TRUE(base.has_value());
    const Json info = meta(folder + "/meta.json");
    for (const JsonMember& entry : *info.find("adapters")->as_object()) {
      const auto adapter = load_lora_adapter(folder + "/adapters/" + entry.key, **base);
      ASSERT_TRUE(adapter.has_value()) << adapter.error().message;
      ++adapters;
      EXPECT_EQ(static_cast<int64_t>((*adapter)->pairs.size()),
                entry.value.find("n_modules")->as_int64().value());
      const Json& scaling = *entry.value.find("scaling");
      for (const LoraPair& pair : (*adapter)->pairs) {
        const Json* value = scaling.is_object() ? scaling.find(pair.module.name) : &scaling;
        ASSERT_NE(value, nullptr) << pair.module.name;
        EXPECT_FLOAT_EQ(pair.scale, static_cast<float>(value->as_double().value()));
      }
    }
  }
  EXPECT_GE(adapters, 19);
}

TEST_F(GoldenAdapters, OfAnotherBaseAreRefused) {
  const auto base = open_checkpoint(root_ + "/bases/llama_h96_legacycfg");
  ASSERT_TRUE(base.has_value());
  const auto adapter = load_lora_adapter(root_ + "/lora/llama_h64/adapters/qv_r4", **base);
  ASSERT_FALSE(adapter.has_value());
  EXPECT_NE(adapter.error().message.find("the model has no such module (2 layers"),
            std::string::npos)
      << adapter.error().message;
}

}  // namespace
}  // namespace ruvllm
