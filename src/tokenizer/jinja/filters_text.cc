// Filters that make text of text.
#include <algorithm>

#include "tokenizer/jinja/filters.h"
#include "tokenizer/jinja/methods.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/string_tools.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/jinja/unicode.h"

namespace ruvllm::jinja {
namespace {

// A string stays what it is (Markup too); anything else becomes its str().
Result<Value> soft_string(Runtime& runtime, const Value& value) {
  if (value.is_string()) return value;
  RUVLLM_ASSIGN(std::string text, str(runtime, value));
  return runtime.heap.string(std::move(text));
}

template <std::string (*change)(std::string_view)>
Result<Value> changed(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("filter", args));
  RUVLLM_ASSIGN(const Value text, soft_string(runtime, self));
  RUVLLM_TRY(runtime.check_size(text.text().size()));
  RUVLLM_TRY(runtime.charge_walk(text.text()));
  return make_like(runtime, text, change(text.text()));
}

// Words begin after white space and after - ( { [ <.
std::string title_words(std::string_view text) {
  std::string out;
  size_t begin = 0;
  const auto is_break = [](char32_t c) {
    return is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
  };
  while (begin < text.size()) {
    size_t end = begin;
    next_char(text, end);
    size_t first = begin;
    const bool breaks = is_break(next_char(text, first));
    while (end < text.size()) {
      size_t next = end;
      if (is_break(next_char(text, next)) != breaks) break;
      end = next;
    }
    size_t at = begin;
    append_upper(out, next_char(text, at));
    out += to_lower(text.substr(at, end - at));
    begin = end;
  }
  return out;
}

Result<Value> string(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("string", args));
  return soft_string(runtime, self);
}

Result<Value> trim(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("trim", args, {"chars"}));
  RUVLLM_ASSIGN(const Value text, soft_string(runtime, self));
  RUVLLM_TRY(runtime.check_size(text.text().size()));
  RUVLLM_ASSIGN(const std::string_view out, strip_text(text.text(), given[0], Side::kBoth));
  return make_like(runtime, text, out);
}

Result<Value> replace(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("replace", args, {"old", "new", "count"}, 2));
  RUVLLM_ASSIGN(const std::string text, str(runtime, self));
  RUVLLM_ASSIGN(const std::string from, str(runtime, given[0]));
  RUVLLM_ASSIGN(const std::string to, str(runtime, given[1]));
  int64_t count = -1;
  if (given.has(2) && !given[2].is_none()) {
    RUVLLM_ASSIGN(count, to_index(given[2], "the count"));
  }
  RUVLLM_ASSIGN(std::string out, replace_text(runtime, text, from, to, count));
  return runtime.heap.string(std::move(out));
}

Result<Value> center(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("center", args, {"width"}));
  RUVLLM_ASSIGN(const Value text, soft_string(runtime, self));
  int64_t width = 80;
  if (given.has(0)) {
    RUVLLM_ASSIGN(width, to_index(given[0], "the width"));
  }
  RUVLLM_ASSIGN(std::string out, justify_text(runtime, text, width, " ", Justify::kCenter));
  return make_like(runtime, text, std::move(out));
}

Result<Value> escape(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("escape", args));
  RUVLLM_ASSIGN(std::string out, escaped(runtime, self));
  return runtime.heap.markup(std::move(out));
}

Result<Value> force_escape(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("forceescape", args));
  RUVLLM_ASSIGN(const std::string text, str(runtime, self));
  RUVLLM_TRY(runtime.check_size(text.size() * 5));
  return runtime.heap.markup(escape_html(text));
}

Result<Value> safe(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("safe", args));
  RUVLLM_ASSIGN(std::string text, str(runtime, self));
  return runtime.heap.markup(std::move(text));
}

