// The filter wordwrap: Python's textwrap.wrap per line.
#include <algorithm>

#include "tokenizer/jinja/filters.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/string_tools.h"
#include "tokenizer/jinja/unicode.h"

namespace ruvllm::jinja {
namespace {

using Chars = std::vector<char32_t>;

bool is_ascii_space(char32_t c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_word(char32_t c) {
  return c == '_' || char_is(c, kAlnum);
}
bool is_letter(char32_t c) {
  return is_word(c) && !char_is(c, kDecimal);
}
bool is_word_or_mark(char32_t c) {
  return is_word(c) || (c < 0x80 && std::string_view("!\"'&.,?").find(static_cast<char>(c)) !=
                                        std::string_view::npos);
}

class Wrapper {
 public:
  Wrapper(Runtime& runtime, int64_t width, bool break_words, bool break_hyphens)
      : runtime_(runtime),
        width_(width),
        break_words_(break_words),
        break_hyphens_(break_hyphens) {}

  Result<std::vector<Chars>> wrap(const Chars& text) {
    RUVLLM_TRY(runtime_.charge(text.size()));
    std::vector<Chars> chunks = split(text);
    std::reverse(chunks.begin(), chunks.end());  // the next one is at the back
    std::vector<Chars> lines;
    while (!chunks.empty()) {
      RUVLLM_TRY(runtime_.charge(1));
      std::vector<Chars> line;
      int64_t length = 0;
      if (is_blank(chunks.back()) && !lines.empty()) chunks.pop_back();
      while (!chunks.empty() && length + size_of(chunks.back()) <= width_) {
        length += size_of(chunks.back());
        line.push_back(std::move(chunks.back()));
        chunks.pop_back();
      }
      if (!chunks.empty() && size_of(chunks.back()) > width_) take_long_word(chunks, line, length);
      if (!line.empty() && is_blank(line.back())) line.pop_back();
      if (line.empty()) continue;
      Chars whole;
      for (const Chars& chunk : line) whole.insert(whole.end(), chunk.begin(), chunk.end());
      lines.push_back(std::move(whole));
    }
    return lines;
  }

 private:
  static int64_t size_of(const Chars& chunk) { return static_cast<int64_t>(chunk.size()); }
  static bool is_blank(const Chars& chunk) {
    return std::all_of(chunk.begin(), chunk.end(), is_space);
  }

  void take_long_word(std::vector<Chars>& chunks, std::vector<Chars>& line, int64_t length) const {
    Chars& word = chunks.back();
    if (!break_words_) {
      if (line.empty()) {
        line.push_back(std::move(word));
        chunks.pop_back();
      }
      return;
    }
    const int64_t room = width_ - length;
    auto end = static_cast<std::ptrdiff_t>(room);
    if (break_hyphens_ && size_of(word) > room) {
      std::ptrdiff_t hyphen = end - 1;
      while (hyphen >= 0 && word[static_cast<size_t>(hyphen)] != '-') --hyphen;
      const bool only_hyphens =
          std::all_of(word.begin(), word.begin() + std::max<std::ptrdiff_t>(hyphen, 0),
                      [](char32_t c) { return c == '-'; });
      if (hyphen > 0 && !only_hyphens) end = hyphen + 1;
    }
    line.emplace_back(word.begin(), word.begin() + end);
    word.erase(word.begin(), word.begin() + end);
  }

  std::vector<Chars> split(const Chars& text) const {
    std::vector<Chars> chunks;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = chunk_end(text, begin);
      chunks.emplace_back(text.begin() + static_cast<std::ptrdiff_t>(begin),
                          text.begin() + static_cast<std::ptrdiff_t>(end));
      begin = end;
    }
    return chunks;
  }

  // Where two or more hyphens at `at`, followed by a word, end; 0 when there are none.
  static size_t dash_end(const Chars& text, size_t at) {
    size_t end = at;
    while (end < text.size() && text[end] == '-') ++end;
    return end - at >= 2 && end < text.size() && is_word(text[end]) ? end : 0;
  }

  // A hyphen between parts of a word: two letters before it (or a letter, a hyphen and a
  // character), two letters behind it.
  static bool is_soft_hyphen(const Chars& text, size_t at) {
    if (text[at] != '-') return false;
    const auto letter = [&text](size_t i) { return i < text.size() && is_letter(text[i]); };
    const bool after_letters = at >= 2 && letter(at - 1) && letter(at - 2);
    const bool after_initial =
        at >= 3 && letter(at - 3) && text[at - 2] == '-' && is_word_or_mark(text[at - 1]);
    if (!after_letters && !after_initial) return false;
    return letter(at + 1) &&
           (letter(at + 2) || (at + 2 < text.size() && text[at + 2] == '-' && letter(at + 3)));
  }

  size_t chunk_end(const Chars& text, size_t begin) const {
    size_t end = begin;
    const bool space = is_ascii_space(text[begin]);
    if (space || !break_hyphens_) {
      while (end < text.size() && is_ascii_space(text[end]) == space) ++end;
      return end;
    }
    if (begin > 0 && is_word_or_mark(text[begin - 1])) {
      if (const size_t dash = dash_end(text, begin)) return dash;
    }
    for (end = begin + 1; end < text.size(); ++end) {
      if (is_soft_hyphen(text, end)) return end + 1;
      if (is_ascii_space(text[end])) return end;
      if (is_word_or_mark(text[end - 1]) && dash_end(text, end) != 0) return end;
    }
    return end;
  }

  Runtime& runtime_;
  const int64_t width_;
  const bool break_words_;
  const bool break_hyphens_;
};

}  // namespace

Result<Value> wordwrap_filter(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(
      const auto given,
      bind("wordwrap", args, {"width", "break_long_words", "wrapstring", "break_on_hyphens"}));
  if (!self.is_string()) return raise(concat("wordwrap needs a text, not ", type_name(self)));
  int64_t width = 79;
  if (given.has(0)) {
    RUVLLM_ASSIGN(width, to_index(given[0], "the width"));
  }
  const Value separator =
      !given.has(2) || given[2].is_none() ? runtime.heap.string("\n") : given[2];
  if (!separator.is_string()) return raise("the wrapstring must be a text");
  RUVLLM_TRY(runtime.check_size(self.text().size() * sizeof(char32_t)));
  RUVLLM_TRY(runtime.charge_bytes(self.text().size() * 8));
  Wrapper wrapper(runtime, width, !given.has(1) || truth(given[1]),
                  !given.has(3) || truth(given[3]));
  std::string out;
  bool first_line = true;
  for (const std::string_view line : split_lines(self.text(), false)) {
    if (width <= 0 && !line.empty())
      return raise(concat("invalid width ", width, " (must be > 0)"));
    if (!std::exchange(first_line, false)) out += separator.text();
    RUVLLM_ASSIGN(const std::vector<Chars> pieces, wrapper.wrap(to_chars(line)));
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (i > 0) out += separator.text();
      out += from_chars(pieces[i]);
      RUVLLM_TRY(runtime.charge(1 + separator.text().size() / 64));
      if (!runtime.heap.fits(out.size())) return over_limit("the size of values");
    }
  }
  return runtime.make_string(std::move(out));
}

}  // namespace ruvllm::jinja
