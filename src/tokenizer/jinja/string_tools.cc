#include "tokenizer/jinja/string_tools.h"

#include <algorithm>

#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/jinja/unicode.h"

namespace ruvllm::jinja {

Value make_like(Runtime& runtime, const Value& self, std::string text) {
  return self.is_string() && self.as<StringObject>().markup ? runtime.heap.markup(std::move(text))
                                                            : runtime.heap.string(std::move(text));
}

Value make_like(Runtime& runtime, const Value& self, std::string_view text) {
  return make_like(runtime, self, std::string(text));
}

Result<std::string> replace_text(Runtime& runtime, std::string_view text, std::string_view from,
                                 std::string_view to, int64_t max_count) {
  RUVLLM_TRY(runtime.check_size(text.size()));
  std::string out;
  int64_t left = max_count < 0 ? INT64_MAX : max_count;
  const auto append = [&](std::string_view piece) -> Status {
    if (!runtime.heap.fits(out.size() + piece.size())) {
      return over_limit("the size of values");
    }
    out += piece;
    return runtime.charge(1 + piece.size() / 64);
  };
  if (from.empty()) {  // between all characters, before the first and behind the last
    size_t at = 0;
    for (; left > 0; --left) {
      RUVLLM_TRY(append(to));
      if (at >= text.size()) return out;
      const size_t begin = at;
      next_char(text, at);
      out += text.substr(begin, at - begin);
    }
    RUVLLM_TRY(append(text.substr(at)));
    return out;
  }
  // First how many there are, so that a result too large costs no more than the counting.
  const auto next_match = [&](size_t from_byte) -> Result<size_t> {
    if (from.size() > 4) return find_text(runtime, text, from, from_byte);
    return text.find(from, from_byte);
  };
  uint64_t matches = 0;
  uint64_t size = text.size();
  for (size_t at = 0; static_cast<int64_t>(matches) < left; ++matches) {
    RUVLLM_ASSIGN(const size_t where, next_match(at));
    if (where == std::string_view::npos) break;
    size += to.size() - from.size();  // wraps around when it shrinks, and back
    if (to.size() > from.size() && size > runtime.heap.max_bytes()) {
      return over_limit("the size of values");
    }
    at = where + from.size();
  }
  RUVLLM_TRY(runtime.charge(matches));
  RUVLLM_TRY(runtime.check_size(size));
  out.reserve(static_cast<size_t>(size));
  size_t at = 0;
  for (uint64_t i = 0; i < matches; ++i) {
    RUVLLM_ASSIGN(const size_t where, next_match(at));
    out += text.substr(at, where - at);
    out += to;
    at = where + from.size();
  }
  out += text.substr(at);
  return out;
}

Result<std::string_view> strip_text(std::string_view text, const Value& chars, Side side) {
  const bool left = side != Side::kRight;
  const bool right = side != Side::kLeft;
  if (chars.is_missing() || chars.is_none()) {
    if (left) text = strip_left(text);
    return right ? strip_right(text) : text;
  }
  if (!chars.is_string()) return raise("strip arg must be None or str");
  std::vector<char32_t> set = to_chars(chars.text());
  std::sort(set.begin(), set.end());
  const auto strips = [&set](char32_t c) { return std::binary_search(set.begin(), set.end(), c); };
  size_t begin = 0;
  while (left && begin < text.size()) {
    size_t next = begin;
    if (!strips(next_char(text, next))) break;
    begin = next;
  }
  size_t end = text.size();
  while (right && end > begin) {
    size_t before = end;
    if (!strips(previous_char(text, before))) break;
    end = before;
  }
  return text.substr(begin, end - begin);
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t at = i;
    const char32_t c = next_char(text, i);
    const bool ends = (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 ||
                      c == 0x2028 || c == 0x2029;
    if (!ends) continue;
    if (c == '\r' && i < text.size() && text[i] == '\n') ++i;
    lines.push_back(text.substr(begin, (keep_ends ? i : at) - begin));
    begin = i;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

Result<std::string> justify_text(Runtime& runtime, const Value& text, int64_t width,
                                 std::string_view fill, Justify how) {
  if (count_chars(fill) != 1) return raise("The fill character must be exactly one character long");
  const auto length = static_cast<int64_t>(text.as<StringObject>().num_chars);
  if (width <= length) return text.text();
  const uint64_t padding = static_cast<uint64_t>(width) - static_cast<uint64_t>(length);
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(padding, static_cast<uint64_t>(fill.size()), &bytes) ||
      __builtin_add_overflow(bytes, static_cast<uint64_t>(text.text().size()), &bytes)) {
    return over_limit("the size of values");
  }
  RUVLLM_TRY(runtime.check_size(bytes));
  // Python's center puts the odd one to the left when the width is odd.
  uint64_t left = 0;
  if (how == Justify::kRight) left = padding;
  if (how == Justify::kCenter) {
    left = padding / 2 + (padding & static_cast<uint64_t>(width) & 1);
  }
  std::string out;
  out.reserve(static_cast<size_t>(bytes));
  const auto pad = [&](uint64_t count) {
    if (fill.size() == 1) {
      out.append(static_cast<size_t>(count), fill[0]);
    } else {
      for (uint64_t i = 0; i < count; ++i) out += fill;
    }
  };
  pad(left);
  out += text.text();
  pad(padding - left);
  return out;
}

Result<Value> join_strings(Runtime& runtime, const Value& separator, const Value& items) {
  RUVLLM_ASSIGN(const std::vector<Value> parts, to_vector(runtime, items));
  const bool markup = separator.as<StringObject>().markup;
  std::string out;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!parts[i].is_string()) {
      if (!markup) {
        return raise(concat("sequence item ", i, ": expected str instance, ", type_name(parts[i]),
                            " found"));
      }
    }
    const size_t more =
        separator.text().size() + (parts[i].is_string() ? parts[i].text().size() : 0);
    if (!runtime.heap.fits(out.size() + more)) return over_limit("the size of values");
    RUVLLM_TRY(runtime.charge(1 + more / 64));
    if (i > 0) out += separator.text();
    if (markup) {
      RUVLLM_ASSIGN(const std::string piece, escaped(runtime, parts[i]));
      out += piece;
    } else {
      out += parts[i].text();
    }
  }
  return make_like(runtime, separator, std::move(out));
}

}  // namespace ruvllm::jinja