// The text of an entity name that striptags resolves; the five that HTML escaping makes.
std::string_view entity_text(std::string_view name) {
  if (name == "amp") return "&";
  if (name == "lt") return "<";
  if (name == "gt") return ">";
  if (name == "quot") return "\"";
  if (name == "apos" || name == "#39") return "'";
  if (name == "#34") return "\"";
  if (name == "nbsp") return "\xc2\xa0";
  return {};
}

std::string unescape_entities(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    constexpr size_t kLongest = 8;  // of an entity that is known here
    size_t end = std::string_view::npos;
    if (text[i] == '&') {
      const size_t within = text.substr(i, kLongest + 1).find(';');
      if (within != std::string_view::npos) end = i + within;
    }
    if (end != std::string_view::npos) {
      const std::string_view name = text.substr(i + 1, end - i - 1);
      uint32_t code = 0;
      const bool hex = name.starts_with("#x") || name.starts_with("#X");
      bool number = name.size() > (hex ? 2U : 1U) && name[0] == '#';
      for (const char c : number ? name.substr(hex ? 2 : 1) : std::string_view()) {
        const int digit = c >= '0' && c <= '9'                            ? c - '0'
                          : hex && (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                                          : -1;
        if (digit < 0) number = false;
        code = code * (hex ? 16 : 10) + static_cast<uint32_t>(std::max(digit, 0));
      }
      const std::string_view known = entity_text(name);
      if (!known.empty() || (number && code >= 0x20 && code < 0xd800)) {
        if (known.empty()) append_char(out, code);
        out += known;
        i = end + 1;
        continue;
      }
    }
    out += text[i++];
  }
  return out;
}

Result<Value> strip_tags(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("striptags", args));
  RUVLLM_ASSIGN(std::string text, str(runtime, self));
  RUVLLM_TRY(runtime.charge_walk(text));
  for (const auto& [open, close] : {std::pair("<!--", "-->"), std::pair("<", ">")}) {
    std::string kept;
    size_t at = 0;
    const size_t open_size = std::string_view(open).size();
    while (true) {
      const size_t begin = text.find(open, at);
      const size_t end = begin == std::string::npos
                             ? std::string::npos
                             : text.find(close, open_size == 1 ? begin : begin);
      if (end == std::string::npos) break;
      kept += std::string_view(text).substr(at, begin - at);
      at = end + std::string_view(close).size();
    }
    kept += std::string_view(text).substr(at);
    text = std::move(kept);
  }
  std::string out;  // runs of white space become one space
  bool pending = false;
  for (size_t i = 0; i < text.size();) {
    const char32_t c = next_char(text, i);
    if (is_space(c)) {
      pending = !out.empty();
      continue;
    }
    if (pending) out += ' ';
    pending = false;
    append_char(out, c);
  }
  return runtime.make_string(unescape_entities(out));
}

Result<Value> indent(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("indent", args, {"width", "first", "blank"}));
  if (!self.is_string()) {
    if (self.is_undefined()) return raise(undefined_message(self));
    return raise(concat("indent needs a text, not ", type_name(self)));
  }
  std::string indention(4, ' ');
  if (given.has(0) && given[0].is_string()) {
    indention = given[0].text();
  } else if (given.has(0)) {
    RUVLLM_ASSIGN(const int64_t width, to_index(given[0], "the width"));
    RUVLLM_TRY(runtime.check_size(static_cast<uint64_t>(std::max<int64_t>(width, 0))));
    indention.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  const bool blank = truth(given[2]);
  RUVLLM_TRY(runtime.check_size(self.text().size()));
  RUVLLM_TRY(runtime.charge_walk(self.text()));
  const std::string text = self.text() + "\n";
  std::string out = truth(given[1]) ? indention : "";
  bool first = true;
  for (const std::string_view line : split_lines(text, false)) {
    RUVLLM_TRY(runtime.charge(1 + (indention.size() + line.size()) / 64));
    if (!runtime.heap.fits(out.size() + indention.size() + line.size())) {
      return over_limit("the size of values");
    }
    if (!first) {
      out += '\n';
      if (blank || !line.empty()) out += indention;
    }
    first = false;
    out += line;
  }
  return make_like(runtime, self, std::move(out));
}

