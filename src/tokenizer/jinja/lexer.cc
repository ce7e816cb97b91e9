#include "tokenizer/jinja/lexer.h"

#include <algorithm>

#include "base/str.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/jinja/unicode.h"

namespace ruvllm::jinja {
namespace {

constexpr size_t kMaxSourceBytes = size_t{16} << 20;

// Line ends as "\n", and without the last one.
std::string normalize_source(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      if (i + 1 < source.size() && source[i + 1] == '\n') continue;
      out += '\n';
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') return (c | 0x20) - 'a' + 10;
  return -1;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_source(source)), text_(source_) {}

  Result<std::vector<Token>> run() {
    while (at_ < text_.size()) {
      RUVLLM_TRY(root());
    }
    add(TokenKind::kEnd);
    return std::move(tokens_);
  }

 private:
  bool starts(std::string_view what) const { return text_.substr(at_).starts_with(what); }

  Token& add(TokenKind kind, std::string text = {}) {
    Token token;
    token.kind = kind;
    token.line = line_;
    token.text = std::move(text);
    tokens_.push_back(std::move(token));
    return tokens_.back();
  }

  // Moves to `end`, counting lines.
  void advance(size_t end) {
    line_ +=
        static_cast<int32_t>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                                        text_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    if (end > at_) line_starting_ = text_[end - 1] == '\n';
    at_ = end;
  }

  size_t skip_space(size_t position) const {
    while (position < text_.size()) {
      size_t next = position;
      if (!is_space(next_char(text_, next))) break;
      position = next;
    }
    return position;
  }

  // Data up to a tag, cut as the tag's sign and lstrip_blocks ask.
  void add_data(std::string_view data, char sign, bool is_variable) {
    if (sign == '-') {
      data = strip_right(data);
    } else if (sign != '+' && !is_variable) {
      const size_t newline = data.rfind('\n');
      const size_t line_begin = newline == std::string_view::npos ? 0 : newline + 1;
      if ((line_begin > 0 || line_starting_) && line_begin < data.size() &&
          strip_left(data.substr(line_begin)).empty()) {
        data = data.substr(0, line_begin);
      }
    }
    if (!data.empty()) add(TokenKind::kData, std::string(data));
  }

  Status root() {
    size_t begin = at_;
    while (true) {
      begin = text_.find('{', begin);
      if (begin == std::string_view::npos || begin + 1 >= text_.size()) {
        add(TokenKind::kData, std::string(text_.substr(at_)));
        advance(text_.size());
        return {};
      }
      const char second = text_[begin + 1];
      if (second == '{' || second == '%' || second == '#') break;
      ++begin;
    }
    const std::string_view data = text_.substr(at_, begin - at_);
    const char kind = text_[begin + 1];
    size_t inside = begin + 2;
    char sign = 0;
    if (inside < text_.size() && (text_[inside] == '-' || text_[inside] == '+'))
      sign = text_[inside++];
    add_data(data, sign, kind == '{');
    size_t raw_end = 0;
    if (kind == '%' && match_raw_begin(inside, raw_end)) {
      advance(raw_end);
      return raw();
    }
    advance(inside);
    if (kind == '#') return comment();
    add(kind == '{' ? TokenKind::kVariableBegin : TokenKind::kBlockBegin);
    return code(kind == '{');
  }

  // `raw` and the end of its tag at `position`.
  bool match_raw_begin(size_t position, size_t& end) const {
    position = skip_space(position);
    if (!text_.substr(position).starts_with("raw")) return false;
    position = skip_space(position + 3);
    if (text_.substr(position).starts_with("-%}")) {
      end = skip_space(position + 3);
      return true;
    }
    end = position + 2;
    return text_.substr(position).starts_with("%}");
  }

  // The end of a block tag at `position`: %} with one newline, -%} with all white space, +%}.
  bool match_block_end(size_t position, size_t& end) const {
    const std::string_view rest = text_.substr(position);
    if (rest.starts_with("+%}")) {
      end = position + 3;
    } else if (rest.starts_with("-%}")) {
      end = skip_space(position + 3);
    } else if (rest.starts_with("%}")) {
      end = position + 2;
      if (end < text_.size() && text_[end] == '\n') ++end;
    } else {
      return false;
    }
    return true;
  }

  Status raw() {
    for (size_t begin = text_.find("{%", at_); begin != std::string_view::npos;
         begin = text_.find("{%", begin + 1)) {
      size_t inside = begin + 2;
      char sign = 0;
      if (inside < text_.size() && (text_[inside] == '-' || text_[inside] == '+')) {
        sign = text_[inside++];
      }
      inside = skip_space(inside);
      if (!text_.substr(inside).starts_with("endraw")) continue;
      size_t end = 0;
      if (!match_block_end(skip_space(inside + 6), end)) continue;
      add_data(text_.substr(at_, begin - at_), sign, false);
      advance(end);
      return {};
    }
    return syntax_error(line_, "Missing end of raw directive");
  }

