// The template language by rules, each expectation checked with jinja2 and CPython.
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "tokenizer/chat_template.h"
#include "tokenizer/jinja/big_int.h"
#include "tokenizer/jinja/strftime.h"
#include "tokenizer/jinja/unicode.h"

namespace ruvllm {
namespace {

constexpr const char* kContext = R"({"name": "World", "n": 7, "x": 3.5, "items": [3, 1, 2],
  "d": {"a": 1, "b": [1, 2]}, "uni": "日本🙂é", "none": null,
  "users": [{"n": "Ann", "age": 30}, {"n": "Bob", "age": 25}, {"n": "Cid", "age": 30}]})";

Result<std::string> render(const std::string& source, const RenderOptions& options = {}) {
  Result<Json> context = Json::parse(kContext);
  EXPECT_TRUE(context.has_value());
  Result<JinjaTemplate> compiled = JinjaTemplate::compile(source);
  if (!compiled) return std::unexpected<Error>(compiled.error());
  return compiled->render(*context, options);
}

struct Case {
  const char* source;
  const char* expected;
};

void expect_all(std::initializer_list<Case> cases) {
  for (const Case& one : cases) {
    const Result<std::string> got = render(one.source);
    ASSERT_TRUE(got.has_value()) << one.source << ": " << got.error().message;
    EXPECT_EQ(*got, one.expected) << one.source;
  }
}

void expect_errors(std::initializer_list<const char*> sources) {
  for (const char* source : sources) {
    const Result<std::string> got = render(source);
    EXPECT_FALSE(got.has_value()) << source << " gave " << *got;
  }
}

TEST(Jinja, IntegersHaveNoSize) {
  expect_all(
      {{"{{ 2 ** 100 }}", "1267650600228229401496703205376"},
       {"{{ -(2 ** 100) // 7 }} {{ -(2 ** 100) % 7 }}", "-181092942889747057356671886483 5"},
       {"{{ 9223372036854775807 + 1 }} {{ -9223372036854775807 - 2 }}",
        "9223372036854775808 -9223372036854775809"},
       {"{{ (-9223372036854775807 - 1) // -1 }}", "9223372036854775808"},
       {"{{ 2 ** 100 / 3 }} {{ 9007199254740993 / 3 }}",
        "4.2255020007607644e+29 3002399751580331.0"},
       {"{{ 9007199254740993 == 9007199254740992.0 }}", "False"},
       {"{{ 10 ** 30 | int }} {{ (10 ** 30) is integer }}", "1000000000000000000000000000000 True"},
       {"{{ 2 ** 3 ** 2 }} {{ -2 ** 2 }}", "64 4"}});  // from the left, unlike Python
  expect_errors(
      {"{{ 10 ** 5000 }}", "{{ 2 ** (2 ** 40) }}", "{{ 1 // 0 }}", "{{ 1 % 0 }}", "{{ 1.0 / 0 }}"});
}

TEST(Jinja, NumbersPrintAsInPython) {
  expect_all({{"{{ 0.1 + 0.2 }} {{ 1e16 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }} {{ 5e-324 }}",
               "0.30000000000000004 1e+16 1000000000000000.0 0.0001 1e-05 5e-324"},
              {"{{ -7 // 2 }} {{ -7 % 3 }} {{ 7.5 // -2 }} {{ -7.5 % 2 }}", "-4 2 -4.0 0.5"},
              {"{{ 2.675 | round(2) }} {{ 2.5 | round }} {{ 15 | round(-1) }} {{ 25 | round(-1) }}",
               "2.67 2.0 20 20"},
              {"{{ '%05.1f|%x|%-4s|%+d' % (3.14159, 255, 'a', 5) }}", "003.1|ff|a   |+5"},
              {"{{ '{:>8.2f}|{:010,}|{:e}|{:.3g}'.format(2.5, 1234567, 12345.678, 0.00001234) }}",
               "    2.50|01,234,567|1.234568e+04|1.23e-05"}});
}