Result<Value> truncate(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("truncate", args, {"length", "killwords", "end", "leeway"}));
  const auto number = [&given](size_t which, int64_t otherwise) -> Result<int64_t> {
    if (!given.has(which) || given[which].is_none()) return otherwise;
    return to_index(given[which], "the length");
  };
  RUVLLM_ASSIGN(const int64_t length, number(0, 255));
  RUVLLM_ASSIGN(const int64_t leeway, number(3, 5));
  const Value end = given.has(2) ? given[2] : runtime.heap.string("...");
  RUVLLM_ASSIGN(const uint64_t end_chars, require_length(end));
  const auto end_length = static_cast<int64_t>(end_chars);
  if (length < end_length || leeway < 0) return raise("truncate: the length is too short");
  RUVLLM_ASSIGN(const uint64_t have, require_length(self));
  if (leeway > INT64_MAX - length || have <= static_cast<uint64_t>(length + leeway)) return self;
  if (!self.is_string() || !end.is_string()) return raise("truncate needs a text");
  RUVLLM_TRY(runtime.check_size(self.text().size()));
  const Value cut = substring(runtime, self, 0, static_cast<size_t>(length - end_length));
  std::string_view kept = cut.text();
  if (!truth(given[1])) kept = kept.substr(0, kept.rfind(' '));
  return make_like(runtime, self, std::string(kept) + end.text());
}

Result<Value> word_count(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("wordcount", args));
  RUVLLM_ASSIGN(const std::string text, str(runtime, self));
  RUVLLM_TRY(runtime.charge_walk(text));
  int64_t count = 0;
  bool in_word = false;
  for (size_t i = 0; i < text.size();) {
    const char32_t c = next_char(text, i);
    const bool part = c == '_' || char_is(c, kAlnum);
    count += part && !in_word ? 1 : 0;
    in_word = part;
  }
  return Value(count);
}

std::string quote_url(std::string_view text, bool query) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (byte < 0x80 && std::isalnum(byte) != 0) || c == '_' || c == '.' ||
                       c == '-' || c == '~' || (c == '/' && !query);
    if (plain) {
      out += c;
    } else if (c == ' ' && query) {
      out += '+';
    } else {
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

Result<Value> url_encode(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("urlencode", args));
  if (self.is_string() || !is_iterable(self)) {
    RUVLLM_ASSIGN(const std::string text, str(runtime, self));
    RUVLLM_TRY(runtime.check_size(text.size() * 3));
    RUVLLM_TRY(runtime.charge_bytes(text.size()));
    return runtime.heap.string(quote_url(text, false));
  }
  std::vector<Value> pairs;
  if (self.is(Kind::kDict)) {
    for (const DictObject::Item& item : self.as<DictObject>().items) {
      pairs.push_back(runtime.heap.tuple({item.first, item.second}));
    }
  } else {
    RUVLLM_ASSIGN(pairs, to_vector(runtime, self));
  }
  std::string out;
  for (const Value& pair : pairs) {
    RUVLLM_ASSIGN(const std::vector<Value> parts, to_vector(runtime, pair));
    if (parts.size() != 2) return raise("urlencode needs pairs");
    for (size_t i = 0; i < 2; ++i) {
      RUVLLM_ASSIGN(const std::string text, str(runtime, parts[i]));
      RUVLLM_TRY(runtime.check_size(out.size() + text.size() * 3));
      if (i == 1)
        out += '=';
      else if (!out.empty())
        out += '&';
      out += quote_url(text, true);
    }
  }
  return runtime.heap.string(std::move(out));
}

Result<Value> format(Runtime& runtime, const Value& self, const Args& args) {
  if (!args.positional.empty() && !args.named.empty()) {
    return raise("can't handle positional and keyword arguments at the same time");
  }
  RUVLLM_ASSIGN(const Value text, soft_string(runtime, self));
  if (args.named.empty()) {
    return format_percent(runtime, text, runtime.heap.tuple(args.positional));
  }
  return format_percent(runtime, text, runtime.heap.dict(args.named));
}