  Status comment() {
    size_t close = text_.find("#}", at_);
    if (close == std::string_view::npos) return syntax_error(line_, "Missing end of comment tag");
    size_t end = close + 2;
    if (close > at_ && text_[close - 1] == '-') {
      end = skip_space(end);
    } else if (!(close > at_ && text_[close - 1] == '+') && end < text_.size() &&
               text_[end] == '\n') {
      ++end;
    }
    advance(end);
    return {};
  }

  bool match_code_end(bool variable, size_t& end) const {
    if (!variable) return match_block_end(at_, end);
    if (starts("-}}")) {
      end = skip_space(at_ + 3);
      return true;
    }
    end = at_ + 2;
    return starts("}}");
  }

  Status code(bool variable) {
    std::string open;  // brackets that wait for their partner
    while (at_ < text_.size()) {
      size_t end = 0;
      if (open.empty() && match_code_end(variable, end)) {
        add(variable ? TokenKind::kVariableEnd : TokenKind::kBlockEnd);
        advance(end);
        return {};
      }
      if (const size_t after = skip_space(at_); after != at_) {
        advance(after);
        continue;
      }
      RUVLLM_TRY(code_token(open));
    }
    return {};
  }

  Status code_token(std::string& open) {
    const char c = text_[at_];
    if (is_digit(c)) return number();
    if (c == '\'' || c == '"') return string(c);
    size_t next = at_;
    const char32_t first = next_char(text_, next);
    if (first == '_' || char_is(first, kAlnum)) return name();
    return symbol(open);
  }

  Status name() {
    size_t end = at_;
    bool valid = true;
    while (end < text_.size()) {
      size_t next = end;
      const char32_t c = next_char(text_, next);
      if (c != '_' && !char_is(c, kAlnum)) break;
      valid = valid && char_is(c, end == at_ ? kIdentifierStart : kIdentifierPart);
      end = next;
    }
    if (!valid) return syntax_error(line_, "Invalid character in identifier");
    add(TokenKind::kName, std::string(text_.substr(at_, end - at_)));
    advance(end);
    return {};
  }

  // Digits of the set, single underscores between them; where they end.
  template <typename IsDigit>
  size_t digits(size_t position, const IsDigit& is) const {
    size_t end = position;
    while (end < text_.size()) {
      if (is(text_[end])) {
        ++end;
      } else if (end > position && text_[end] == '_' && end + 1 < text_.size() &&
                 is(text_[end + 1])) {
        end += 2;
      } else {
        break;
      }
    }
    return end;
  }

  bool match_float(size_t& end) const {
    if (at_ > 0 && text_[at_ - 1] == '.') return false;
    end = digits(at_, is_digit);
    bool is_float = false;
    if (end + 1 < text_.size() && text_[end] == '.' && is_digit(text_[end + 1])) {
      end = digits(end + 1, is_digit);
      is_float = true;
    }
    if (end < text_.size() && (text_[end] | 0x20) == 'e') {
      size_t exponent = end + 1;
      if (exponent < text_.size() && (text_[exponent] == '+' || text_[exponent] == '-')) ++exponent;
      if (exponent < text_.size() && is_digit(text_[exponent])) {
        end = digits(exponent, is_digit);
        is_float = true;
      }
    }
    return is_float;
  }

  Status number() {
    size_t end = 0;
    if (match_float(end)) {
      const auto value = parse_real(text_.substr(at_, end - at_));
      if (!value) return syntax_error(line_, "malformed number");
      add(TokenKind::kFloat).real = *value;
      advance(end);
      return {};
    }
    unsigned base = 10;
    size_t begin = at_;
    if (text_[at_] == '0' && at_ + 2 < text_.size()) {
      const char letter = static_cast<char>(text_[at_ + 1] | 0x20);
      const unsigned prefixed = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
      const size_t first = at_ + 2 + (text_[at_ + 2] == '_' ? 1 : 0);
      if (prefixed != 10 && first < text_.size() && hex_digit(text_[first]) >= 0 &&
          hex_digit(text_[first]) < static_cast<int>(prefixed)) {
        base = prefixed;
        begin = first;
      }
    }
    // A decimal that begins with zero is all zeros.
    const bool zeros = base == 10 && text_[begin] == '0';
    end = digits(begin, [&](char c) {
      return zeros ? c == '0' : hex_digit(c) >= 0 && hex_digit(c) < static_cast<int>(base);
    });
    std::string plain(text_.substr(begin, end - begin));
    std::erase(plain, '_');
    auto value = BigInt::parse(plain, base);
    if (!value || (base == 10 && plain.size() > 4300)) {
      return syntax_error(line_, "the integer has too many digits");
    }
    add(TokenKind::kInteger).integer = *std::move(value);
    advance(end);
    return {};
  }

  Status string(char quote) {
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) {
      return syntax_error(line_,
                          concat("unexpected char '", quote, "' (a string that does not end)"));
    }
    RUVLLM_ASSIGN(std::string value, unescape(text_.substr(at_ + 1, end - at_ - 1)));
    add(TokenKind::kString, std::move(value));
    advance(end + 1);
    return {};
  }