TEST(Jinja, TextCountsCharacters) {
  expect_all(
      {{"{{ uni | length }} {{ uni[1:3] }} {{ uni[-1] }} {{ uni[::-1] }}", "4 本🙂 é é🙂本日"},
       {"{{ 'ß' | upper }} {{ 'ΑΣ ΣΑΣ.' | lower }} {{ 'ǆ'.title() }} {{ 'İ' | lower | length }}",
        "SS ας σας. ǅ 2"},
       {"{{ ' \\xa0x\\u3000'.strip() }}|{{ 'a\\xa0b'.split() }}", "x|['a', 'b']"},
       {"{{ ['\\x00', '\\u200b', 'é', '\\'', 'a\"\\''] }}",
        "['\\x00', '\\u200b', 'é', \"'\", 'a\"\\'']"},
       {"{{ 'aXbXc'.rsplit('X', 1) }} {{ 'a b  c'.rsplit(none, 1) }} {{ 'aaa'.find('a', 1) }}",
        "['aXb', 'c'] ['a b', 'c'] 1"}});
}

TEST(Jinja, UndefinedPrintsNothingButBreaksWhenUsed) {
  expect_all({{"[{{ zz }}] {{ zz is defined }} {{ zz == yy }} {{ zz | default(1) }} {{ d.zz }}",
               "[] False True 1 "},
              {"{% for i in zz %}x{% endfor %}{{ zz | length }}{{ 'a' ~ zz }}", "0a"}});
  expect_errors({"{{ zz.a }}", "{{ zz['a'] }}", "{{ zz + 1 }}", "{{ zz() }}", "{{ zz < 1 }}",
                 "{{ -zz }}", "{{ d.zz.yy }}", "{{ zz | int }}", "{{ zz | tojson }}"});
}

TEST(Jinja, ScopesAndNamespaces) {
  expect_all(
      {{"{% set q = 1 %}{% for i in items %}{{ q }}{% set q = i %}{{ q }}{% endfor %}{{ q }}",
        "1311121"},
       {"{% set ns = namespace(c=0) %}{% for i in items %}{% set ns.c = ns.c + i %}{% endfor %}{{ "
        "ns.c }}",
        "6"},
       {"{% macro m(a, b=a) %}[{{ a }},{{ b }}]{% endmacro %}{{ m(1) }}{{ m(b=1, a=2) }}{{ m() }}",
        "[1,1][2,1][,]"},
       {"{% set q = 't' %}{% macro m() %}{{ q }}{% endmacro %}{% set q = 'u' %}{{ m() }}", "u"},
       {"{% macro w(l) %}{% for i in l %}{{ caller(i) }}{% endfor %}{% endmacro %}"
        "{% call(i) w(items) %}<{{ i }}>{% endcall %}",
        "<3><1><2>"},
       {"{% for a in [1, [2, [3]]] recursive %}{% if a is number %}{{ a }}@{{ loop.depth }} "
        "{% else %}({{ loop(a) }}){% endif %}{% endfor %}",
        "1@1 (2@2 (3@3 ))"},
       {"{% for i in range(5) if i % 2 %}{{ loop.length }}{{ loop.last }}{% endfor %}",
        "2False2True"}});
  expect_errors({"{% set d.a = 1 %}", "{% set ns = namespace() %}{% set ns._a = 1 %}",
                 "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}", "{% break %}"});
}

TEST(Jinja, NothingCanBeChangedOrReached) {
  expect_errors({"{{ items.append(1) }}", "{{ d.update({}) }}", "{{ d.pop('a') }}",
                 "{{ ''.__class__.__mro__ }}", "{% include 'x' %}", "{% import 'x' as y %}",
                 "{% extends 'x' %}", "{{ lipsum() }}", "{{ items | random }}"});
  const Result<std::string> refused = render("{% include 'x' %}");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(refused.error().message.find("'include'"), std::string::npos);
}

