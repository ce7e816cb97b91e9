// Methods of strings.
#include <algorithm>

#include "tokenizer/jinja/call.h"
#include "tokenizer/jinja/methods.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/string_tools.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/jinja/unicode.h"

namespace ruvllm::jinja {
namespace {

Result<std::string_view> text_argument(const Value& value, const char* what) {
  if (value.is_string()) return std::string_view(value.text());
  if (value.is_undefined()) return raise(undefined_message(value));
  return raise(concat(what, " must be str, not ", type_name(value)));
}

Result<int64_t> integer_argument(const Value& value, int64_t otherwise) {
  if (value.is_missing()) return otherwise;
  return to_index(value, "the argument");
}

template <std::string (*change)(std::string_view)>
Result<Value> changed(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("str method", args));
  RUVLLM_TRY(runtime.check_size(self.text().size()));
  RUVLLM_TRY(runtime.charge_walk(self.text()));
  return make_like(runtime, self, change(self.text()));
}

template <Side side>
Result<Value> strip(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("strip", args, {"chars"}));
  RUVLLM_TRY(runtime.check_size(self.text().size()));
  RUVLLM_ASSIGN(const std::string_view out, strip_text(self.text(), given[0], side));
  return make_like(runtime, self, out);
}

template <Justify how>
Result<Value> justify(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("justify", args, {"width", "fillchar"}, 1));
  RUVLLM_ASSIGN(const int64_t width, to_index(given[0], "the width"));
  std::string_view fill = " ";
  if (given.has(1)) {
    RUVLLM_ASSIGN(fill, text_argument(given[1], "the fill character"));
  }
  RUVLLM_ASSIGN(std::string out, justify_text(runtime, self, width, fill, how));
  return make_like(runtime, self, std::move(out));
}

// str.split() without a separator: runs of white space.
Result<std::vector<Value>> split_space(Runtime& runtime, const Value& self, int64_t max_splits,
                                       bool from_right) {
  std::vector<Value> parts;
  RUVLLM_TRY(runtime.charge_walk(self.text()));
  std::string_view rest = self.text();
  rest = from_right ? strip_right(rest) : strip_left(rest);
  const auto add = [&](std::string_view part) -> Status {
    RUVLLM_TRY(runtime.charge(1));
    parts.push_back(make_like(runtime, self, part));
    return {};
  };
  for (int64_t splits = 0; !rest.empty(); ++splits) {
    if (max_splits >= 0 && splits >= max_splits) {
      RUVLLM_TRY(add(from_right ? strip_right(rest) : rest));
      break;
    }
    size_t at = from_right ? rest.size() : 0;
    size_t edge = at;
    while (from_right ? at > 0 : at < rest.size()) {
      const char32_t c = from_right ? previous_char(rest, at) : next_char(rest, at);
      if (is_space(c)) break;
      edge = at;
    }
    if (from_right) {
      RUVLLM_TRY(add(rest.substr(edge)));
      rest = strip_right(rest.substr(0, edge));
    } else {
      RUVLLM_TRY(add(rest.substr(0, edge)));
      rest = strip_left(rest.substr(edge));
    }
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

Result<std::vector<Value>> split_by(Runtime& runtime, const Value& self, std::string_view separator,
                                    int64_t max_splits, bool from_right) {
  if (separator.empty()) return raise("empty separator");
  std::vector<Value> parts;
  const std::string_view text = self.text();
  size_t begin = 0;
  size_t end = text.size();
  if (from_right && max_splits >= 0) {
    for (int64_t splits = 0; splits < max_splits; ++splits) {
      RUVLLM_TRY(runtime.charge(1));
      RUVLLM_ASSIGN(const size_t at, rfind_text(runtime, text, separator, end));
      if (at == std::string_view::npos) break;
      parts.push_back(make_like(runtime, self,
                                text.substr(at + separator.size(), end - at - separator.size())));
      end = at;
    }
    parts.push_back(make_like(runtime, self, text.substr(0, end)));
    std::reverse(parts.begin(), parts.end());
    return parts;
  }
  if (from_right && separator.size() > 1) {
    // Overlapping matches are found from the right.
    return split_by(runtime, self, separator, static_cast<int64_t>(text.size()), true);
  }
  for (int64_t splits = 0; max_splits < 0 || splits < max_splits; ++splits) {
    RUVLLM_TRY(runtime.charge(1));
    RUVLLM_ASSIGN(const size_t at, find_text(runtime, text, separator, begin));
    if (at == std::string_view::npos) break;
    parts.push_back(make_like(runtime, self, text.substr(begin, at - begin)));
    begin = at + separator.size();
  }
  parts.push_back(make_like(runtime, self, text.substr(begin)));
  return parts;
}

template <bool from_right>
Result<Value> split(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("split", args, {"sep", "maxsplit"}));
  RUVLLM_ASSIGN(const int64_t max_splits, integer_argument(given[1], -1));
  RUVLLM_TRY(runtime.check_size(self.text().size()));
  std::vector<Value> parts;
  if (!given.has(0) || given[0].is_none()) {
    RUVLLM_ASSIGN(parts, split_space(runtime, self, max_splits, from_right));
  } else {
    RUVLLM_ASSIGN(const std::string_view separator, text_argument(given[0], "the separator"));
    RUVLLM_ASSIGN(parts, split_by(runtime, self, separator, max_splits, from_right));
  }
  return runtime.heap.list(std::move(parts));
}

Result<Value> splitlines(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("splitlines", args, {"keepends"}));
  RUVLLM_TRY(runtime.check_size(self.text().size()));
  RUVLLM_TRY(runtime.charge_walk(self.text()));
  std::vector<Value> parts;
  for (const std::string_view line : split_lines(self.text(), truth(given[0]))) {
    RUVLLM_TRY(runtime.charge(1));
    parts.push_back(make_like(runtime, self, line));
  }
  return runtime.heap.list(std::move(parts));
}