  // Python's escapes. An unknown one keeps its backslash.
  Result<std::string> unescape(std::string_view text) const {
    std::string out;
    for (size_t i = 0; i < text.size();) {
      if (text[i] != '\\' || i + 1 >= text.size()) {
        out += text[i++];
        continue;
      }
      const char c = text[i + 1];
      constexpr std::string_view kNames = "\\'\"abfnrtv";
      constexpr std::string_view kValues = "\\'\"\a\b\f\n\r\t\v";
      if (const size_t known = kNames.find(c); known != std::string_view::npos) {
        out += kValues[known];
        i += 2;
      } else if (c == '\n') {
        i += 2;
      } else if (c >= '0' && c <= '7') {
        char32_t code = 0;
        size_t k = i + 1;
        while (k < text.size() && k < i + 4 && text[k] >= '0' && text[k] <= '7') {
          code = code * 8 + static_cast<char32_t>(text[k++] - '0');
        }
        append_char(out, code);
        i = k;
      } else if (c == 'x' || c == 'u' || c == 'U') {
        RUVLLM_TRY(hex_escape(out, text, i));
      } else if (c == 'N') {
        return syntax_error(line_, "\\N{...} in a string is not supported");
      } else if (static_cast<unsigned char>(c) >= 0x80) {
        // The original escapes such characters before it resolves escapes, so that the backslash
        // before one escapes the escape's own.
        ++i;
        std::string escape;
        append_string_repr(escape, text.substr(i, next_length(text, i)), true);
        out += '\\';
        out += std::string_view(escape).substr(2, escape.size() - 3);
        i += next_length(text, i);
      } else {
        out += '\\';
        ++i;
      }
    }
    return out;
  }

  static size_t next_length(std::string_view text, size_t i) {
    size_t next = i;
    next_char(text, next);
    return next - i;
  }

  Status hex_escape(std::string& out, std::string_view text, size_t& i) const {
    const char kind = text[i + 1];
    const size_t count = kind == 'x' ? 2 : kind == 'u' ? 4 : 8;
    if (i + 2 + count > text.size())
      return syntax_error(line_, concat("truncated \\", kind, " escape"));
    char32_t code = 0;
    for (size_t k = 0; k < count; ++k) {
      const int digit = hex_digit(text[i + 2 + k]);
      if (digit < 0) return syntax_error(line_, concat("truncated \\", kind, " escape"));
      code = code << 4 | static_cast<char32_t>(digit);
    }
    if (code > 0x10ffff) return syntax_error(line_, "illegal Unicode character");
    append_char(out, code);
    i += 2 + count;
    return {};
  }

  Status symbol(std::string& open) {
    constexpr std::string_view kDouble[] = {"//", "**", "==", "!=", ">=", "<="};
    constexpr std::string_view kSingle = "+-/*%~[](){}><=.:|,;";
    std::string found;
    for (const std::string_view candidate : kDouble) {
      if (starts(candidate)) found = candidate;
    }
    const char c = text_[at_];
    if (found.empty() && kSingle.find(c) != std::string_view::npos) found = c;
    if (found.empty()) {
      size_t end = at_;
      next_char(text_, end);
      return syntax_error(line_, concat("unexpected char '",
                                        printable(text_.substr(at_, end - at_)), "' at ", at_));
    }
    if (c == '(') open += ')';
    if (c == '[') open += ']';
    if (c == '{') open += '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty()) return syntax_error(line_, concat("unexpected '", c, "'"));
      if (open.back() != c) {
        return syntax_error(line_, concat("unexpected '", c, "', expected '", open.back(), "'"));
      }
      open.pop_back();
    }
    const size_t length = found.size();
    add(TokenKind::kOperator, std::move(found));
    advance(at_ + length);
    return {};
  }

  const std::string source_;
  const std::string_view text_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int32_t line_ = 1;
  bool line_starting_ = true;
};

}  // namespace

std::string Token::describe() const {
  switch (kind) {
    case TokenKind::kData:
      return "template text";
    case TokenKind::kVariableBegin:
      return "begin of print statement";
    case TokenKind::kVariableEnd:
      return "end of print statement";
    case TokenKind::kBlockBegin:
      return "begin of statement block";
    case TokenKind::kBlockEnd:
      return "end of statement block";
    case TokenKind::kString:
      return "string";
    case TokenKind::kInteger:
      return "integer";
    case TokenKind::kFloat:
      return "float";
    case TokenKind::kName:
    case TokenKind::kOperator:
      return printable(text);
    case TokenKind::kEnd:
      return "end of template";
  }
  return "token";
}

std::unexpected<Error> syntax_error(int32_t line, std::string_view message) {
  return fail(ErrorCode::kBadFile, concat("chat template line ", line, ": ", message));
}

Result<std::vector<Token>> tokenize(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    return fail(ErrorCode::kBadFile, concat("chat template of ", source.size(),
                                            " bytes, expected at most ", kMaxSourceBytes));
  }
  if (!is_valid_utf8(source)) return fail(ErrorCode::kBadFile, "chat template is not valid UTF-8");
  return Lexer(source).run();
}

}  // namespace ruvllm::jinja