Result<Value> xml_attributes(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("xmlattr", args, {"autospace"}));
  if (self.is_undefined()) return raise(undefined_message(self));
  if (!self.is(Kind::kDict)) return raise("xmlattr needs a mapping");
  std::string out;
  for (const auto& [key, value] : self.as<DictObject>().items) {
    if (value.is_none() || value.is_undefined()) continue;
    if (!key.is_string() || key.text().find_first_of(" \t\n\r\f\v/>=") != std::string::npos) {
      return raise("invalid character in an attribute name");
    }
    RUVLLM_ASSIGN(const std::string name, escaped(runtime, key));
    RUVLLM_ASSIGN(const std::string text, escaped(runtime, value));
    RUVLLM_TRY(runtime.check_size(out.size() + name.size() + text.size() + 4));
    if (!out.empty()) out += ' ';
    out += concat(name, "=\"", text, "\"");
  }
  if (!out.empty() && (!given.has(0) || truth(given[0]))) out.insert(0, " ");
  return runtime.heap.string(std::move(out));
}

Result<std::string> separator_argument(Runtime& runtime, const Value& value) {
  if (!value.is_string())
    return raise(concat("a JSON separator must be str, not ", type_name(value)));
  RUVLLM_TRY(runtime.check_size(value.text().size()));
  return value.text();
}

Result<Value> to_json(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given,
                bind("tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonStyle style;
  style.ensure_ascii = truth(given[0]);
  style.sort_keys = truth(given[3]);
  if (given.has(1) && !given[1].is_none()) {
    if (given[1].is_string()) {
      style.indent = given[1].text();
    } else {
      RUVLLM_ASSIGN(const int64_t width, to_index(given[1], "the indent"));
      RUVLLM_TRY(runtime.check_size(static_cast<uint64_t>(std::max<int64_t>(width, 0))));
      style.indent = std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
    }
    style.item_separator = ",";
  }
  if (given.has(2) && !given[2].is_none()) {
    RUVLLM_ASSIGN(const std::vector<Value> separators, to_vector(runtime, given[2]));
    if (separators.size() != 2) return raise("separators must be a pair");
    RUVLLM_ASSIGN(style.item_separator, separator_argument(runtime, separators[0]));
    RUVLLM_ASSIGN(style.key_separator, separator_argument(runtime, separators[1]));
  }
  std::string out;
  RUVLLM_TRY(append_json(runtime, out, self, style));
  return runtime.make_string(std::move(out));
}

Result<Value> refuse_urlize(Runtime&, const Value&, const Args&) {
  return unsupported("the filter 'urlize' is not available in templates here");
}

constexpr Builtin kFilters[] = {
    {"capitalize", changed<to_capitalized>},
    {"center", center},
    {"e", escape},
    {"escape", escape},
    {"forceescape", force_escape},
    {"format", format},
    {"indent", indent},
    {"lower", changed<to_lower>},
    {"replace", replace},
    {"safe", safe},
    {"string", string},
    {"striptags", strip_tags},
    {"title", changed<title_words>},
    {"tojson", to_json},
    {"trim", trim},
    {"truncate", truncate},
    {"upper", changed<to_upper>},
    {"urlencode", url_encode},
    {"urlize", refuse_urlize},
    {"wordcount", word_count},
    {"wordwrap", wordwrap_filter},
    {"xmlattr", xml_attributes},
};

}  // namespace

std::span<const Builtin> text_filters() {
  return kFilters;
}

const Builtin* find_filter(std::string_view name) {
  for (const auto table : {text_filters(), sequence_filters(), order_filters(), scalar_filters()}) {
    if (const Builtin* found = find_builtin(table, name)) return found;
  }
  return nullptr;
}

}  // namespace ruvllm::jinja
