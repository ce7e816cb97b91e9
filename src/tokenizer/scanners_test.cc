// Every hand-written scanner against its regex in PCRE2, on random and on real text.
#include "tokenizer/scanners.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "base/mmap_file.h"
#include "base/test_util.h"
#include "tokenizer/pattern.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace ruvllm {
namespace {

using Spans = std::vector<std::pair<size_t, size_t>>;  // matches only

Spans matches_of(const Pattern& pattern, std::string_view text) {
  Spans spans;
  const Status status = pattern.for_each_span(text, [&](Span s) {
    if (s.is_match) spans.emplace_back(s.begin, s.end);
  });
  EXPECT_TRUE(status) << status.error().message;
  return spans;
}

// Characters that the regexes tell apart, and runs of them. PCRE2's Unicode is 14: only characters
// that it knows as we do.
std::string random_text(std::mt19937& rng, size_t num_characters) {
  static const std::vector<std::u32string> kKinds = {
      U"'",          U"'s",     U"'RE",    U"'lL",    U"'\u017f",    U" ",      U"  ",
      U"\n",         U"\r\n",   U"\t",     U"\u00a0", U"\u3000",     U"a",      U"Z",
      U"abc",        U"XYZ",    U"\u00e9", U"\u00c9", U"\u01c5",     U"\u02b0", U"\u4e16",
      U"\u3042",     U"\u0301", U"\u0903", U"\u20dd", U"0",          U"12",     U"3456",
      U"\u0661",     U"\u00bd", U"\u2167", U".",      U"//",         U"/",      U"$",
      U"+",          U"`",      U"_",      U"-",      U"!",          U"\u2019", U"\u20ac",
      U"\U0001f642", U"\u0001", U"\u200d", U"\ufeff", U"\U000e0041", U"\ue000", U"\u0e33",
      U"\uac00",     U"\u0345"};
  std::string text;
  for (size_t i = 0; i < num_characters; ++i) {
    if (rng() % 10 == 0) {
      const auto code = static_cast<char32_t>(rng() % 0x3000);
      if (is_in_unicode_9(code)) append_utf8(text, code);
      continue;
    }
    for (const char32_t c : kKinds[rng() % kKinds.size()]) append_utf8(text, c);
  }
  return text;
}

TEST(Scanners, EqualTheirRegexesOnRandomText) {
  for (const KnownRegex& known : known_regexes()) {
    const auto fast = Pattern::regex(known.regex);
    const auto slow = Pattern::regex_by_pcre2(known.regex);
    ASSERT_TRUE(fast);
    if (!slow) GTEST_SKIP() << slow.error().message;
    std::mt19937 rng(7);
    for (int i = 0; i < 4000; ++i) {
      const std::string text = random_text(rng, 1 + rng() % 24);
      ASSERT_EQ(matches_of(*fast, text), matches_of(*slow, text)) << known.regex << "\n" << text;
    }
  }
}

TEST(Scanners, EqualTheirRegexesOnRealText) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "no reference data on this machine";
  std::string text;
  for (const char* name :
       {"anton-chekhov_short-fiction_constance-garnett.txt", "herman-melville_moby-dick.txt"}) {
    const auto file = read_text_file(*shared + "/data/text/" + name, 64 << 20);
    ASSERT_TRUE(file) << file.error().message;
    text += file->substr(0, 300'000);
  }
  text.resize(find_invalid_utf8(text));
  for (const KnownRegex& known : known_regexes()) {
    const auto fast = Pattern::regex(known.regex);
    const auto slow = Pattern::regex_by_pcre2(known.regex);
    if (!slow) GTEST_SKIP() << slow.error().message;
    EXPECT_EQ(matches_of(*fast, text), matches_of(*slow, text)) << known.regex;
  }
}

TEST(Scanners, CoverAnyText) {
  std::mt19937 rng(11);
  for (const KnownRegex& known : known_regexes()) {
    if (known.scanner == nullptr) continue;
    for (int i = 0; i < 500; ++i) {
      const std::string text = random_text(rng, 1 + rng() % 40);
      size_t at = 0;
      while (at < text.size()) {
        const size_t end = known.scanner(text, at);
        ASSERT_GT(end, at) << known.regex;
        at = end;
      }
      ASSERT_EQ(at, text.size());
    }
  }
}

TEST(Pattern, UnknownRegexRunsInPcre2WithinLimits) {
  const auto bomb = Pattern::regex("(a+)+[bc]\\z");
  if (!bomb) GTEST_SKIP() << bomb.error().message;
  const Status status = bomb->for_each_span(std::string(5000, 'a') + "b!", [](Span) {});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kUnsupported);
  EXPECT_FALSE(Pattern::regex("(unclosed"));
}

TEST(Pattern, SpacesAreUnicodesInPcre2Too) {
  const std::string text =
      "a\xe1\xa0\x8e"
      "b\xe2\x80\x83"
      "c d";  // U+180E is no space, U+2003 is
  const Spans expected = {{0, 5}, {8, 9}, {10, 11}};
  for (const char* regex : {R"([^\s]{1,99})", R"(\S{1,99})"}) {
    const auto pattern = Pattern::regex(regex);
    if (!pattern) GTEST_SKIP() << pattern.error().message;
    EXPECT_EQ(matches_of(*pattern, text), expected) << regex;
  }
}

TEST(Pattern, BehaviorsOfSplit) {
  // "a-b--c" split at '-'.
  const std::vector<Span> spans = {{0, 1, false}, {1, 2, true}, {2, 3, false},
                                   {3, 4, true},  {4, 5, true}, {5, 6, false}};
  const auto lengths = [&](SplitBehavior behavior) {
    std::string out;
    for (const Span& s : apply_behavior(spans, behavior)) out += std::to_string(s.end - s.begin);
    return out;
  };
  EXPECT_EQ(lengths(SplitBehavior::kRemoved), "111");
  EXPECT_EQ(lengths(SplitBehavior::kIsolated), "111111");
  EXPECT_EQ(lengths(SplitBehavior::kMergedWithPrevious), "2211");
  EXPECT_EQ(lengths(SplitBehavior::kMergedWithNext), "1212");
  EXPECT_EQ(lengths(SplitBehavior::kContiguous), "11121");
}

}  // namespace
}  // namespace ruvllm
