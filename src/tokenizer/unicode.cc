#include "tokenizer/unicode.h"

#include <algorithm>
#include <iterator>

#include "tokenizer/utf8.h"

namespace ruvllm {
namespace {

// Every `step`-th code point of [first, last] has its lower case at `distance`.
struct LowerCaseRun {
  uint32_t first, last, step;
  int32_t distance;
};

#include "tokenizer/unicode_tables.inc"

}  // namespace

uint8_t unicode_detail::properties(char32_t code) {
  constexpr uint32_t kBlock = sizeof kBlockProperties[0];
  if (code >= 0x110000) return 0;
  return kBlockProperties[kBlockOfCodePoint[code / kBlock]][code % kBlock];
}

bool is_word(char32_t code) {
  constexpr CategorySet kWord = kLetter | kMark | category_bit(Category::kNd) |
                                category_bit(Category::kNl) | category_bit(Category::kPc);
  if (in_set(code, kWord)) return true;
  if (code < 0x200c) return false;
  // The joiners, and the enclosed letters that are Other_Alphabetic.
  return code == 0x200c || code == 0x200d || (code >= 0x24b6 && code <= 0x24e9) ||
         (code >= 0x1f130 && code <= 0x1f149) || (code >= 0x1f150 && code <= 0x1f169) ||
         (code >= 0x1f170 && code <= 0x1f189);
}

void append_lower_case(std::string& out, char32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code >= 'A' && code <= 'Z' ? code + 32 : code);
    return;
  }
  if (code == 0x130) {  // the one character whose lower case is two
    out += "i\xcc\x87";
    return;
  }
  const auto* run = std::upper_bound(std::begin(kLowerCaseRuns), std::end(kLowerCaseRuns), code,
                                     [](char32_t c, const LowerCaseRun& r) { return c < r.first; });
  if (run != std::begin(kLowerCaseRuns)) {
    --run;
    if (code <= run->last && (code - run->first) % run->step == 0) {
      code = static_cast<char32_t>(static_cast<int32_t>(code) + run->distance);
    }
  }
  append_utf8(out, code);
}

}  // namespace ruvllm
