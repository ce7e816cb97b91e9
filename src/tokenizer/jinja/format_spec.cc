// The format mini-language (format(value, spec)) and digits of reals, of text.h.
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/text.h"

namespace ruvllm::jinja {
namespace {

// What a real may be asked to print after its point. Doubles have at most 1,074 digits there.
constexpr int64_t kMaxPrecision = 2000;

struct Spec {
  char32_t fill = ' ';
  char align = 0;  // < > ^ =
  char sign = '-';
  bool alternate = false;
  bool zero_padded = false;
  int64_t width = 0;
  char grouping = 0;
  int64_t precision = -1;
  char type = 0;
};

Result<int64_t> parse_count(std::string_view spec, size_t& at) {
  int64_t value = 0;
  while (at < spec.size() && spec[at] >= '0' && spec[at] <= '9') {
    value = value * 10 + (spec[at++] - '0');
    if (value > (int64_t{1} << 40)) return over_limit("the width of a format");
  }
  return value;
}

bool is_align(char c) {
  return c == '<' || c == '>' || c == '^' || c == '=';
}

Result<Spec> parse_spec(std::string_view text) {
  Spec spec;
  size_t at = 0;
  if (!text.empty()) {
    size_t after_fill = 0;
    const char32_t fill = next_char(text, after_fill);
    if (after_fill < text.size() && is_align(text[after_fill])) {
      spec.fill = fill;
      spec.align = text[after_fill];
      at = after_fill + 1;
    } else if (is_align(text[0])) {
      spec.align = text[0];
      at = 1;
    }
  }
  const auto take = [&](char c) {
    if (at < text.size() && text[at] == c) {
      ++at;
      return true;
    }
    return false;
  };
  if (at < text.size() && (text[at] == '+' || text[at] == '-' || text[at] == ' ')) {
    spec.sign = text[at++];
  }
  if (take('z')) return unsupported("the z option of a format");
  spec.alternate = take('#');
  if (take('0')) {
    spec.zero_padded = true;
    if (spec.align == 0) spec.fill = '0';
  }
  RUVLLM_ASSIGN(spec.width, parse_count(text, at));
  if (take(',')) {
    spec.grouping = ',';
  } else if (take('_')) {
    spec.grouping = '_';
  }
  if (take('.')) {
    const size_t begin = at;
    RUVLLM_ASSIGN(spec.precision, parse_count(text, at));
    if (at == begin) return raise("format specifier missing precision");
  }
  if (at < text.size()) spec.type = text[at++];
  if (at != text.size()) return raise("invalid format specifier");
  return spec;
}

Status append_padded(Runtime& runtime, std::string& out, const Spec& spec, std::string_view sign,
                     std::string_view body, char default_align) {
  const auto length = static_cast<int64_t>(count_chars(sign) + count_chars(body));
  const int64_t padding = spec.width > length ? spec.width - length : 0;
  std::string fill;
  append_char(fill, spec.fill);
  RUVLLM_TRY(
      runtime.check_size(out.size() + body.size() + static_cast<uint64_t>(padding) * fill.size()));
  const auto pad = [&](int64_t count) {
    for (int64_t i = 0; i < count; ++i) out += fill;
  };
  const char align = spec.align != 0 ? spec.align : default_align;
  if (align == '>') pad(padding);
  if (align == '^') pad(padding / 2);
  out += sign;
  if (align == '=') pad(padding);
  out += body;
  if (align == '<') pad(padding);
  if (align == '^') pad(padding - padding / 2);
  return {};
}

// Puts separators into the leading digits of `body`; with zero padding the zeros are grouped too.
std::string group_digits(const std::string& body, const Spec& spec, size_t sign_length, int every) {
  size_t count = 0;
  while (count < body.size() && std::isalnum(static_cast<unsigned char>(body[count])) != 0 &&
         (every == 4 || (body[count] >= '0' && body[count] <= '9'))) {
    ++count;
  }
  std::string digits = body.substr(0, count);
  const std::string rest = body.substr(count);
  const auto group = static_cast<size_t>(every);
  const auto grouped_length = [&](size_t n) { return n + (n == 0 ? 0 : (n - 1) / group); };
  const bool pad = (spec.fill == '0' && (spec.align == '=' || spec.align == 0) && spec.zero_padded);
  if (pad) {
    while (static_cast<int64_t>(grouped_length(digits.size()) + rest.size() + sign_length) <
           spec.width) {
      digits.insert(digits.begin(), '0');
      // A separator never comes first: one digit more than asked is how Python ends here too.
    }
  }
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % group == 0) out += spec.grouping;
    out += digits[i];
  }
  return out + rest;
}

