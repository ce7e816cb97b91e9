// What the tokenizers ask of the Unicode database (version 16): classes of characters and simple
// lower case. Compiled-in tables (50 KB) made by tools/unicode/make_tokenizer_tables.py; no state.
#pragma once

#include <cstdint>
#include <string>

namespace ruvllm {

// General categories, in the order of the tables.
enum class Category : uint8_t {
  kCn,
  kLu,
  kLl,
  kLt,
  kLm,
  kLo,
  kMn,
  kMc,
  kMe,
  kNd,
  kNl,
  kNo,
  kPc,
  kPd,
  kPs,
  kPe,
  kPi,
  kPf,
  kPo,
  kSm,
  kSc,
  kSk,
  kSo,
  kZs,
  kZl,
  kZp,
  kCc,
  kCf,
  kCs,
  kCo,
};

namespace unicode_detail {
inline constexpr uint8_t kSpaceBit = 0x20;
inline constexpr uint8_t kHanBit = 0x40;
inline constexpr uint8_t kUnicode9Bit = 0x80;
uint8_t properties(char32_t code);
}  // namespace unicode_detail

inline Category category(char32_t code) {
  return static_cast<Category>(unicode_detail::properties(code) & 0x1f);
}

// A set of categories as bits, e.g. kLetter | kNumber.
using CategorySet = uint32_t;
inline constexpr CategorySet category_bit(Category c) {
  return 1u << static_cast<uint32_t>(c);
}
inline constexpr CategorySet category_range(Category first, Category last) {
  return (category_bit(last) << 1) - category_bit(first);
}
inline constexpr CategorySet kLetter = category_range(Category::kLu, Category::kLo);       // \p{L}
inline constexpr CategorySet kMark = category_range(Category::kMn, Category::kMe);         // \p{M}
inline constexpr CategorySet kNumber = category_range(Category::kNd, Category::kNo);       // \p{N}
inline constexpr CategorySet kPunctuation = category_range(Category::kPc, Category::kPo);  // \p{P}
inline constexpr CategorySet kSymbol = category_range(Category::kSm, Category::kSo);       // \p{S}
inline constexpr CategorySet kOther =
    category_range(Category::kCc, Category::kCo) | category_bit(Category::kCn);  // \p{C}

inline bool in_set(char32_t code, CategorySet set) {
  return (set >> static_cast<uint32_t>(category(code)) & 1u) != 0;
}

inline bool is_space(char32_t code) {  // \s, White_Space
  return (unicode_detail::properties(code) & unicode_detail::kSpaceBit) != 0;
}
inline bool is_han(char32_t code) {  // \p{Han}
  return (unicode_detail::properties(code) & unicode_detail::kHanBit) != 0;
}
// Whether Unicode 9 had the character: the version of the reference's normalization forms.
inline bool is_in_unicode_9(char32_t code) {
  return (unicode_detail::properties(code) & unicode_detail::kUnicode9Bit) != 0;
}
// \w: alphabetic characters, marks, decimal digits, connectors, joiners.
bool is_word(char32_t code);

// Appends the lower case of one character (Unicode's default mapping without context).
void append_lower_case(std::string& out, char32_t code);

}  // namespace ruvllm
