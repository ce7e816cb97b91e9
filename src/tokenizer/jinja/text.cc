#include "tokenizer/jinja/text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "tokenizer/jinja/call.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/unicode.h"

namespace ruvllm::jinja {
namespace {

// Python refuses to print integers of more decimal digits than this.
constexpr size_t kMaxIntegerDigits = 4300;

void append_hex_escape(std::string& out, char32_t c) {
  constexpr char kHex[] = "0123456789abcdef";
  const int digits = c < 0x100 ? 2 : c < 0x10000 ? 4 : 8;
  out += digits == 2 ? "\\x" : digits == 4 ? "\\u" : "\\U";
  for (int i = digits - 1; i >= 0; --i) out += kHex[c >> (4 * i) & 15];
}

Status append_items(Runtime& runtime, std::string& out, const std::vector<Value>& items) {
  bool first = true;
  for (const Value& item : items) {
    if (!first) out += ", ";
    first = false;
    RUVLLM_TRY(append_repr(runtime, out, item));
    RUVLLM_TRY(runtime.charge(1));
    RUVLLM_TRY(runtime.check_size(out.size() / 8));
    if (!runtime.heap.fits(out.size())) return over_limit("the size of values");
  }
  return {};
}

Status append_dict(Runtime& runtime, std::string& out, const std::vector<DictObject::Item>& items) {
  out += '{';
  bool first = true;
  for (const auto& [key, value] : items) {
    if (!first) out += ", ";
    first = false;
    RUVLLM_TRY(append_repr(runtime, out, key));
    out += ": ";
    RUVLLM_TRY(append_repr(runtime, out, value));
    RUVLLM_TRY(runtime.charge(1));
    if (!runtime.heap.fits(out.size())) return over_limit("the size of values");
  }
  out += '}';
  return {};
}

Status append_view(Runtime& runtime, std::string& out, const Value& value) {
  Value view = value;
  RUVLLM_ASSIGN(const std::vector<Value> items, to_vector(runtime, view));
  out += type_name(value);
  out += "([";
  RUVLLM_TRY(append_items(runtime, out, items));
  out += "])";
  return {};
}

}  // namespace

std::string undefined_message(const Value& undefined) {
  const auto& why = undefined.as<UndefinedObject>();
  switch (why.form) {
    case UndefinedObject::Form::kName:
      return concat("'", why.name.text(), "' is undefined");
    case UndefinedObject::Form::kHint:
      return why.name.text();
    case UndefinedObject::Form::kAttribute:
      return concat("'", why.owner_type, "' has no attribute '",
                    std::string_view(why.name.text()).substr(0, 200), "'");
    case UndefinedObject::Form::kElement:
      break;
  }
  std::string key = "of that key";
  if (why.name.is(Kind::kInt)) key = concat(why.name.integer());
  if (why.name.is(Kind::kBigInt)) key = why.name.as<BigIntObject>().value.to_string();
  return concat(why.owner_type, " has no element ", key);
}

const char* object_name(const Value& value) {
  switch (value.kind()) {
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return "bool object";
    case Kind::kInt:
    case Kind::kBigInt:
      return "int object";
    case Kind::kFloat:
      return "float object";
    case Kind::kString:
      return "str object";
    case Kind::kList:
      return "list object";
    case Kind::kTuple:
      return "tuple object";
    case Kind::kDict:
      return "dict object";
    case Kind::kRange:
      return "range object";
    case Kind::kIterator:
      return "generator object";
    case Kind::kNamespace:
      return "Namespace object";
    case Kind::kMacro:
      return "Macro object";
    case Kind::kLoop:
      return "LoopContext object";
    case Kind::kFunction:
      return "function object";
    default:
      return "object";
  }
}

void append_real(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "nan";
    return;
  }
  if (std::signbit(value)) out += '-';
  if (std::isinf(value)) {
    out += "inf";
    return;
  }
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, std::fabs(value), std::chars_format::scientific)
          .ptr;
  const std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const size_t e = text.find('e');
  std::string digits(text.substr(0, 1));
  if (e > 2) digits += text.substr(2, e - 2);
  int exponent = 0;
  const char* exponent_begin = buffer + e + (text[e + 1] == '+' ? 2 : 1);
  std::from_chars(exponent_begin, end, exponent);
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (count > 1) {
      out += '.';
      out += std::string_view(digits).substr(1);
    }
    out += exponent < 0 ? "e-" : "e+";
    if (std::abs(exponent) < 10) out += '0';
    str_detail::append(out, std::abs(exponent));
  } else if (exponent < 0) {
    out += "0.";
    out.append(static_cast<size_t>(-exponent - 1), '0');
    out += digits;
  } else {
    for (int i = 0; i <= exponent; ++i) out += i < count ? digits[static_cast<size_t>(i)] : '0';
    out += '.';
    out += count > exponent + 1 ? digits.substr(static_cast<size_t>(exponent) + 1) : "0";
  }
}