Status append_number(Runtime& runtime, std::string& out, const Spec& spec, bool negative,
                     std::string_view prefix, std::string body, int group_every) {
  std::string sign = negative ? "-" : spec.sign == '+' ? "+" : spec.sign == ' ' ? " " : "";
  sign += prefix;
  if (spec.width > (int64_t{1} << 20)) {
    RUVLLM_TRY(runtime.check_size(static_cast<uint64_t>(spec.width)));
  }
  if (spec.grouping != 0) {
    RUVLLM_TRY(runtime.charge(static_cast<uint64_t>(spec.width)));
    if (spec.width > 4096 && spec.zero_padded) return over_limit("the width of a format");
    body = group_digits(body, spec, sign.size(), group_every);
  }
  const char align = spec.zero_padded && spec.align == 0 ? '=' : '>';
  return append_padded(runtime, out, spec, sign, body, align);
}

Status format_string(Runtime& runtime, std::string& out, const Value& value, const Spec& spec) {
  if (spec.type != 0 && spec.type != 's') {
    return raise(concat("Unknown format code '", spec.type, "' for object of type 'str'"));
  }
  if (spec.sign != '-' || spec.alternate || spec.grouping != 0 || spec.align == '=') {
    return raise("this format option is not allowed in a string format specifier");
  }
  std::string_view text = value.text();
  if (spec.precision >= 0) {
    size_t end = 0;
    for (int64_t i = 0; i < spec.precision && end < text.size(); ++i) next_char(text, end);
    text = text.substr(0, end);
  }
  return append_padded(runtime, out, spec, "", text, '<');
}

Status format_real(Runtime& runtime, std::string& out, double value, const Spec& spec) {
  if (spec.precision > kMaxPrecision) return over_limit("the precision of a format");
  const auto precision = static_cast<int>(spec.precision);
  std::string body;
  const double magnitude = std::fabs(value);
  const char type = spec.type == 'n' ? 'g' : spec.type;
  const bool upper = type == 'E' || type == 'F' || type == 'G';
  if (!std::isfinite(value)) {
    body = std::isnan(value) ? "nan" : "inf";
    if (upper) body = to_upper(body);
    if (type == '%') body += '%';
  } else if (type == 0 && precision < 0) {
    append_real(body, magnitude);
  } else if (type == 0) {
    append_real_digits(body, magnitude, 'r', precision, spec.alternate);
  } else if (type == '%') {
    append_real_digits(body, magnitude * 100, 'f', precision < 0 ? 6 : precision, spec.alternate);
    body += '%';
  } else if (std::string_view("eEfFgG").find(type) != std::string_view::npos) {
    append_real_digits(body, magnitude, type, precision < 0 ? 6 : precision, spec.alternate);
  } else {
    return raise(concat("Unknown format code '", type, "' for object of type 'float'"));
  }
  return append_number(runtime, out, spec, std::signbit(value) && !std::isnan(value), "",
                       std::move(body), 3);
}