template <bool from_right>
Result<Value> partition(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("partition", args, {"sep"}, 1));
  RUVLLM_ASSIGN(const std::string_view separator, text_argument(given[0], "the separator"));
  if (separator.empty()) return raise("empty separator");
  const std::string_view text = self.text();
  RUVLLM_TRY(runtime.check_size(text.size()));
  size_t at = 0;
  if (from_right) {
    RUVLLM_ASSIGN(at, rfind_text(runtime, text, separator, text.size()));
  } else {
    RUVLLM_ASSIGN(at, find_text(runtime, text, separator, 0));
  }
  std::string_view head = text;
  std::string_view middle;
  std::string_view tail;
  if (at != std::string_view::npos) {
    head = text.substr(0, at);
    middle = separator;
    tail = text.substr(at + separator.size());
  } else if (from_right) {
    std::swap(head, tail);
  }
  return runtime.heap.tuple({make_like(runtime, self, head), make_like(runtime, self, middle),
                             make_like(runtime, self, tail)});
}

// The bytes that characters [start, end) take, by Python's index rules; false when start is behind
// the end of the text.
Result<bool> byte_range(const Value& self, const Value& start, const Value& end, size_t& first,
                        size_t& last) {
  const auto& string = self.as<StringObject>();
  const auto length = static_cast<int64_t>(string.num_chars);
  const auto resolve = [length](const Value& value, int64_t otherwise) -> Result<int64_t> {
    if (value.is_missing() || value.is_none()) return otherwise;
    RUVLLM_ASSIGN(int64_t index, to_index(value, "a slice index"));
    if (index < 0) index = std::max<int64_t>(index < -length ? 0 : index + length, 0);
    return index;
  };
  RUVLLM_ASSIGN(const int64_t from, resolve(start, 0));
  RUVLLM_ASSIGN(int64_t to, resolve(end, length));
  to = std::min(to, length);
  if (from > to) return false;
  const auto byte_of = [&string](int64_t index) {
    if (string.is_ascii()) return static_cast<size_t>(index);
    size_t at = 0;
    for (int64_t i = 0; i < index; ++i) next_char(string.text, at);
    return at;
  };
  first = byte_of(from);
  last = byte_of(to);
  return true;
}

// The character index of the match, or -1.
Result<int64_t> find_index(Runtime& runtime, const Value& self, const Args& args, bool last) {
  RUVLLM_ASSIGN(const auto given, bind("find", args, {"sub", "start", "end"}, 1));
  RUVLLM_ASSIGN(const std::string_view needle, text_argument(given[0], "the text to find"));
  size_t begin = 0;
  size_t end = 0;
  RUVLLM_TRY(runtime.charge_walk(self.text()));
  RUVLLM_ASSIGN(const bool valid, byte_range(self, given[1], given[2], begin, end));
  if (!valid) return -1;
  const std::string_view text = std::string_view(self.text()).substr(begin, end - begin);
  size_t at = 0;
  if (last) {
    RUVLLM_ASSIGN(at, rfind_text(runtime, text, needle, text.size()));
  } else {
    RUVLLM_ASSIGN(at, find_text(runtime, text, needle, 0));
  }
  if (at == std::string_view::npos) return -1;
  return static_cast<int64_t>(count_chars(std::string_view(self.text()).substr(0, begin + at)));
}

template <bool last, bool must_be_there>
Result<Value> find(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const int64_t at, find_index(runtime, self, args, last));
  if (must_be_there && at < 0) return raise("substring not found");
  return Value(at);
}