TEST(Jinja, ErrorsNameTheLine) {
  const Result<std::string> syntax = render("a\nb {{ x ++ }}");
  ASSERT_FALSE(syntax.has_value());
  EXPECT_EQ(syntax.error().code, ErrorCode::kBadFile);
  EXPECT_NE(syntax.error().message.find("line 2"), std::string::npos) << syntax.error().message;
  const Result<std::string> run = render("a\n{% if n %}\n\n{{ zz.a }}{% endif %}");
  ASSERT_FALSE(run.has_value());
  EXPECT_EQ(run.error().message, "chat template line 4: 'zz' is undefined");
  const Result<std::string> raised = render("\n{{ raise_exception('my message') }}");
  ASSERT_FALSE(raised.has_value());
  EXPECT_EQ(raised.error().message, "my message");
  EXPECT_FALSE(render("{{ x | nosuch }}").has_value());
  EXPECT_TRUE(render("{% if false %}{{ x | nosuch }}{% endif %}").has_value());
}

TEST(Jinja, WhiteSpaceControl) {
  expect_all({{"  {% if true %}\n  yes\n  {% endif %}\n  end\n", "  yes\n  end"},
              {"a {%- if true -%} b {%- endif +%}\n c", "ab\n c"},
              {"{%+ if true %} x {% endif %}", " x "},
              {"a\r\n{# c #}\r\nb\n\n", "a\nb\n"},
              {"{% raw -%}\n {{ a }} \n{%- endraw %}\nb", "{{ a }}b"}});
}

TEST(Jinja, LimitsEndRenders) {
  RenderOptions options;
  options.limits.max_steps = 1000;
  EXPECT_TRUE(render("{% for i in range(50) %}{{ i }}{% endfor %}", options).has_value());
  EXPECT_FALSE(render("{% for i in range(5000) %}{{ i }}{% endfor %}", options).has_value());
  options = {};
  options.limits.max_output_bytes = 4096;
  EXPECT_FALSE(render("{% for i in range(500) %}0123456789{% endfor %}", options).has_value());
  EXPECT_FALSE(render("{{ 'a' * 5000 }}", options).has_value());
  EXPECT_FALSE(render("{{ ('a' * 3000) | replace('a', 'bb') }}", options).has_value());
  EXPECT_FALSE(render("{{ range(1000) | list | length }}", options).has_value());
  options = {};
  options.limits.max_depth = 20;
  EXPECT_TRUE(render("{% macro f(k) %}{% if k %}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(10) }}",
                     options)
                  .has_value());
  EXPECT_FALSE(
      render("{% macro f(k) %}{% if k %}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
             options)
          .has_value());
}

TEST(Jinja, DeepValuesAndCyclesAreFreed) {
  // A chain of 50,000 lists, and one through namespaces that closes in a circle: freeing them must
  // not recurse, and must happen (a leak checker sees it).
  expect_all({{"{% set ns = namespace(l=[]) %}{% for i in range(50000) %}{% set ns.l = [ns.l] %}{% "
               "endfor %}"
               "{{ ns.l | length }}",
               "1"},
              {"{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = [b, a] %}"
               "{% macro m() %}{{ a.b | length }}{% endmacro %}{% set a.m = m %}{{ m() }}",
               "2"},
              {"{% set ns = namespace(h=none) %}{% for i in range(20000) %}"
               "{% set ns.h = namespace(next=ns.h) %}{% endfor %}ok",
               "ok"}});
  expect_errors(
      {"{% set ns = namespace(l=[]) %}{% for i in range(1000) %}{% set ns.l = [ns.l] %}{% endfor "
       "%}{{ ns.l }}",
       "{% set a = namespace() %}{% set a.a = [a] %}{{ a }}"});
}

