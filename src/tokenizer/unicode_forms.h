// Unicode normalization forms and grapheme clusters, through utf8proc. As in the reference, the
// forms are Unicode 9's: characters that came later stand for themselves. A build without it
// (RUVLLM_UTF8PROC) has neither: available() is false and the functions must not be called. O(n log
// n) on any text. No state after make.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "spec/tokenizer_data.h"

namespace ruvllm {

class UnicodeForm {
 public:
  static bool available();
  explicit UnicodeForm(NormalizeUnicode::Form form);
  // Well-formed text in this form.
  std::string apply(std::string_view text) const;

 private:
  bool is_inert(char32_t code) const;
  void append_normalized(std::string_view region, std::string& out) const;

  NormalizeUnicode::Form form_;
  std::vector<bool> inert_;  // [65536]: the character never changes nor combines with one before it
};

// Where the grapheme cluster that begins at `from` ends.
size_t end_of_grapheme(std::string_view text, size_t from);

}  // namespace ruvllm