Result<Value> count(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("count", args, {"sub", "start", "end"}, 1));
  RUVLLM_ASSIGN(const std::string_view needle, text_argument(given[0], "the text to count"));
  size_t begin = 0;
  size_t end = 0;
  RUVLLM_TRY(runtime.charge_bytes(self.text().size()));
  RUVLLM_ASSIGN(const bool valid, byte_range(self, given[1], given[2], begin, end));
  if (!valid) return Value(int64_t{0});
  const std::string_view text = std::string_view(self.text()).substr(begin, end - begin);
  if (needle.empty()) return Value(static_cast<int64_t>(count_chars(text)) + 1);
  int64_t times = 0;
  for (size_t at = 0;; at += needle.size()) {
    RUVLLM_TRY(runtime.charge(1));
    RUVLLM_ASSIGN(at, find_text(runtime, text, needle, at));
    if (at == std::string_view::npos) return Value(times);
    ++times;
  }
}

template <bool at_end>
Result<Value> starts_with(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("startswith", args, {"prefix", "start", "end"}, 1));
  std::vector<Value> wanted = {given[0]};
  if (given[0].is(Kind::kTuple)) wanted = given[0].items();
  size_t begin = 0;
  size_t end = 0;
  RUVLLM_ASSIGN(const bool valid, byte_range(self, given[1], given[2], begin, end));
  const std::string_view text =
      valid ? std::string_view(self.text()).substr(begin, end - begin) : std::string_view();
  RUVLLM_TRY(runtime.charge(wanted.size()));
  if (given.has(1)) RUVLLM_TRY(runtime.charge_walk(self.text()));
  for (const Value& value : wanted) {
    RUVLLM_ASSIGN(const std::string_view part, text_argument(value, "the prefix or suffix"));
    if (valid && (at_end ? text.ends_with(part) : text.starts_with(part))) return Value(true);
  }
  return Value(false);
}

template <bool at_end>
Result<Value> remove_affix(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("removeprefix", args, {"affix"}, 1));
  RUVLLM_ASSIGN(const std::string_view part, text_argument(given[0], "the prefix or suffix"));
  RUVLLM_TRY(runtime.check_size(self.text().size()));
  std::string_view text = self.text();
  if (at_end ? text.ends_with(part) : text.starts_with(part)) {
    text = at_end ? text.substr(0, text.size() - part.size()) : text.substr(part.size());
  }
  return make_like(runtime, self, text);
}

Result<Value> replace(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("replace", args, {"old", "new", "count"}, 2));
  RUVLLM_ASSIGN(const std::string_view from, text_argument(given[0], "the old text"));
  RUVLLM_ASSIGN(std::string_view to, text_argument(given[1], "the new text"));
  RUVLLM_ASSIGN(const int64_t times, integer_argument(given[2], -1));
  std::string escaped_to;
  if (self.as<StringObject>().markup) {
    RUVLLM_ASSIGN(escaped_to, escaped(runtime, given[1]));
    to = escaped_to;
  }
  RUVLLM_ASSIGN(std::string out, replace_text(runtime, self.text(), from, to, times));
  return make_like(runtime, self, std::move(out));
}

Result<Value> join(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("join", args, {"iterable"}, 1));
  return join_strings(runtime, self, given[0]);
}

Result<Value> zfill(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("zfill", args, {"width"}, 1));
  RUVLLM_ASSIGN(const int64_t width, to_index(given[0], "the width"));
  RUVLLM_ASSIGN(std::string out, justify_text(runtime, self, width, "0", Justify::kRight));
  const std::string& text = self.text();
  if (out.size() > text.size() && !text.empty() && (text[0] == '+' || text[0] == '-')) {
    std::swap(out[0], out[out.size() - text.size()]);
  }
  return make_like(runtime, self, std::move(out));
}

Result<Value> expand_tabs(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("expandtabs", args, {"tabsize"}));
  RUVLLM_ASSIGN(const int64_t size, integer_argument(given[0], 8));
  std::string out;
  int64_t column = 0;
  const std::string& text = self.text();
  RUVLLM_TRY(runtime.charge_walk(text));
  for (size_t i = 0; i < text.size();) {
    const char32_t c = next_char(text, i);
    if (c != '\t') {
      append_char(out, c);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
      continue;
    }
    const int64_t spaces = size > 0 ? size - column % size : 0;
    RUVLLM_TRY(runtime.check_size(out.size() + static_cast<uint64_t>(spaces)));
    out.append(static_cast<size_t>(spaces), ' ');
    column += spaces;
  }
  return make_like(runtime, self, std::move(out));
}

Result<Value> format(Runtime& runtime, const Value& self, const Args& args) {
  return format_braces(runtime, self, args, Value());
}

Result<Value> format_map(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("format_map", args, {"mapping"}, 1));
  return format_braces(runtime, self, Args(), given[0]);
}

