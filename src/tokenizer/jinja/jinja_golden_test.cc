// Chat templates against the reference data: real templates on conversations, features, hostile
// ones.
#include <dirent.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/test_util.h"
#include "tokenizer/chat_template.h"

namespace ruvllm {
namespace {

constexpr int64_t kNow = 1741964966;  // 2025-03-14 15:09:26, a Friday

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

Json read_json(const std::string& path) {
  Result<Json> json = Json::parse(read_file(path));
  EXPECT_TRUE(json.has_value()) << path << ": " << (json ? "" : json.error().message);
  return json ? *json : Json();
}

// Under a sanitizer a step costs some fifty times as much; the limit works the same with fewer.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int64_t kStepsDivisor = 20;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr int64_t kStepsDivisor = 20;
#else
constexpr int64_t kStepsDivisor = 1;
#endif
#else
constexpr int64_t kStepsDivisor = 1;
#endif

Result<std::string> render(const std::string& source, const Json& context) {
  Result<JinjaTemplate> compiled = JinjaTemplate::compile(source);
  if (!compiled) return std::unexpected<Error>(compiled.error());
  RenderOptions options;
  options.now_unix_seconds = kNow;
  options.limits.max_steps /= kStepsDivisor;
  return compiled->render(context, options);
}

// The expected text, or any error where one is expected; the message of raise_exception exactly.
void check(const std::string& name, const Result<std::string>& got, const Json& expected) {
  if (const Json* text = expected.find("expected")) {
    ASSERT_TRUE(got.has_value()) << name << ": " << got.error().message;
    EXPECT_EQ(*got, *text->as_string()) << name;
    return;
  }
  const Json* error = expected.find("error");
  ASSERT_NE(error, nullptr) << name;
  ASSERT_FALSE(got.has_value()) << name << " gave " << *got << ", expected " << error->dump();
  if (*error->find("type")->as_string() == "TemplateError") {
    EXPECT_EQ(got.error().message, *error->find("message")->as_string()) << name;
  }
}

class JinjaGolden : public testing::Test {
 protected:
  void SetUp() override {
    const auto shared = test::shared_dir();
    if (!shared) GTEST_SKIP() << "no reference data on this machine (set RUVLLM_SHARED)";
    folder_ = *shared + "/golden/templates/";
  }
  std::string folder_;
};

TEST_F(JinjaGolden, RealTemplatesOnConversations) {
  std::vector<std::string> names;
  DIR* dir = opendir(folder_.c_str());
  ASSERT_NE(dir, nullptr);
  while (const dirent* entry = readdir(dir)) {
    const std::string name = entry->d_name;
    if (name.ends_with(".json") && name != "conversations.json" && name != "hostile.json" &&
        name != "jinja_features.json") {
      names.push_back(name);
    }
  }
  closedir(dir);
  std::sort(names.begin(), names.end());
  EXPECT_GT(names.size(), 20U);
  const Json conversations = read_json(folder_ + "conversations.json");
  size_t cases = 0;
  for (const std::string& name : names) {
    const Json file = read_json(folder_ + name);
    const std::string source = read_file(folder_ + *file.find("template")->as_string());
    for (const Json& one : *file.find("cases")->as_array()) {
      const std::string& conversation = *one.find("conversation")->as_string();
      // The first member of a name counts, so the conversation stands before the defaults.
      Json::Object context = *conversations.find("conversations")->find(conversation)->as_object();
      context.push_back({"add_generation_prompt", *one.find("add_generation_prompt")});
      for (const JsonMember& member : *file.find("defaults")->as_object())
        context.push_back(member);
      check(name + " on " + conversation, render(source, Json(std::move(context))), one);
      ++cases;
    }
  }
  EXPECT_GT(cases, 1000U);
}

TEST_F(JinjaGolden, Features) {
  const Json file = read_json(folder_ + "jinja_features.json");
  const Json& context = *file.find("context");
  for (const Json& one : *file.find("cases")->as_array()) {
    const std::string& source = *one.find("template")->as_string();
    check(*one.find("case")->as_string() + " " + source, render(source, context), one);
  }
}

// 9 to that power, by school multiplication.
std::string power_of_nine(int exponent) {
  std::string digits = "1";  // the lowest first
  for (int i = 0; i < exponent; ++i) {
    int carry = 0;
    for (char& digit : digits) {
      carry += 9 * (digit - '0');
      digit = static_cast<char>('0' + carry % 10);
      carry /= 10;
    }
    if (carry > 0) digits += static_cast<char>('0' + carry);
  }
  return {digits.rbegin(), digits.rend()};
}

TEST_F(JinjaGolden, HostileTemplatesEndInAnError) {
  const Json file = read_json(folder_ + "hostile.json");
  const Json& context = *file.find("context");
  for (const Json& one : *file.find("cases")->as_array()) {
    const std::string& name = *one.find("name")->as_string();
    const std::string& source = *one.find("template")->as_string();
    const Result<std::string> got = render(source, context);
    if (name == "power_bomb") {
      // Believed wrong (docs/chat_templates.md has the argument): jinja2's ** groups to the left,
      // and 9 ** 9 ** 9 is a number of 78 digits. The case was not evaluated when it was written.
      EXPECT_EQ(one.find("jinja2_evaluated")->as_bool(), false);
      ASSERT_TRUE(got.has_value()) << got.error().message;
      EXPECT_EQ(*got, power_of_nine(81));
      EXPECT_FALSE(render("{{ 9 ** (9 ** 9) }}", context).has_value());  // what was meant
      continue;
    }
    if (got.has_value()) {
      EXPECT_EQ(*one.find("expect")->as_string(), "error_or_output") << name;
      const Json* output = one.find("jinja2_output");
      ASSERT_NE(output, nullptr) << name;
      EXPECT_EQ(*got, *output->as_string()) << name;
    }
  }
}

}  // namespace
}  // namespace ruvllm
