// Values to text: Python's str(), repr(), % and str.format formatting, json.dumps, HTML escaping,
// and bounded text search. Text of Undefined is empty.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "tokenizer/jinja/runtime.h"
#include "tokenizer/jinja/value.h"

namespace ruvllm::jinja {

// What an undefined value says when it is used ("'x' is undefined").
std::string undefined_message(const Value& undefined);
// The name of a value in such a message: "str object", "None".
const char* object_name(const Value& value);

Status append_str(Runtime& runtime, std::string& out, const Value& value);
Status append_repr(Runtime& runtime, std::string& out, const Value& value);
Result<std::string> str(Runtime& runtime, const Value& value);
// repr() for messages: cut short, never fails.
std::string short_repr(Runtime& runtime, const Value& value);
// The shortest digits that read back the same, laid out as Python does: 1.0, 1e+16, inf.
void append_real(std::string& out, double value);
void append_string_repr(std::string& out, std::string_view text, bool ascii_only);

// HTML-escaped str(); Markup stays as it is.
Result<std::string> escaped(Runtime& runtime, const Value& value);
std::string escape_html(std::string_view text);

// Where `needle` first occurs in `text` at or after byte `from`, or npos. Linear in both lengths.
Result<size_t> find_text(Runtime& runtime, std::string_view text, std::string_view needle,
                         size_t from);
// Where it last occurs and ends at or before byte `end`.
Result<size_t> rfind_text(Runtime& runtime, std::string_view text, std::string_view needle,
                          size_t end);

// text % arguments, where a tuple is many arguments and a dict gives %(name)s.
Result<Value> format_percent(Runtime& runtime, const Value& text, const Value& arguments);
// text.format(*args, **kwargs); for format_map `named_dict` is the mapping and args is empty.
Result<Value> format_braces(Runtime& runtime, const Value& text, const Args& args,
                            const Value& named_dict);
// format(value, spec).
Status append_formatted(Runtime& runtime, std::string& out, const Value& value,
                        std::string_view spec);

struct JsonStyle {
  bool ensure_ascii = false;
  std::optional<std::string> indent;  // per level; nullopt: all in one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};
Status append_json(Runtime& runtime, std::string& out, const Value& value, const JsonStyle& style);

// Digits of a finite number in printf's formats e, f and g; `upper` for E, F, G.
void append_real_digits(std::string& out, double value, char format, int precision, bool alternate);

// Python's int(text, base) and float(text); nullopt when it would raise ValueError.
std::optional<BigInt> parse_integer(std::string_view text, int64_t base);
std::optional<double> parse_real(std::string_view text);

}  // namespace ruvllm::jinja