TEST(Jinja, LongGarbageDoesNotCountForever) {
  // 20,000 strings of 100 kB one after the other: only what is alive counts.
  RenderOptions options;
  options.limits.max_steps = 1'000'000'000;
  const Result<std::string> got =
      render("{% for i in range(5000) %}{% set q = 'x' * 100000 %}{% endfor %}ok", options);
  ASSERT_TRUE(got.has_value()) << got.error().message;
}

TEST(Jinja, OneTemplateInManyThreads) {
  const Result<JinjaTemplate> compiled =
      JinjaTemplate::compile("{% for i in range(100) %}{{ 'text' ~ i ~ 10 ** 20 }}{% endfor %}");
  ASSERT_TRUE(compiled.has_value());
  std::string texts[4];
  std::thread threads[4];
  for (int t = 0; t < 4; ++t) {
    threads[t] = std::thread([&, t] {
      for (int k = 0; k < 20; ++k) texts[t] = *compiled->render(Json(Json::Object()));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& text : texts) EXPECT_EQ(text, texts[0]);
}

TEST(ChatTemplate, SeesMessagesToolsAndVariables) {
  auto made = make_chat_template(
      "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor "
      "%}"
      "{% if tools %}{{ tools | tojson }}{% endif %}{{ mode }}{% if add_generation_prompt "
      "%}<assistant>{% endif %}",
      "<s>", "</s>");
  ASSERT_TRUE(made.has_value());
  const ChatTemplate& chat = **made;
  EXPECT_EQ(*chat.render({{"user", "hi"}}, true), "<s><user>hi</s><assistant>");
  EXPECT_EQ(
      *chat.render_json(R"([{"role": "user", "content": "é"}])", R"([{"a": 1}])",
                        R"({"mode": "!", "bos_token": "B", "add_generation_prompt": true})", false),
      "B<user>é</s>[{\"a\": 1}]!");
  EXPECT_FALSE(chat.render_json("{}", "", "", true).has_value());
  EXPECT_FALSE(chat.render_json("[]", "5", "", true).has_value());
  EXPECT_FALSE(chat.render_json("[]", "", "[]", true).has_value());
  EXPECT_FALSE(chat.render_json("[", "", "", true).has_value());
  EXPECT_FALSE(make_chat_template("{{", "", "").has_value());
}

TEST(Strftime, AgreesWithTheCLibrary) {
  const char* format =
      "%Y-%m-%d %H:%M:%S %a %A %b %B %e %j %U %W %V %G %u %w %y %C %I %p %D %F %T %R";
  for (int64_t now : {int64_t{0}, int64_t{1741964966}, int64_t{951782399}, int64_t{1230768000},
                      int64_t{1356998400}, int64_t{4102444799}, int64_t{253402300799}}) {
    for (int64_t day = 0; day < 800; day += 31) {
      const std::time_t seconds = static_cast<std::time_t>(now + day * 86400);
      std::tm parts = {};
      gmtime_r(&seconds, &parts);
      char expected[256];
      strftime(expected, sizeof expected, format, &parts);
      EXPECT_EQ(*jinja::format_time(format, jinja::time_parts(now + day * 86400)), expected);
    }
  }
}

TEST(BigInt, DividesAndMultipliesBack) {
  using jinja::BigInt;
  BigInt a(1);
  BigInt b(-7);
  for (int i = 1; i < 60; ++i) {
    a = a * BigInt(1000003 * i) + BigInt(i);
    if (i % 2 != 0) b = b * BigInt(-65537 - i);
    BigInt quotient;
    BigInt remainder;
    BigInt::divide(a, b, quotient, remainder);
    EXPECT_EQ(BigInt::compare(quotient * b + remainder, a), 0);
    EXPECT_TRUE(remainder.is_zero() || remainder.is_negative() == b.is_negative());
    EXPECT_EQ(BigInt::compare(*BigInt::parse((b.is_negative() ? b.negated() : b).to_string(), 10),
                              b.is_negative() ? b.negated() : b),
              0);
  }
}

}  // namespace
}  // namespace ruvllm
