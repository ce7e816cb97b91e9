#include "tokenizer/jinja/unicode.h"

#include <algorithm>
#include <iterator>

namespace ruvllm::jinja {
namespace {

struct CharRange {
  char32_t first;
  char32_t last;
};
struct CaseRun {
  char32_t first;
  char32_t last;
  uint32_t stride;
  int32_t delta;
};
struct CaseMany {
  char32_t from;
  const char* to;
};

#include "tokenizer/jinja/unicode_tables.inc"

constexpr uint32_t kPropertyBits = 11;

template <size_t N>
const CaseRun* find_run(const CaseRun (&runs)[N], char32_t c) {
  const CaseRun* run = std::upper_bound(std::begin(runs), std::end(runs), c,
                                        [](char32_t x, const CaseRun& r) { return x < r.first; });
  if (run == std::begin(runs)) return nullptr;
  --run;
  return c <= run->last && (c - run->first) % run->stride == 0 ? run : nullptr;
}

// Appends what the tables map `c` to; false when they do not name it.
template <size_t N, size_t M>
bool append_mapped(std::string& out, char32_t c, const CaseRun (&runs)[N],
                   const CaseMany (&many)[M]) {
  if (const CaseRun* run = find_run(runs, c)) {
    append_char(out, static_cast<char32_t>(static_cast<int32_t>(c) + run->delta));
    return true;
  }
  for (const CaseMany& row : many) {
    if (row.from == c && c != 0) {
      out += row.to;
      return true;
    }
  }
  return false;
}

void append_lower(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  } else if (!append_mapped(out, c, kLowerRuns, kLowerMany)) {
    append_char(out, c);
  }
}

void append_title(std::string& out, char32_t c) {
  if (c < 0x80 || !append_mapped(out, c, kTitleRuns, kTitleMany)) append_upper(out, c);
}

bool is_case_ignorable(char32_t c) {
  const CharRange* range =
      std::upper_bound(std::begin(kCaseIgnorable), std::end(kCaseIgnorable), c,
                       [](char32_t x, const CharRange& r) { return x < r.first; });
  return range != std::begin(kCaseIgnorable) && c <= (range - 1)->last;
}

constexpr char32_t kSigma = 0x3a3;

// The Unicode rule Final_Sigma: a cased letter stands before, none after, marks not counted.
bool is_final_sigma(std::string_view text, size_t begin, size_t end) {
  size_t position = begin;
  bool cased_before = false;
  while (position > 0) {
    const char32_t c = previous_char(text, position);
    if (is_case_ignorable(c)) continue;
    cased_before = char_is(c, kCased);
    break;
  }
  if (!cased_before) return false;
  for (position = end; position < text.size();) {
    const char32_t c = next_char(text, position);
    if (is_case_ignorable(c)) continue;
    return !char_is(c, kCased);
  }
  return true;
}

// Lowers the character at `position` of the whole `text`, and moves past it.
void append_lower_at(std::string& out, std::string_view text, size_t& position) {
  const size_t begin = position;
  const char32_t c = next_char(text, position);
  if (c == kSigma) {
    out += is_final_sigma(text, begin, position) ? "\xcf\x82" : "\xcf\x83";
  } else {
    append_lower(out, c);
  }
}

}  // namespace

uint32_t char_properties(char32_t c) {
  const uint32_t key = (static_cast<uint32_t>(c) << kPropertyBits) | ((1U << kPropertyBits) - 1);
  const uint32_t* run = std::upper_bound(std::begin(kPropertyRuns), std::end(kPropertyRuns), key);
  return *(run - 1) & ((1U << kPropertyBits) - 1);
}

bool is_ascii(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

size_t count_chars(std::string_view text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80 ? 1 : 0;
  return count;
}

char32_t next_char(std::string_view text, size_t& position) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) & 0x3fU : 0U;
  };
  const auto lead = static_cast<unsigned char>(text[position]);
  const size_t at = position;
  if (lead < 0x80) {
    position += 1;
    return lead;
  }
  if (lead < 0xe0) {
    position = std::min(at + 2, text.size());
    return (lead & 0x1fU) << 6 | byte(at + 1);
  }
  if (lead < 0xf0) {
    position = std::min(at + 3, text.size());
    return (lead & 0x0fU) << 12 | byte(at + 1) << 6 | byte(at + 2);
  }
  position = std::min(at + 4, text.size());
  return (lead & 0x07U) << 18 | byte(at + 1) << 12 | byte(at + 2) << 6 | byte(at + 3);
}

char32_t previous_char(std::string_view text, size_t& position) {
  --position;
  while (position > 0 && (static_cast<unsigned char>(text[position]) & 0xc0) == 0x80) --position;
  size_t forward = position;
  return next_char(text, forward);
}

void append_char(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xc0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xe0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3f));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  }
}

std::vector<char32_t> to_chars(std::string_view text) {
  std::vector<char32_t> chars;
  chars.reserve(text.size());
  for (size_t i = 0; i < text.size();) chars.push_back(next_char(text, i));
  return chars;
}

std::string from_chars(const std::vector<char32_t>& chars) {
  std::string text;
  text.reserve(chars.size());
  for (const char32_t c : chars) append_char(text, c);
  return text;
}

bool is_valid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || i + length > text.size()) return false;
    for (size_t k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    }
    const char32_t c = next_char(text, i);
    constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (c < kSmallest[length] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return false;
  }
  return true;
}

void append_upper(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  } else if (!append_mapped(out, c, kUpperRuns, kUpperMany)) {
    append_char(out, c);
  }
}

std::string to_upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) append_upper(out, next_char(text, i));
  return out;
}

std::string to_lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) append_lower_at(out, text, i);
  return out;
}

std::string to_title(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool after_cased = false;
  for (size_t i = 0; i < text.size();) {
    size_t next = i;
    const char32_t c = next_char(text, next);
    if (after_cased) {
      append_lower_at(out, text, i);
    } else {
      append_title(out, c);
    }
    i = next;
    after_cased = char_is(c, kCased);
  }
  return out;
}

std::string to_capitalized(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    if (i == 0) {
      append_title(out, next_char(text, i));
    } else {
      append_lower_at(out, text, i);
    }
  }
  return out;
}

std::string to_swapped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    size_t next = i;
    const char32_t c = next_char(text, next);
    const uint32_t properties = char_properties(c);
    if ((properties & kUpper) != 0) {
      append_lower_at(out, text, i);
    } else if ((properties & kLower) != 0) {
      append_upper(out, c);
    } else {
      append_char(out, c);
    }
    i = next;
  }
  return out;
}

std::string to_folded(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const char32_t c = next_char(text, i);
    if (c < 0x80 || !append_mapped(out, c, kFoldRuns, kFoldMany)) append_lower(out, c);
  }
  return out;
}

std::string_view strip_left(std::string_view text) {
  size_t begin = 0;
  while (begin < text.size()) {
    size_t next = begin;
    if (!is_space(next_char(text, next))) break;
    begin = next;
  }
  return text.substr(begin);
}

std::string_view strip_right(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t before = end;
    if (!is_space(previous_char(text, before))) break;
    end = before;
  }
  return text.substr(0, end);
}

}  // namespace ruvllm::jinja
