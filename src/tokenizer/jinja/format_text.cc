// text % arguments and text.format(...) of text.h.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "tokenizer/jinja/call.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/text.h"

namespace ruvllm::jinja {
namespace {

class PercentFormatter {
 public:
  PercentFormatter(Runtime& runtime, const Value& text, const Value& arguments)
      : runtime_(runtime),
        text_(text.text()),
        markup_(text.as<StringObject>().markup),
        arguments_(arguments) {}

  Result<Value> run() {
    while (at_ < text_.size()) {
      const size_t percent = std::min(text_.find('%', at_), text_.size());
      out_ += text_.substr(at_, percent - at_);
      at_ = percent;
      if (at_ < text_.size()) {
        ++at_;
        RUVLLM_TRY(conversion());
        RUVLLM_TRY(runtime_.charge(1));
        if (!runtime_.heap.fits(out_.size())) return over_limit("the size of values");
      }
    }
    if (next_ < available() && !is_mapping()) {
      return raise("not all arguments converted during string formatting");
    }
    RUVLLM_TRY(runtime_.check_size(out_.size()));
    return markup_ ? runtime_.heap.markup(std::move(out_)) : runtime_.heap.string(std::move(out_));
  }

 private:
  struct Conversion {
    bool left = false, plus = false, space = false, alternate = false, zero = false;
    int64_t width = 0;
    int64_t precision = -1;
    char type = 0;
  };

  // Python: anything with subscripts other than str and tuple counts as a mapping here.
  bool is_mapping() const {
    return arguments_.is(Kind::kDict) || arguments_.is(Kind::kList) ||
           arguments_.is(Kind::kRange) || arguments_.is_undefined();
  }
  size_t available() const { return arguments_.is(Kind::kTuple) ? arguments_.items().size() : 1; }

  Result<Value> next_argument() {
    if (next_ >= available()) return raise("not enough arguments for format string");
    ++next_;
    return arguments_.is(Kind::kTuple) ? arguments_.items()[next_ - 1] : arguments_;
  }

  Result<int64_t> count() {
    if (at_ < text_.size() && text_[at_] == '*') {
      ++at_;
      RUVLLM_ASSIGN(const Value value, next_argument());
      return to_index(value, "* in a format");
    }
    int64_t value = 0;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
      value = value * 10 + (text_[at_++] - '0');
      if (value > (int64_t{1} << 40)) return over_limit("the width of a format");
    }
    return value;
  }

  Result<Value> named_argument() {
    // at_ is behind the opening parenthesis; names may hold balanced ones.
    const size_t begin = at_;
    int depth = 1;
    while (at_ < text_.size() && depth > 0) {
      if (text_[at_] == '(') ++depth;
      if (text_[at_] == ')') --depth;
      ++at_;
    }
    if (depth > 0) return raise("incomplete format key");
    const std::string_view name = text_.substr(begin, at_ - begin - 1);
    if (!arguments_.is(Kind::kDict)) return raise("format requires a mapping");
    const Value* found = arguments_.as<DictObject>().find(name);
    if (found == nullptr) return raise(concat("no value for the format key '", name, "'"));
    return *found;
  }

