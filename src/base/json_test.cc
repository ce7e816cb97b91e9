#include "base/json.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/str.h"

namespace ruvllm {
namespace {

Json parsed(std::string_view text) {
  auto result = Json::parse(text);
  EXPECT_TRUE(result.has_value()) << text << ": " << (result ? "" : result.error().message);
  return result ? *std::move(result) : Json();
}

std::string error_of(std::string_view text, int max_depth = 64) {
  const auto result = Json::parse(text, max_depth);
  return result ? std::string("(accepted)") : result.error().message;
}

TEST(Json, ReadsEveryTypeAndKeepsTheOrderOfMembers) {
  const Json value = parsed(R"({"z":1,"a":[true,null,-2,1.5,"x\u00e9\ud83d\ude00"],"m":{}})");
  ASSERT_NE(value.as_object(), nullptr);
  EXPECT_EQ((*value.as_object())[0].key, "z");
  EXPECT_EQ((*value.as_object())[1].key, "a");
  EXPECT_EQ(value.find("z")->as_int64(), 1);
  const Json::Array& array = *value.find("a")->as_array();
  ASSERT_EQ(array.size(), 5u);
  EXPECT_EQ(array[0].as_bool(), true);
  EXPECT_TRUE(array[1].is_null());
  EXPECT_EQ(array[2].as_int64(), -2);
  EXPECT_EQ(array[2].as_uint64(), std::nullopt);
  EXPECT_EQ(array[3].as_double(), 1.5);
  EXPECT_EQ(*array[4].as_string(), "x\xc3\xa9\xf0\x9f\x98\x80");
  EXPECT_EQ(value.find("nothing"), nullptr);
}

TEST(Json, DumpReadsBackTheSame) {
  const std::string text =
      R"({"a":[1,-5,18446744073709551615,0.1,1e+300,2.0],"b":"q\"\\\n\u0001é","c":{"d":false}})";
  const std::string once = parsed(text).dump();
  EXPECT_EQ(parsed(once).dump(), once);
  EXPECT_EQ(
      once,
      R"({"a":[1,-5,18446744073709551615,0.1,1e+300,2.0],"b":"q\"\\\n\u0001é","c":{"d":false}})");
}

TEST(Json, NumbersThatFit64BitsAreIntegers) {
  EXPECT_EQ(parsed("9223372036854775807").as_int64(), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(parsed("9223372036854775808").as_int64(), std::nullopt);
  EXPECT_EQ(parsed("9223372036854775808").as_uint64(), 9223372036854775808ull);
  EXPECT_FALSE(parsed("18446744073709551616").is_integer());
  EXPECT_FALSE(parsed("1.0").is_integer());
  EXPECT_FALSE(parsed("1e3").is_integer());
}

TEST(Json, RefusesWhatIsNotStrictJson) {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[1,]",
                           "{\"a\":1,}",
                           "{'a':1}",
                           "01",
                           "+1",
                           ".5",
                           "1.",
                           "nul",
                           "[1] 2",
                           "\"\x01\"",
                           "\"\\ud800\"",
                           "\"\\x41\"",
                           "\"\xff\"",
                           "\xef\xbb\xbf{}",
                           "NaN",
                           "Infinity",
                           "/**/1"}) {
    EXPECT_NE(error_of(text), "(accepted)") << text;
  }
  EXPECT_NE(error_of(R"({"a":1,"b":2,"a":3})").find("duplicate key \"a\""), std::string::npos);
  EXPECT_NE(error_of(R"({"o":{"a":1},"p":{"a":1,"a":1}})").find("duplicate key"),
            std::string::npos);
}

TEST(Json, ManyMembersAreStillCheckedForDuplicates) {
  std::string text = "{";
  for (int i = 0; i < 1000; ++i) text += concat("\"k", i, "\":", i, ",");
  EXPECT_TRUE(Json::parse(text + "\"last\":0}").has_value());
  EXPECT_NE(error_of(text + "\"k500\":0}").find("duplicate key \"k500\""), std::string::npos);
}

TEST(Json, DepthIsBounded) {
  EXPECT_NE(error_of(std::string(64, '[') + std::string(64, ']')).find("(accepted)"),
            std::string::npos);
  EXPECT_NE(error_of(std::string(65, '[') + std::string(65, ']')).find("deeper than 64"),
            std::string::npos);
  EXPECT_NE(error_of(std::string(1000000, '[')).find("deeper"), std::string::npos);
}

TEST(Json, StringsThatAreNotUtf8AreReplacedWhenWritten) {
  std::string out;
  append_json_string(out, "a\xff\xc3(\xed\xa0\x80z");
  EXPECT_EQ(out, "\"a\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\"");
}

}  // namespace
}  // namespace ruvllm
