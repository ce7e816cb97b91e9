#include "tokenizer/unicode_forms.h"

#include <algorithm>

#include "base/check.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

#ifdef RUVLLM_HAS_UTF8PROC
#include <utf8proc.h>
#endif

namespace ruvllm {

#ifdef RUVLLM_HAS_UTF8PROC
namespace {

using Form = NormalizeUnicode::Form;

bool composes(Form form) {
  return form == NormalizeUnicode::kNfc || form == NormalizeUnicode::kNfkc;
}
bool is_compatible(Form form) {
  return form == NormalizeUnicode::kNfkc || form == NormalizeUnicode::kNfkd;
}

bool compute_inert(char32_t code, Form form) {
  if (!is_in_unicode_9(code)) return true;
  if (in_set(code, kMark) || (code >= 0x1100 && code <= 0x11ff)) return false;
  if (code >= 0xac00 && code <= 0xd7a3) return composes(form);
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(code))->decomp_seqindex == UINT16_MAX;
}

int combining_class(utf8proc_int32_t code) {
  return utf8proc_get_property(code)->combining_class;
}

// Sorts each run of combining characters by class, as canonical order wants it; equals stay in
// order.
void order_marks(std::vector<utf8proc_int32_t>& codes) {
  struct Mark {
    int combining_class;
    size_t place;
    utf8proc_int32_t code;
    bool operator<(const Mark& other) const {
      return combining_class != other.combining_class ? combining_class < other.combining_class
                                                      : place < other.place;
    }
  };
  std::vector<Mark> marks;
  for (size_t i = 0; i < codes.size();) {
    marks.clear();
    size_t end = i;
    for (; end < codes.size() && combining_class(codes[end]) != 0; ++end) {
      marks.push_back({combining_class(codes[end]), end, codes[end]});
    }
    std::sort(marks.begin(), marks.end());
    for (const Mark& mark : marks) codes[i++] = mark.code;
    if (end < codes.size()) i = end + 1;
  }
}

}  // namespace

bool UnicodeForm::available() {
  return true;
}

UnicodeForm::UnicodeForm(Form form) : form_(form), inert_(0x10000) {
  for (char32_t code = 0; code < 0x10000; ++code) inert_[code] = compute_inert(code, form);
}

bool UnicodeForm::is_inert(char32_t code) const {
  return code < 0x10000 ? inert_[code] : compute_inert(code, form_);
}

std::string UnicodeForm::apply(std::string_view text) const {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  size_t done = 0, previous = 0;  // what is copied; where the character before `i` begins
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      previous = i++;
      continue;
    }
    const DecodedChar c = decode_utf8(text, i);
    if (is_inert(c.code)) {
      previous = i;
      i += c.size;
      continue;
    }
    // The region: the character before, which may take part, and all that are not inert.
    size_t begin = i;
    if (i > 0 && is_in_unicode_9(decode_utf8(text, previous).code))
      begin = std::max(previous, done);
    size_t end = i + c.size;
    while (end < text.size()) {
      const DecodedChar next = decode_utf8(text, end);
      if (is_inert(next.code)) break;
      end += next.size;
    }
    out += text.substr(done, begin - done);
    append_normalized(text.substr(begin, end - begin), out);
    done = previous = i = end;
  }
  return out.append(text.substr(done));
}

void UnicodeForm::append_normalized(std::string_view region, std::string& out) const {
  int options = UTF8PROC_STABLE | (composes(form_) ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
  if (is_compatible(form_)) options |= UTF8PROC_COMPAT;
  std::vector<utf8proc_int32_t> codes;
  codes.reserve(region.size());
  for (size_t i = 0; i < region.size();) {
    const DecodedChar c = decode_utf8(region, i);
    i += c.size;
    constexpr size_t kMaxDecomposed = 32;  // the longest decomposition in Unicode is 18
    utf8proc_int32_t parts[kMaxDecomposed];
    int boundary = 0;
    const auto num_parts =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c.code), parts, kMaxDecomposed,
                                static_cast<utf8proc_option_t>(options), &boundary);
    RUVLLM_CHECK(num_parts >= 0 && num_parts <= static_cast<utf8proc_ssize_t>(kMaxDecomposed));
    codes.insert(codes.end(), parts, parts + num_parts);
  }
  order_marks(codes);
  if (composes(form_)) {
    const auto size =
        utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
                                 static_cast<utf8proc_option_t>(options));
    RUVLLM_CHECK(size >= 0);
    codes.resize(static_cast<size_t>(size));
  }
  for (const utf8proc_int32_t code : codes) append_utf8(out, static_cast<char32_t>(code));
}

size_t end_of_grapheme(std::string_view text, size_t from) {
  DecodedChar before = decode_utf8(text, from);
  size_t end = from + before.size;
  utf8proc_int32_t state = 0;
  while (end < text.size()) {
    const DecodedChar next = decode_utf8(text, end);
    if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(before.code),
                                         static_cast<utf8proc_int32_t>(next.code), &state)) {
      break;
    }
    end += next.size;
    before = next;
  }
  return end;
}

#else

bool UnicodeForm::available() {
  return false;
}
UnicodeForm::UnicodeForm(NormalizeUnicode::Form form) : form_(form) {}
std::string UnicodeForm::apply(std::string_view) const {
  RUVLLM_CHECK(false);
  return {};
}
size_t end_of_grapheme(std::string_view, size_t) {
  RUVLLM_CHECK(false);
  return 0;
}

#endif

}  // namespace ruvllm