  Status conversion() {
    Conversion how;
    Value named;
    if (at_ < text_.size() && text_[at_] == '(') {
      ++at_;
      RUVLLM_ASSIGN(named, named_argument());
    }
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '-')
        how.left = true;
      else if (c == '+')
        how.plus = true;
      else if (c == ' ')
        how.space = true;
      else if (c == '#')
        how.alternate = true;
      else if (c == '0')
        how.zero = true;
      else
        break;
    }
    RUVLLM_ASSIGN(how.width, count());
    if (how.width < 0) {
      how.left = true;
      how.width = -std::max(how.width, -(int64_t{1} << 40));
    }
    if (at_ < text_.size() && text_[at_] == '.') {
      ++at_;
      RUVLLM_ASSIGN(how.precision, count());
      how.precision = std::max<int64_t>(how.precision, 0);
    }
    while (at_ < text_.size() && (text_[at_] == 'h' || text_[at_] == 'l' || text_[at_] == 'L'))
      ++at_;
    if (at_ >= text_.size()) return raise("incomplete format");
    how.type = text_[at_++];
    if (how.type == '%') {
      out_ += '%';
      return {};
    }
    Value value = named;
    if (value.is_missing()) {
      RUVLLM_ASSIGN(value, next_argument());
    }
    return convert(how, value);
  }

  Status convert(const Conversion& how, const Value& value) {
    switch (how.type) {
      case 's':
      case 'r':
      case 'a':
        return convert_text(how, value);
      case 'c':
        return convert_char(how, value);
      case 'd':
      case 'i':
      case 'u':
      case 'o':
      case 'x':
      case 'X':
        return convert_integer(how, value);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        return convert_real(how, value);
      default:
        return raise(concat("unsupported format character '", printable({&how.type, 1}), "'"));
    }
  }

  Status convert_text(const Conversion& how, const Value& value) {
    std::string text;
    if (how.type == 's') {
      if (markup_) {
        RUVLLM_ASSIGN(text, escaped(runtime_, value));
      } else {
        RUVLLM_TRY(append_str(runtime_, text, value));
      }
    } else if (how.type == 'a' && value.is_string()) {
      append_string_repr(text, value.text(), true);
    } else {
      RUVLLM_TRY(append_repr(runtime_, text, value));
    }
    if (markup_ && how.type != 's') text = escape_html(text);
    if (how.precision >= 0) {
      size_t end = 0;
      for (int64_t i = 0; i < how.precision && end < text.size(); ++i) next_char(text, end);
      text.resize(end);
    }
    return pad(how, "", text, false);
  }

  Status convert_char(const Conversion& how, const Value& value) {
    std::string text;
    if (value.is_small_integer()) {
      if (value.integer() < 0 || value.integer() > 0x10ffff) return raise("%c arg not in range");
      append_char(text, static_cast<char32_t>(value.integer()));
    } else if (value.is_string() && value.as<StringObject>().num_chars == 1) {
      text = value.text();
    } else {
      return raise("%c requires int or char");
    }
    return pad(how, "", text, false);
  }

  Status convert_integer(const Conversion& how, const Value& value) {
    const bool decimal = how.type == 'd' || how.type == 'i' || how.type == 'u';
    BigInt number;
    if (value.is_integer()) {
      number = to_big_int(value);
    } else if (value.is(Kind::kFloat) && decimal) {
      if (!std::isfinite(value.real()))
        return raise("cannot convert float infinity or NaN to integer");
      number = BigInt::from_double(value.real());
    } else if (value.is_undefined()) {
      return raise(undefined_message(value));
    } else {
      return raise(concat("%", how.type, " format: a number is required, not ", type_name(value)));
    }
    RUVLLM_TRY(runtime_.charge(number.num_bits() / 64));
    const unsigned base = decimal ? 10 : how.type == 'o' ? 8 : 16;
    std::string digits = (number.is_negative() ? number.negated() : number).to_string(base);
    if (how.type == 'X') digits = to_upper(digits);
    if (how.precision > static_cast<int64_t>(digits.size())) {
      RUVLLM_TRY(runtime_.check_size(out_.size() + static_cast<uint64_t>(how.precision)));
      digits.insert(0, static_cast<size_t>(how.precision) - digits.size(), '0');
    }
    std::string sign = sign_of(how, number.is_negative());
    if (how.alternate && !decimal) sign += {'0', how.type};
    return pad(how, sign, digits, how.zero);
  }

  Status convert_real(const Conversion& how, const Value& value) {
    if (!value.is_number()) {
      if (value.is_undefined()) return raise(undefined_message(value));
      return raise(concat("must be real number, not ", type_name(value)));
    }
    const double real = to_real(value);
    if (value.is_integer() && std::isinf(real)) return raise("int too large to convert to float");
    if (how.precision > 2000) return over_limit("the precision of a format");
    std::string digits;
    if (std::isfinite(real)) {
      append_real_digits(digits, std::fabs(real), how.type,
                         how.precision < 0 ? 6 : static_cast<int>(how.precision), how.alternate);
    } else {
      digits = std::isnan(real) ? "nan" : "inf";
      if (how.type < 'a') digits = to_upper(digits);
    }
    const bool negative = std::signbit(real) && !std::isnan(real);
    return pad(how, sign_of(how, negative), digits, how.zero);
  }

  static std::string sign_of(const Conversion& how, bool negative) {
    return negative ? "-" : how.plus ? "+" : how.space ? " " : "";
  }

  Status pad(const Conversion& how, const std::string& sign, const std::string& body, bool zeros) {
    const auto length = static_cast<int64_t>(sign.size() + count_chars(body));
    const int64_t padding = std::max<int64_t>(how.width - length, 0);
    RUVLLM_TRY(runtime_.check_size(out_.size() + static_cast<uint64_t>(padding) + body.size()));
    const auto count = static_cast<size_t>(padding);
    if (!how.left && !zeros) out_.append(count, ' ');
    out_ += sign;
    if (!how.left && zeros) out_.append(count, '0');
    out_ += body;
    if (how.left) out_.append(count, ' ');
    return {};
  }

  Runtime& runtime_;
  const std::string_view text_;
  const bool markup_;
  const Value& arguments_;
  std::string out_;
  size_t at_ = 0;
  size_t next_ = 0;
};