Status format_integer(Runtime& runtime, std::string& out, const Value& value, const Spec& spec) {
  const char type = spec.type == 0 || spec.type == 'n' ? 'd' : spec.type;
  if (std::string_view("eEfFgG%").find(type) != std::string_view::npos) {
    const double real = to_real(value);
    if (std::isinf(real)) return raise("int too large to convert to float");
    return format_real(runtime, out, real, spec);
  }
  if (spec.precision >= 0) return raise("Precision not allowed in integer format specifier");
  const BigInt number = to_big_int(value);
  RUVLLM_TRY(runtime.charge(number.num_bits() / 64));
  if (type == 'c') {
    const auto code = number.to_int64();
    if (!code || *code < 0 || *code > 0x10ffff) return raise("%c arg not in range(0x110000)");
    std::string body;
    append_char(body, static_cast<char32_t>(*code));
    return append_padded(runtime, out, spec, "", body, '<');
  }
  unsigned base = 10;
  std::string prefix;
  if (type == 'b') base = 2;
  if (type == 'o') base = 8;
  if (type == 'x' || type == 'X') base = 16;
  if (base == 10 && type != 'd') {
    return raise(concat("Unknown format code '", type, "' for object of type 'int'"));
  }
  if (spec.grouping == ',' && base != 10) return raise("Cannot specify ',' with this type");
  if (spec.alternate && base != 10) prefix = {'0', type};
  std::string digits = (number.is_negative() ? number.negated() : number).to_string(base);
  if (type == 'X') digits = to_upper(digits);
  return append_number(runtime, out, spec, number.is_negative(), prefix, std::move(digits),
                       base == 10 ? 3 : 4);
}

}  // namespace

void append_real_digits(std::string& out, double value, char format, int precision,
                        bool alternate) {
  char buffer[2600];  // 309 digits before the point, kMaxPrecision after it
  const bool upper = format == 'E' || format == 'F' || format == 'G';
  const char kind = static_cast<char>(format | 0x20);
  const auto print = [&](std::chars_format how, int digits) {
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, how, digits).ptr;
    return std::string(buffer, end);
  };
  std::string text;
  if (kind == 'f') {
    text = print(std::chars_format::fixed, precision);
    if (alternate && precision == 0) text += '.';
  } else if (kind == 'e') {
    text = print(std::chars_format::scientific, precision);
    if (alternate && precision == 0) text.insert(text.find('e'), ".");
  } else {
    // g, and r: as g, but with at least one digit after the point.
    const bool dot_zero = kind == 'r';
    const int digits = precision == 0 ? 1 : precision;
    text = print(std::chars_format::scientific, digits - 1);
    const size_t e = text.find('e');
    int exponent = 0;
    const char* exponent_begin = text.data() + e + (text[e + 1] == '+' ? 2 : 1);
    std::from_chars(exponent_begin, text.data() + text.size(), exponent);
    const bool use_exponent = exponent < -4 || exponent + 1 > digits - (dot_zero ? 1 : 0);
    std::string tail;
    if (use_exponent) {
      tail = text.substr(e);
      text.resize(e);
    } else {
      text = print(std::chars_format::fixed, digits - 1 - exponent);
    }
    if (!alternate && text.find('.') != std::string::npos) {
      text.resize(text.find_last_not_of('0') + 1);
      if (text.back() == '.') text.pop_back();
    }
    if (alternate && text.find('.') == std::string::npos) text += '.';
    if (dot_zero && !use_exponent && text.find('.') == std::string::npos) text += ".0";
    text += tail;
  }
  out += upper ? to_upper(text) : text;
}

Status append_formatted(Runtime& runtime, std::string& out, const Value& value,
                        std::string_view spec_text) {
  if (spec_text.empty()) return append_str(runtime, out, value);
  if (!value.is_string() && !value.is_number()) {
    return raise(concat("unsupported format string passed to ", type_name(value), ".__format__"));
  }
  RUVLLM_ASSIGN(const Spec spec, parse_spec(spec_text));
  if (value.is_string()) return format_string(runtime, out, value, spec);
  if (value.is(Kind::kFloat)) return format_real(runtime, out, value.real(), spec);
  return format_integer(runtime, out, value, spec);
}

}  // namespace ruvllm::jinja
