#include "tokenizer/pcre2_regex.h"

#include <string>

#include "base/str.h"

#ifdef RUVLLM_HAS_PCRE2
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#endif

namespace ruvllm {

#ifdef RUVLLM_HAS_PCRE2
namespace {

// A regex of a tokenizer needs a few steps per character; one that needs this many is a bomb.
constexpr uint32_t kMatchLimit = 10'000'000;
constexpr uint32_t kDepthLimit = 100'000;
constexpr uint32_t kHeapLimitKib = 64 * 1024;

// \s and \w (and outside of classes \S and \W) as Oniguruma has them: PCRE2's \s also holds U+180E,
// which is no White_Space any more, and its \w has no marks.
constexpr std::string_view kSpaces = "\\t-\\r\\x{20}\\x{85}\\p{Z}";
constexpr std::string_view kWordCharacters =
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}\\x{24b6}-\\x{24e9}"
    "\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}";

std::string with_onigurumas_classes(std::string_view regex) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < regex.size(); ++i) {
    const char c = regex[i];
    if (c == '\\' && i + 1 < regex.size()) {
      const char escaped = regex[++i];
      const bool negated = escaped == 'S' || escaped == 'W';
      if (escaped == 's' || escaped == 'w' || (negated && !in_class)) {
        if (!in_class) out += negated ? "[^" : "[";
        out += escaped == 's' || escaped == 'S' ? kSpaces : kWordCharacters;
        if (!in_class) out += ']';
      } else {
        out += c;
        out += escaped;
      }
      continue;
    }
    // A ']' right after the opening stands for itself; "[[:alpha:]]" ends at its second ']'.
    if (c == '[' && !in_class) {
      in_class = true;
      out += c;
      if (i + 1 < regex.size() && regex[i + 1] == '^') out += regex[++i];
      if (i + 1 < regex.size() && regex[i + 1] == ']') out += regex[++i];
      continue;
    }
    if (c == '[' && regex.substr(i).starts_with("[:")) {
      const size_t end = regex.find(":]", i);
      if (end != std::string_view::npos) {
        out += regex.substr(i, end + 2 - i);
        i = end + 1;
        continue;
      }
    }
    if (c == ']') in_class = false;
    out += c;
  }
  return out;
}

class Compiled final : public Pcre2Regex {
 public:
  Compiled(pcre2_code* code, pcre2_match_context* context) : code_(code), context_(context) {}
  ~Compiled() override {
    pcre2_match_context_free(context_);
    pcre2_code_free(code_);
  }
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;

  Status for_each_match(std::string_view text,
                        FunctionRef<void(size_t, size_t)> visit) const override {
    pcre2_match_data* data = pcre2_match_data_create_from_pattern(code_, nullptr);
    if (data == nullptr) return fail(ErrorCode::kOutOfMemory, "tokenizer regex: no memory");
    const Status status = match_all(text, data, visit);
    pcre2_match_data_free(data);
    return status;
  }

 private:
  Status match_all(std::string_view text, pcre2_match_data* data,
                   FunctionRef<void(size_t, size_t)> visit) const {
    const auto* bytes = reinterpret_cast<PCRE2_SPTR>(text.data());
    size_t from = 0;
    while (from < text.size()) {
      const int result =
          pcre2_match(code_, bytes, text.size(), from, PCRE2_NO_UTF_CHECK, data, context_);
      if (result == PCRE2_ERROR_NOMATCH) return {};
      if (result < 0) {
        return fail(ErrorCode::kUnsupported,
                    concat("tokenizer regex: gave up at byte ", from, " of the text (error ",
                           result, ", limit ", kMatchLimit, " steps)"));
      }
      const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data);
      if (ends[1] > ends[0]) {
        visit(ends[0], ends[1]);
        from = ends[1];
      } else {  // an empty match: go on behind the next character
        from = ends[1] + 1;
        while (from < text.size() && (bytes[from] & 0xc0) == 0x80) ++from;
      }
    }
    return {};
  }

  pcre2_code* code_;
  pcre2_match_context* context_;
};

}  // namespace

Result<std::shared_ptr<const Pcre2Regex>> Pcre2Regex::make(std::string_view regex) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  const std::string spelled = with_onigurumas_classes(regex);
  pcre2_code* code = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(spelled.data()), spelled.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (code == nullptr) {
    PCRE2_UCHAR message[128] = {};
    pcre2_get_error_message(error, message, sizeof message);
    return fail(ErrorCode::kUnsupported,
                concat("tokenizer regex '", printable(regex),
                       "': ", reinterpret_cast<const char*>(message), " at byte ", offset));
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without it the interpreter does the same
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  if (context == nullptr) {
    pcre2_code_free(code);
    return fail(ErrorCode::kOutOfMemory, "tokenizer regex: no memory");
  }
  pcre2_set_match_limit(context, kMatchLimit);
  pcre2_set_depth_limit(context, kDepthLimit);
  pcre2_set_heap_limit(context, kHeapLimitKib);
  return std::make_shared<const Compiled>(code, context);
}

#else

Result<std::shared_ptr<const Pcre2Regex>> Pcre2Regex::make(std::string_view regex) {
  return fail(ErrorCode::kUnsupported,
              concat("tokenizer regex '", printable(regex),
                     "' has no built-in scanner, and this build has no PCRE2 (RUVLLM_PCRE2)"));
}

#endif

}  // namespace ruvllm