class BraceFormatter {
 public:
  BraceFormatter(Runtime& runtime, const Args& args, const Value& named_dict, bool markup)
      : runtime_(runtime), args_(args), named_dict_(named_dict), markup_(markup) {}

  // Specs may hold fields themselves, whose specs may not.
  Status run(std::string& out, std::string_view text, int depth) {
    for (size_t i = 0; i < text.size();) {
      const char c = text[i];
      if (c == '{' || c == '}') {
        if (i + 1 < text.size() && text[i + 1] == c) {
          out += c;
          i += 2;
          continue;
        }
        if (c == '}') return raise("Single '}' encountered in format string");
        RUVLLM_TRY(field(out, text, i, depth));
        RUVLLM_TRY(runtime_.charge(1));
        if (!runtime_.heap.fits(out.size())) return over_limit("the size of values");
        continue;
      }
      out += c;
      ++i;
    }
    return {};
  }

 private:
  // text[i] is the opening brace; i moves behind the closing one.
  Status field(std::string& out, std::string_view text, size_t& i, int depth) {
    if (depth > 1) return raise("Max string recursion exceeded");
    const size_t begin = ++i;
    int nesting = 1;
    size_t colon = std::string_view::npos;
    size_t bang = std::string_view::npos;
    bool in_brackets = false;
    for (; i < text.size(); ++i) {
      const char c = text[i];
      const bool in_name = colon == std::string_view::npos && bang == std::string_view::npos;
      if (in_name && c == '[') in_brackets = true;
      if (in_brackets) {
        if (c == ']') in_brackets = false;
        continue;
      }
      if (c == '{') {
        if (in_name) return raise("unexpected '{' in field name");
        ++nesting;
      }
      if (c == '}' && --nesting == 0) break;
      if (nesting == 1 && colon == std::string_view::npos) {
        if (c == ':') colon = i;
        if (c == '!' && bang == std::string_view::npos) bang = i;
      }
    }
    if (i >= text.size()) return raise("expected '}' before end of string");
    const size_t end = i++;
    const size_t spec_end = end;
    const size_t conversion_end = colon == std::string_view::npos ? end : colon;
    const size_t name_end = std::min(bang, conversion_end);
    char conversion = 0;
    if (bang != std::string_view::npos) {
      if (conversion_end - bang != 2) return raise("expected ':' after conversion specifier");
      conversion = text[bang + 1];
    }
    RUVLLM_ASSIGN(Value value, lookup(text.substr(begin, name_end - begin)));
    std::string spec;
    if (colon != std::string_view::npos) {
      RUVLLM_TRY(run(spec, text.substr(colon + 1, spec_end - colon - 1), depth + 1));
    }
    RUVLLM_TRY(convert(value, conversion));
    if (!markup_) return append_formatted(runtime_, out, value, spec);
    std::string piece;
    RUVLLM_TRY(append_formatted(runtime_, piece, value, spec));
    const bool safe = value.is_string() && value.as<StringObject>().markup;
    out += safe ? piece : escape_html(piece);
    return {};
  }