void append_string_repr(std::string& out, std::string_view text, bool ascii_only) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const bool has_double = text.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  out += quote;
  for (size_t i = 0; i < text.size();) {
    const char32_t c = next_char(text, i);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c < 0x20 || c == 0x7f || (c >= 0x80 && (ascii_only || !char_is(c, kPrintable)))) {
      append_hex_escape(out, c);
    } else {
      append_char(out, c);
    }
  }
  out += quote;
}

Status append_str(Runtime& runtime, std::string& out, const Value& value) {
  if (value.is_string()) {
    out += value.text();
    return {};
  }
  if (value.is_undefined()) return {};
  return append_repr(runtime, out, value);
}

Status append_repr(Runtime& runtime, std::string& out, const Value& value) {
  const ValueDepth depth(runtime);
  RUVLLM_TRY(depth.check());
  switch (value.kind()) {
    case Kind::kNone:
      out += "None";
      return {};
    case Kind::kBool:
      out += value.boolean() ? "True" : "False";
      return {};
    case Kind::kInt:
      str_detail::append(out, value.integer());
      return {};
    case Kind::kFloat:
      append_real(out, value.real());
      return {};
    case Kind::kUndefined:
      out += "Undefined";
      return {};
    case Kind::kBigInt: {
      RUVLLM_TRY(runtime.charge(100));
      const std::string digits = value.as<BigIntObject>().value.to_string();
      if (digits.size() > kMaxIntegerDigits) return over_limit("the digits of a printed integer");
      out += digits;
      return {};
    }
    case Kind::kString: {
      RUVLLM_TRY(runtime.check_size(value.text().size() * 2));
      RUVLLM_TRY(runtime.charge_walk(value.text()));
      const bool markup = value.as<StringObject>().markup;
      if (markup) out += "Markup(";
      append_string_repr(out, value.text(), false);
      if (markup) out += ')';
      return {};
    }
    case Kind::kList:
      out += '[';
      RUVLLM_TRY(append_items(runtime, out, value.items()));
      out += ']';
      return {};
    case Kind::kTuple:
      out += '(';
      RUVLLM_TRY(append_items(runtime, out, value.items()));
      out += value.items().size() == 1 ? ",)" : ")";
      return {};
    case Kind::kDict:
      return append_dict(runtime, out, value.as<DictObject>().items);
    case Kind::kDictView:
      return append_view(runtime, out, value);
    case Kind::kRange: {
      const auto& range = value.as<RangeObject>();
      out += concat("range(", range.start, ", ", range.stop);
      out += range.step == 1 ? std::string(")") : concat(", ", range.step, ")");
      return {};
    }
    case Kind::kNamespace:
      out += "<Namespace ";
      RUVLLM_TRY(append_dict(runtime, out, value.as<NamespaceObject>().items));
      out += '>';
      return {};
    default:
      out += describe_callable(value);
      return {};
  }
}

Result<std::string> str(Runtime& runtime, const Value& value) {
  std::string out;
  RUVLLM_TRY(append_str(runtime, out, value));
  RUVLLM_TRY(runtime.check_size(out.size()));
  return out;
}

std::string short_repr(Runtime& runtime, const Value& value) {
  if (value.is_string()) {
    std::string out;
    append_string_repr(out, std::string_view(value.text()).substr(0, 60), true);
    return out;
  }
  std::string out;
  if (!append_repr(runtime, out, value)) return type_name(value);
  return printable(out, 60);
}

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

Result<std::string> escaped(Runtime& runtime, const Value& value) {
  RUVLLM_ASSIGN(std::string text, str(runtime, value));
  if (value.is_string() && value.as<StringObject>().markup) return text;
  RUVLLM_TRY(runtime.charge_walk(text));
  RUVLLM_TRY(runtime.check_size(text.size() * 5));
  return escape_html(text);
}

namespace {

// Knuth, Morris and Pratt: border[i] is the length of the longest proper prefix of the needle that
// also ends at its character i. Never looks at a character of the text twice.
size_t search_long(std::string_view text, std::string_view needle, size_t from) {
  std::vector<uint32_t> border(needle.size(), 0);
  for (size_t i = 1, k = 0; i < needle.size(); ++i) {
    while (k > 0 && needle[i] != needle[k]) k = border[k - 1];
    if (needle[i] == needle[k]) ++k;
    border[i] = static_cast<uint32_t>(k);
  }
  size_t matched = 0;
  for (size_t i = from; i < text.size(); ++i) {
    if (matched == 0) {
      i = text.find(needle[0], i);
      if (i == std::string_view::npos) return i;
    }
    while (matched > 0 && text[i] != needle[matched]) matched = border[matched - 1];
    if (text[i] == needle[matched]) ++matched;
    if (matched == needle.size()) return i + 1 - matched;
  }
  return std::string_view::npos;
}

}  // namespace