// All characters have one of the properties; the empty text passes only where Python says so.
template <uint32_t any_of, bool empty_passes = false>
Result<Value> all_are(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("str method", args));
  const std::string& text = self.text();
  RUVLLM_TRY(runtime.charge_bytes(text.size() * 4));
  for (size_t i = 0; i < text.size();) {
    if (!char_is(next_char(text, i), any_of)) return Value(false);
  }
  return Value(empty_passes || !text.empty());
}

Result<Value> is_ascii_text(Runtime&, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("isascii", args));
  return Value(self.as<StringObject>().is_ascii());
}

Result<Value> is_identifier(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("isidentifier", args));
  const std::string& text = self.text();
  RUVLLM_TRY(runtime.charge_bytes(text.size() * 4));
  for (size_t i = 0; i < text.size();) {
    if (!char_is(next_char(text, i), i == 0 ? kIdentifierStart : kIdentifierPart)) {
      return Value(false);
    }
  }
  if (text.empty()) return Value(false);
  size_t first = 0;
  return Value(char_is(next_char(text, first), kIdentifierStart));
}

template <uint32_t wanted>
Result<Value> is_case(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("str method", args));
  RUVLLM_TRY(runtime.charge_bytes(self.text().size() * 4));
  return Value(wanted == kUpper ? is_upper_text(self.text()) : is_lower_text(self.text()));
}

Result<Value> is_title(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("istitle", args));
  const std::string& text = self.text();
  RUVLLM_TRY(runtime.charge_bytes(text.size() * 4));
  bool cased = false;
  bool after_cased = false;
  for (size_t i = 0; i < text.size();) {
    const uint32_t properties = char_properties(next_char(text, i));
    if ((properties & (kUpper | kTitle)) != 0) {
      if (after_cased) return Value(false);
      after_cased = cased = true;
    } else if ((properties & kLower) != 0) {
      if (!after_cased) return Value(false);
      cased = true;
    } else {
      after_cased = false;
    }
  }
  return Value(cased);
}

Result<Value> refuse(Runtime&, const Value&, const Args&) {
  return unsupported("this method of strings is not available in templates here");
}

constexpr Builtin kMethods[] = {
    {"capitalize", changed<to_capitalized>},
    {"casefold", changed<to_folded>},
    {"center", justify<Justify::kCenter>},
    {"count", count},
    {"encode", refuse},
    {"endswith", starts_with<true>},
    {"expandtabs", expand_tabs},
    {"find", find<false, false>},
    {"format", format},
    {"format_map", format_map},
    {"index", find<false, true>},
    {"isalnum", all_are<kAlnum>},
    {"isalpha", all_are<kAlpha>},
    {"isascii", is_ascii_text},
    {"isdecimal", all_are<kDecimal>},
    {"isdigit", all_are<kDigit>},
    {"isidentifier", is_identifier},
    {"islower", is_case<kLower>},
    {"isnumeric", all_are<kNumeric>},
    {"isprintable", all_are<kPrintable, true>},
    {"isspace", all_are<kSpace>},
    {"istitle", is_title},
    {"isupper", is_case<kUpper>},
    {"join", join},
    {"ljust", justify<Justify::kLeft>},
    {"lower", changed<to_lower>},
    {"lstrip", strip<Side::kLeft>},
    {"maketrans", refuse},
    {"partition", partition<false>},
    {"removeprefix", remove_affix<false>},
    {"removesuffix", remove_affix<true>},
    {"replace", replace},
    {"rfind", find<true, false>},
    {"rindex", find<true, true>},
    {"rjust", justify<Justify::kRight>},
    {"rpartition", partition<true>},
    {"rsplit", split<true>},
    {"rstrip", strip<Side::kRight>},
    {"split", split<false>},
    {"splitlines", splitlines},
    {"startswith", starts_with<false>},
    {"strip", strip<Side::kBoth>},
    {"swapcase", changed<to_swapped>},
    {"title", changed<to_title>},
    {"translate", refuse},
    {"upper", changed<to_upper>},
    {"zfill", zfill},
};

}  // namespace

bool is_upper_text(std::string_view text) {
  bool found = false;
  for (size_t i = 0; i < text.size();) {
    const uint32_t properties = char_properties(next_char(text, i));
    if ((properties & (kLower | kTitle)) != 0) return false;
    found = found || (properties & kUpper) != 0;
  }
  return found;
}

bool is_lower_text(std::string_view text) {
  bool found = false;
  for (size_t i = 0; i < text.size();) {
    const uint32_t properties = char_properties(next_char(text, i));
    if ((properties & (kUpper | kTitle)) != 0) return false;
    found = found || (properties & kLower) != 0;
  }
  return found;
}

std::span<const Builtin> string_methods() {
  return kMethods;
}

}  // namespace ruvllm::jinja