  Status convert(Value& value, char conversion) {
    if (conversion == 0) return {};
    std::string text;
    if (conversion == 's') {
      RUVLLM_TRY(append_str(runtime_, text, value));
    } else if (conversion == 'a' && value.is_string()) {
      append_string_repr(text, value.text(), true);
    } else if (conversion == 'r' || conversion == 'a') {
      RUVLLM_TRY(append_repr(runtime_, text, value));
    } else {
      return raise(concat("Unknown conversion specifier ", printable({&conversion, 1})));
    }
    value = runtime_.heap.string(std::move(text));
    return {};
  }

  Result<Value> lookup(std::string_view name) {
    const size_t first_end = std::min(name.find_first_of(".["), name.size());
    RUVLLM_ASSIGN(Value value, first_value(name.substr(0, first_end)));
    for (size_t i = first_end; i < name.size();) {
      if (name[i] == '.') {
        const size_t end = std::min(name.find_first_of(".[", i + 1), name.size());
        if (end == i + 1) return raise("Empty attribute in format string");
        const Value key = runtime_.heap.string(name.substr(i + 1, end - i - 1));
        RUVLLM_ASSIGN(value, get_attribute(runtime_, value, key));
        i = end;
      } else if (name[i] == '[') {
        const size_t end = name.find(']', i);
        if (end == std::string_view::npos || end == i + 1) return raise("bad [ in format string");
        const std::string_view text = name.substr(i + 1, end - i - 1);
        int64_t index = 0;
        const bool number = text[0] >= '0' && text[0] <= '9' && parse_number(text, index);
        const Value key = number ? Value(index) : runtime_.heap.string(text);
        RUVLLM_ASSIGN(value, get_item(runtime_, value, key));
        i = end + 1;
      } else {
        return raise("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

  Result<Value> first_value(std::string_view name) {
    uint64_t index = 0;
    const bool numbered = !name.empty() && name.find_first_not_of("0123456789") == name.npos;
    if (name.empty() || numbered) {
      const Numbering mode = name.empty() ? Numbering::kAutomatic : Numbering::kManual;
      if (numbering_ != Numbering::kNone && numbering_ != mode) {
        return raise("cannot mix manual and automatic field numbering");
      }
      numbering_ = mode;
      if (name.empty()) {
        index = next_++;
      } else if (!parse_number(name, index)) {
        return raise("field number out of range");
      }
      if (index >= args_.positional.size()) {
        return raise("Replacement index out of range for positional args tuple");
      }
      return args_.positional[index];
    }
    if (named_dict_.is(Kind::kDict)) {
      if (const Value* found = named_dict_.as<DictObject>().find(name)) return *found;
    }
    for (const auto& [key, value] : args_.named) {
      if (key.text() == name) return value;
    }
    return raise(concat("no argument named '", name, "'"));
  }

  enum class Numbering : uint8_t { kNone, kAutomatic, kManual };
  Runtime& runtime_;
  const Args& args_;
  const Value& named_dict_;
  const bool markup_;
  Numbering numbering_ = Numbering::kNone;
  size_t next_ = 0;
};

}  // namespace

Result<Value> format_percent(Runtime& runtime, const Value& text, const Value& arguments) {
  return PercentFormatter(runtime, text, arguments).run();
}

Result<Value> format_braces(Runtime& runtime, const Value& text, const Args& args,
                            const Value& named_dict) {
  const bool markup = text.as<StringObject>().markup;
  std::string out;
  RUVLLM_TRY(runtime.charge_walk(text.text()));
  RUVLLM_TRY(BraceFormatter(runtime, args, named_dict, markup).run(out, text.text(), 0));
  RUVLLM_TRY(runtime.check_size(out.size()));
  return markup ? runtime.heap.markup(std::move(out)) : runtime.heap.string(std::move(out));
}

}  // namespace ruvllm::jinja