Result<size_t> find_text(Runtime& runtime, std::string_view text, std::string_view needle,
                         size_t from) {
  constexpr size_t kShort = 4;            // the plain search costs at most this much more
  constexpr size_t kMaxNeedle = 1 << 20;  // bounds the table of the other one
  if (from > text.size() || needle.size() > text.size() - from) return std::string_view::npos;
  size_t at = std::string_view::npos;
  if (needle.size() == text.size() - from) {
    if (text.substr(from) == needle) at = from;
  } else if (needle.size() <= kShort) {
    at = text.find(needle, from);
  } else if (needle.size() > kMaxNeedle) {
    return over_limit("the size of a text searched for");
  } else {
    RUVLLM_TRY(runtime.charge_bytes(needle.size()));
    at = search_long(text, needle, from);
  }
  // Pays for what was walked over, so that finding many matches one by one stays linear.
  RUVLLM_TRY(runtime.charge_bytes((std::min(at, text.size()) - from) / 4));
  return at;
}

Result<size_t> rfind_text(Runtime& runtime, std::string_view text, std::string_view needle,
                          size_t end) {
  // The last match is the first one of both reversed.
  const std::string_view head = text.substr(0, end);
  if (needle.size() > head.size()) return std::string_view::npos;
  RUVLLM_TRY(runtime.check_size(head.size()));
  RUVLLM_TRY(runtime.charge_bytes(head.size()));
  const std::string reversed(head.rbegin(), head.rend());
  const std::string wanted(needle.rbegin(), needle.rend());
  RUVLLM_ASSIGN(const size_t at, find_text(runtime, reversed, wanted, 0));
  return at == std::string_view::npos ? at : head.size() - at - needle.size();
}

std::optional<BigInt> parse_integer(std::string_view text, int64_t base) {
  text = strip_left(strip_right(text));
  bool negative = false;
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  const auto has_prefix = [&text](char letter) {
    return text.size() > 1 && text[0] == '0' && (text[1] | 0x20) == letter;
  };
  const int64_t prefix_base = has_prefix('x') ? 16 : has_prefix('o') ? 8 : has_prefix('b') ? 2 : 0;
  if (prefix_base != 0 && (base == 0 || base == prefix_base)) {
    text.remove_prefix(2);
    if (!text.empty() && text[0] == '_') text.remove_prefix(1);
    base = prefix_base;
  } else if (base == 0) {
    // Without a prefix a leading zero may only be followed by zeros.
    if (text.size() > 1 && text[0] == '0' && text.find_first_not_of("0_") != text.npos) {
      return std::nullopt;
    }
    base = 10;
  }
  if (base < 2 || base > 36) return std::nullopt;
  std::string digits;
  bool after_digit = false;
  for (size_t i = 0; i < text.size();) {
    const char32_t c = next_char(text, i);
    if (c == '_') {
      if (!after_digit) return std::nullopt;
      after_digit = false;
      continue;
    }
    after_digit = true;
    if (c < 0x80) {
      digits += static_cast<char>(c);
      continue;
    }
    // Other scripts' decimal digits come in runs of ten that begin with their zero.
    if (!char_is(c, kDecimal)) return std::nullopt;
    char32_t zero = c;
    if (c >= 0x1d7ce && c <= 0x1d7ff) {  // the one place where five such runs touch
      zero = c - (c - 0x1d7ce) % 10;
    } else {
      while (c - zero < 9 && char_is(zero - 1, kDecimal)) --zero;
    }
    digits += static_cast<char>('0' + (c - zero));
  }
  if (!after_digit || digits.size() > kMaxIntegerDigits) return std::nullopt;
  auto value = BigInt::parse(digits, static_cast<unsigned>(base));
  if (value && negative) value = value->negated();
  return value;
}

std::optional<double> parse_real(std::string_view text) {
  text = strip_left(strip_right(text));
  bool negative = false;
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  const std::string word = to_lower(text.substr(0, 16));
  double value = 0;
  if (word == "inf" || word == "infinity") {
    value = std::numeric_limits<double>::infinity();
  } else if (word == "nan") {
    value = std::numeric_limits<double>::quiet_NaN();
  } else {
    // digits, point, digits, exponent; underscores only between digits.
    std::string plain;
    bool after_digit = false;
    for (size_t i = 0; i < text.size(); ++i) {
      const char c = text[i];
      const bool digit = c >= '0' && c <= '9';
      if (c == '_') {
        const bool digit_next = i + 1 < text.size() && text[i + 1] >= '0' && text[i + 1] <= '9';
        if (!after_digit || !digit_next) return std::nullopt;
        after_digit = false;
        continue;
      }
      if (!digit && c != '.' && c != 'e' && c != 'E' && c != '+' && c != '-') return std::nullopt;
      after_digit = digit;
      plain += c;
    }
    if (plain.empty() || plain[0] == '+' || plain[0] == '-' || plain[0] == 'e' || plain[0] == 'E') {
      return std::nullopt;
    }
    char* end = nullptr;
    value = std::strtod(plain.c_str(), &end);
    if (end != plain.c_str() + plain.size()) return std::nullopt;
  }
  return negative ? -value : value;
}

}  // namespace ruvllm::jinja
