#include "tokenizer/scanners.h"

#include <iterator>
#include <string>

#include "tokenizer/char_class.h"

namespace ruvllm {
namespace {

// --- the family of GPT-2's regex -----------------------------------------------------------------

enum class Contractions : uint8_t { kNone, kLowerCase, kAnyCaseAscii, kAnyCase, kAnyCaseAfterWord };
enum class Words : uint8_t {
  kSpaceLetters,   // ` ?\p{L}+`
  kPrefixLetters,  // `[^\r\n\p{L}\p{N}]?\p{L}+`
  kPrefixCased,    // upper case before lower case, o200k's two alternatives
};
enum class Tail : uint8_t { kNone, kNewlines, kNewlinesAndSlash };
struct Rules {
  Contractions contractions;
  Words words;
  uint32_t max_digits;  // 0: ` ?\p{N}+`, else `\p{N}{1,max}`
  Tail tail;            // what `[^\s\p{L}\p{N}]+` takes along at its end
  bool newlines;        // `\s*[\r\n]+` before `\s+(?!\S)|\s+`
};

// The length of one of s t d m re ve ll at text[at], or 0.
size_t contraction_length(std::string_view text, size_t at, Contractions kind) {
  const auto letter = [&](size_t i) -> char {
    if (at + i >= text.size()) return 0;
    const char c = text[at + i];
    return kind != Contractions::kLowerCase && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char first = letter(0), second = first != 0 ? letter(1) : '\0';
  if (first == 's' || first == 't' || first == 'd' || first == 'm') return 1;
  if ((first == 'r' || first == 'v') && second == 'e') return 2;
  if (first == 'l' && second == 'l') return 2;
  // The long s is an s that ignores case.
  if ((kind == Contractions::kAnyCase || kind == Contractions::kAnyCaseAfterWord) &&
      text.substr(at, 2) == "\xc5\xbf") {
    return 2;
  }
  return 0;
}

// `[\r\n]`-aware end of a match that begins with a space character.
template <bool kNewlines>
size_t end_of_spaces(std::string_view text, size_t from) {
  size_t end = from, last_start = from, after_newline = 0;
  while (end < text.size()) {
    const ClassedChar c = classed_char(text, end);
    if (c.char_class != kClassSpace) break;
    last_start = end;
    end += c.size;
    if (kNewlines && is_newline(text[last_start])) after_newline = end;
  }
  if (kNewlines && after_newline > 0) return after_newline;
  // `\s+(?!\S)`: all of it at the end of the text, else all but the last, else `\s+`.
  return end == text.size() || last_start == from ? end : last_start;
}

constexpr CategorySet kUpperSet = category_bit(Category::kLu) | category_bit(Category::kLt) |
                                  category_bit(Category::kLm) | category_bit(Category::kLo) | kMark;
constexpr CategorySet kLowerSet =
    category_bit(Category::kLl) | category_bit(Category::kLm) | category_bit(Category::kLo) | kMark;

// U*L+ at `from`; 0: no match.
size_t end_of_upper_then_lower(std::string_view text, size_t from) {
  size_t upper_end = from;
  // A simple word, the usual case: ASCII capitals, then ASCII small letters.
  while (upper_end < text.size() && text[upper_end] >= 'A' && text[upper_end] <= 'Z') ++upper_end;
  upper_end = end_of_run_of_set(text, upper_end, kUpperSet);
  const size_t lower_end = end_of_run_of_set(text, upper_end, kLowerSet);
  if (lower_end > upper_end) return lower_end;
  // Backtrack: the last character of the run that both classes hold is the L+.
  while (upper_end > from) {
    const DecodedChar c = decode_utf8_before(text, upper_end);
    if (in_set(c.code, kLowerSet)) return upper_end;
    upper_end -= c.size;
  }
  return 0;
}

// U+L* at `from`; 0: no match.
size_t end_of_uppers_then_lower(std::string_view text, size_t from) {
  const size_t upper_end = end_of_run_of_set(text, from, kUpperSet);
  return upper_end > from ? end_of_run_of_set(text, upper_end, kLowerSet) : 0;
}

// The cased word that begins at `from`, with or without a prefix character; 0: none.
size_t end_of_cased_word(std::string_view text, size_t from) {
  const DecodedChar first = decode_utf8(text, from);
  const bool may_be_prefix = !is_newline(text[from]) && !in_set(first.code, kLetter | kNumber);
  const bool may_begin = in_set(first.code, kLetter | kMark);
  const size_t after = from + first.size;
  if (may_be_prefix) {
    if (const size_t end = end_of_upper_then_lower(text, after)) return end;
  }
  if (may_begin) {
    if (const size_t end = end_of_upper_then_lower(text, from)) return end;
  }
  if (may_be_prefix) {
    if (const size_t end = end_of_uppers_then_lower(text, after)) return end;
  }
  return may_begin ? end_of_uppers_then_lower(text, from) : 0;
}

size_t end_of_digits(std::string_view text, size_t from, uint32_t max_digits) {
  size_t end = from;
  for (uint32_t i = 0; i < max_digits && end < text.size(); ++i) {
    const ClassedChar c = classed_char(text, end);
    if (c.char_class != kClassNumber) break;
    end += c.size;
  }
  return end;
}

template <Rules kRules>
size_t end_of_other(std::string_view text, size_t from) {
  size_t end = end_of_run(text, from, kClassOther);
  if constexpr (kRules.tail != Tail::kNone) {
    while (end < text.size() && (is_newline(text[end]) ||
                                 (kRules.tail == Tail::kNewlinesAndSlash && text[end] == '/'))) {
      ++end;
    }
  }
  return end;
}

template <Rules kRules>
size_t scan(std::string_view text, size_t from) {
  const char byte = text[from];
  constexpr bool kContractionFirst = kRules.contractions != Contractions::kNone &&
                                     kRules.contractions != Contractions::kAnyCaseAfterWord;
  if constexpr (kContractionFirst) {
    if (byte == '\'') {
      const size_t length = contraction_length(text, from + 1, kRules.contractions);
      if (length > 0) return from + 1 + length;
    }
  }
  const ClassedChar first = classed_char(text, from);
  const size_t after = from + first.size;
  const uint8_t next = after < text.size() ? classed_char(text, after).char_class
                                           : static_cast<uint8_t>(kClassSpace);
  if constexpr (kRules.words == Words::kPrefixCased) {
    if (size_t end = end_of_cased_word(text, from)) {
      if (kRules.contractions == Contractions::kAnyCaseAfterWord && end < text.size() &&
          text[end] == '\'') {
        const size_t length = contraction_length(text, end + 1, kRules.contractions);
        if (length > 0) end += 1 + length;
      }
      return end;
    }
  } else {
    if (first.char_class == kClassLetter) return end_of_run(text, after, kClassLetter);
    if (next == kClassLetter) {
      const bool prefix = kRules.words == Words::kSpaceLetters
                              ? byte == ' '
                              : first.char_class != kClassNumber && !is_newline(byte);
      if (prefix) return end_of_run(text, after, kClassLetter);
    }
  }
  if constexpr (kRules.max_digits > 0) {
    if (first.char_class == kClassNumber) return end_of_digits(text, from, kRules.max_digits);
  } else {
    if (first.char_class == kClassNumber || (byte == ' ' && next == kClassNumber)) {
      return end_of_run(text, after, kClassNumber);
    }
  }
  // In the cased family a letter may get here: none does, every letter is in U or L.
  if (first.char_class == kClassOther) return end_of_other<kRules>(text, from);
  if (byte == ' ' && next == kClassOther) return end_of_other<kRules>(text, after);
  return end_of_spaces<kRules.newlines>(text, from);
}

constexpr Rules kGpt2Rules = {Contractions::kLowerCase, Words::kSpaceLetters, 0, Tail::kNone,
                              false};
constexpr Rules kLlama3Rules = {Contractions::kAnyCase, Words::kPrefixLetters, 3, Tail::kNewlines,
                                true};
constexpr Rules kLlama3AsciiRules = {Contractions::kAnyCaseAscii, Words::kPrefixLetters, 3,
                                     Tail::kNewlines, true};
constexpr Rules kQwen2Rules = {Contractions::kAnyCase, Words::kPrefixLetters, 1, Tail::kNewlines,
                               true};
constexpr Rules kQwen2AsciiRules = {Contractions::kAnyCaseAscii, Words::kPrefixLetters, 1,
                                    Tail::kNewlines, true};
constexpr Rules kO200kRules = {Contractions::kAnyCaseAfterWord, Words::kPrefixCased, 3,
                               Tail::kNewlinesAndSlash, true};
constexpr Rules kTekkenRules = {Contractions::kNone, Words::kPrefixCased, 1,
                                Tail::kNewlinesAndSlash, true};

// --- patterns that leave some text unmatched -----------------------------------------------------

// The first run of at most `max_length` characters for which is_member(code) holds.
template <typename IsMember>
bool find_run(std::string_view text, size_t from, size_t max_length, size_t& begin, size_t& end,
              IsMember&& is_member) {
  for (size_t i = from; i < text.size();) {
    const DecodedChar c = decode_utf8(text, i);
    if (!is_member(c.code)) {
      i += c.size;
      continue;
    }
    begin = i;
    for (size_t n = 0; n < max_length && i < text.size(); ++n) {
      const DecodedChar next = decode_utf8(text, i);
      if (!is_member(next.code)) break;
      i += next.size;
    }
    end = i;
    return true;
  }
  return false;
}

constexpr size_t kNoLimit = ~size_t{0};
bool is_number(char32_t code) {
  return in_set(code, kNumber);
}

// \p{N}, \p{N}{1,3}, \p{N}+
template <size_t kMax>
bool find_numbers(std::string_view text, size_t from, size_t& begin, size_t& end) {
  return find_run(text, from, kMax, begin, end, is_number);
}
// [\r\n]
bool find_newline(std::string_view text, size_t from, size_t& begin, size_t& end) {
  return find_run(text, from, 1, begin, end, [](char32_t c) { return c == '\r' || c == '\n'; });
}
// [一-龥぀-ゟ゠-ヿ]+
bool find_cjk(std::string_view text, size_t from, size_t& begin, size_t& end) {
  return find_run(text, from, kNoLimit, begin, end, [](char32_t c) {
    return (c >= 0x4e00 && c <= 0x9fa5) || (c >= 0x3040 && c <= 0x30ff);
  });
}
// [一-龥ࠀ-一가-퟿]+
bool find_wide_cjk(std::string_view text, size_t from, size_t& begin, size_t& end) {
  return find_run(text, from, kNoLimit, begin, end, [](char32_t c) {
    return (c >= 0x800 && c <= 0x9fa5) || (c >= 0xac00 && c <= 0xd7ff);
  });
}
// [\p{P}\$\+<=>\^~\|`]+ (Falcon's punctuation) and the same without the backquote
template <bool kBackquote>
bool find_punctuation(std::string_view text, size_t from, size_t& begin, size_t& end) {
  return find_run(text, from, kNoLimit, begin, end, [](char32_t c) {
    return c < 0x80 ? std::string_view("$+<=>^~|").find(static_cast<char>(c)) !=
                              std::string_view::npos ||
                          (kBackquote && c == '`') || in_set(c, kPunctuation)
                    : in_set(c, kPunctuation);
  });
}
// [0-9][0-9][0-9]
bool find_three_digits(std::string_view text, size_t from, size_t& begin, size_t& end) {
  const auto is_digit = [&](size_t i) { return text[i] >= '0' && text[i] <= '9'; };
  size_t run = 0;
  for (size_t i = from; i < text.size(); ++i) {
    run = is_digit(i) ? run + 1 : 0;
    if (run == 3) {
      begin = i - 2;
      end = i + 1;
      return true;
    }
  }
  return false;
}
// \s?\p{L}+ and \s?\p{P}+
template <CategorySet kSet>
bool find_spaced_run(std::string_view text, size_t from, size_t& begin, size_t& end) {
  size_t space = text.size();  // where the space just before `i` begins
  for (size_t i = from; i < text.size();) {
    const DecodedChar c = decode_utf8(text, i);
    if (in_set(c.code, kSet)) {
      begin = space < i ? space : i;
      end = end_of_run_of_set(text, i, kSet);
      return true;
    }
    space = is_space(c.code) ? i : text.size();
    i += c.size;
  }
  return false;
}
//  {2,}
bool find_spaces(std::string_view text, size_t from, size_t& begin, size_t& end) {
  size_t at = text.find("  ", from);
  if (at == std::string_view::npos) return false;
  begin = at;
  while (at < text.size() && text[at] == ' ') ++at;
  end = at;
  return true;
}

// DeepSeek-V3's main pattern; 0: no match at `from`.
size_t end_of_deepseek3(std::string_view text, size_t from) {
  constexpr CategorySet kPrefixExcluded = kLetter | kPunctuation | kSymbol;
  constexpr CategorySet kWordSet = kLetter | kMark;
  constexpr CategorySet kMarkSet = kPunctuation | kSymbol;
  const DecodedChar first = decode_utf8(text, from);
  const size_t after = from + first.size;
  const auto is_ascii_letter = [&](size_t i) {
    return i < text.size() &&
           kAsciiClass[static_cast<unsigned char>(text[i]) & 0x7f] == kClassLetter &&
           static_cast<unsigned char>(text[i]) < 0x80;
  };
  if (first.code > ' ' && first.code < 0x7f && kAsciiClass[first.code] == kClassOther &&
      is_ascii_letter(after)) {
    size_t end = after;
    while (is_ascii_letter(end)) ++end;
    return end;
  }
  if (!is_newline(text[from]) && !in_set(first.code, kPrefixExcluded)) {
    const size_t end = end_of_run_of_set(text, after, kWordSet);
    if (end > after) return end;
  }
  if (in_set(first.code, kWordSet)) return end_of_run_of_set(text, from, kWordSet);
  const size_t marks = first.code == ' ' ? after : from;
  size_t end = end_of_run_of_set(text, marks, kMarkSet);
  if (end > marks) {
    while (end < text.size() && is_newline(text[end])) ++end;
    return end;
  }
  return is_space(first.code) ? end_of_spaces<true>(text, from) : 0;
}
bool find_deepseek3(std::string_view text, size_t from, size_t& begin, size_t& end) {
  for (size_t i = from; i < text.size(); i += decode_utf8(text, i).size) {
    end = end_of_deepseek3(text, i);
    if (end > 0) {
      begin = i;
      return true;
    }
  }
  return false;
}

// --- the list ------------------------------------------------------------------------------------

constexpr KnownRegex kKnown[] = {
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
     scan<kGpt2Rules>, nullptr},
    {R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", scan<kGpt2Rules>,
     nullptr},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     scan<kLlama3Rules>, nullptr},
    {R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)",
     scan<kLlama3Rules>, nullptr},
    {R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     scan<kLlama3AsciiRules>, nullptr},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     scan<kQwen2Rules>, nullptr},
    {R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     scan<kQwen2AsciiRules>, nullptr},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     scan<kO200kRules>, nullptr},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     scan<kTekkenRules>, nullptr},
    {R"(\p{N})", nullptr, find_numbers<1>},
    {R"(\p{N}{1,3})", nullptr, find_numbers<3>},
    {R"(\p{N}+)", nullptr, find_numbers<kNoLimit>},
    {R"([0-9][0-9][0-9])", nullptr, find_three_digits},
    {R"([\r\n])", nullptr, find_newline},
    {"[一-龥぀-ゟ゠-ヿ]+", nullptr, find_cjk},
    {"[一-龥ࠀ-一가-퟿]+", nullptr, find_wide_cjk},
    {R"([\p{P}\$\+<=>\^~\|`]+)", nullptr, find_punctuation<true>},
    {R"([\p{P}\$\+<=>\^~\|]+)", nullptr, find_punctuation<false>},
    {R"(\s?\p{L}+)", nullptr, find_spaced_run<kLetter>},
    {R"(\s?\p{P}+)", nullptr, find_spaced_run<kPunctuation>},
    {R"( {2,})", nullptr, find_spaces},
    {R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     nullptr, find_deepseek3},
};

// Some files write a newline in a class as itself, others as \n.
std::string spelled_out(std::string_view regex) {
  std::string out;
  for (const char c : regex) {
    if (c == '\r') {
      out += "\\r";
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

const KnownRegex* find_known(std::string_view regex) {
  const std::string spelled = spelled_out(regex);
  for (const KnownRegex& known : kKnown) {
    if (known.regex == spelled) return &known;
  }
  return nullptr;
}

}  // namespace

const std::string_view kGpt2Regex = kKnown[0].regex;

Scanner find_scanner(std::string_view regex) {
  const KnownRegex* known = find_known(regex);
  return known != nullptr ? known->scanner : nullptr;
}

Finder find_finder(std::string_view regex) {
  const KnownRegex* known = find_known(regex);
  return known != nullptr ? known->finder : nullptr;
}

KnownRegexes known_regexes() {
  return {std::begin(kKnown), std::end(kKnown)};
}

}  // namespace ruvllm
